"""MLflow's errors as our two kinds: what it says no to is final, what it does not answer is asked again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.errors import PermanentError, TransientError

_FINAL = frozenset(
    {
        "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "RESOURCE_CONFLICT", "INVALID_PARAMETER_VALUE", "INVALID_STATE",
        "BAD_REQUEST", "PERMISSION_DENIED", "UNAUTHENTICATED", "ENDPOINT_NOT_FOUND", "FEATURE_DISABLED",
    }
)  # fmt: skip
GONE = "its files are gone from the artifact store: put them back from a backup, roll back, or retire the champion and train"


class Classified:
    """MLflow's client with our two kinds of failure."""

    def __init__(self, client: object, where: str) -> None:
        self._client, self._where = client, where

    def __getattr__(self, name: str) -> object:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*args: object, **options: object) -> object:
            with classified(self._where):
                return found(*args, **options)

        return call


@contextmanager
def classified(where: str) -> Iterator[None]:
    """Raises:
    PermanentError: MLflow says no, or what is asked for is gone.
    TransientError: it did not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        kind = PermanentError if error.error_code in _FINAL else TransientError
        raise kind(f"{where}: {error.message}") from None
    except FileNotFoundError as error:
        raise PermanentError(f"{where}: {GONE} ({error})") from None
    except ConnectionError as error:
        raise TransientError(f"{where}: {error}") from None
