"""The lake's tables and their logs: where they are, which versions they have, what each commit says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from pipelines.errors import PermanentError, TransientError
from pipelines.workspace import files
from pipelines.workspace.commits import Commit

if TYPE_CHECKING:
    from deltalake import DeltaTable

_NOT_THE_STORAGE = (TypeError, AttributeError, NameError, AssertionError, MemoryError)
_Lake = TypeVar("_Lake", bound="LakeLog")
_Named = ParamSpec("_Named")
_Found = TypeVar("_Found")


@contextmanager
def storage_errors(table: str, partition: str = "") -> Iterator[None]:
    """What the storage libraries raise, as a PermanentError or a TransientError."""
    import pyarrow as pa
    from deltalake.exceptions import DeltaError, DeltaProtocolError, SchemaMismatchError, TableNotFoundError

    where = f"{table} {partition}".rstrip()
    try:
        yield
    except (OSError, pa.ArrowMemoryError) as error:
        why = "the storage failed; free space or mend it, then run again"
        raise TransientError(f"{where}: {why} ({error})") from error
    except (PermanentError, TransientError, *_NOT_THE_STORAGE):
        raise
    except BaseException as error:
        lasting = isinstance(error, DeltaProtocolError | SchemaMismatchError | TableNotFoundError)
        if isinstance(error, DeltaError) and not lasting:
            raise TransientError(f"{where}: the table's log could not be read or written; run again ({error})") from error
        # A panic of a library in Rust is no Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            why = "its files are not as they should be; publish it again, or restore a version (docs/runbooks/restore.md)"
            raise PermanentError(f"{where}: {why} ({error})") from error
        raise


def classified(
    step: Callable[Concatenate[_Lake, str, _Named], _Found],
) -> Callable[Concatenate[_Lake, str, _Named], _Found]:
    """A step on a table, whose errors are one of the two kinds and name the table, and the partition if it takes one."""

    @wraps(step)
    def call(self: _Lake, table: str, /, *arguments: _Named.args, **named: _Named.kwargs) -> _Found:
        partition = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        with storage_errors(table, partition):
            return step(self, table, *arguments, **named)

    return call


class LakeLog:
    """All tables under one root: a local folder, `s3://` or `gs://`."""

    def __init__(self, root: str, options: dict[str, str] | None = None) -> None:
        self.root = root.rstrip("/")
        self.options = options or {}
        self._read: dict[str, DeltaTable] = {}

    def uri(self, table: str) -> str:
        return f"{self.root}/{table}"

    def exists(self, table: str) -> bool:
        """Whether there is a log. Its first file may be gone, cleaned up by a Delta writer: then there is a checkpoint."""
        log = f"{self.uri(table)}/_delta_log"
        return files.file_exists(f"{log}/{0:020d}.json") or files.file_exists(f"{log}/_last_checkpoint")

    @classified
    def delta(self, table: str, version: int | None = None) -> DeltaTable:
        """The `deltalake.DeltaTable` for its log, to look at and not to write by; read rows with `read`.

        Opening one reads the whole log: the newest version is kept, for as long as it is the newest.
        """
        if version is not None:
            return self.opened(table, version)
        kept = self._read.get(table)
        if kept is None or not self._is_newest(table, kept.version()):
            kept = self._read[table] = self.opened(table)
        return kept

    def _is_newest(self, table: str, version: int) -> bool:
        log = f"{self.uri(table)}/_delta_log"
        return files.file_exists(f"{log}/{version:020d}.json") and not files.file_exists(f"{log}/{version + 1:020d}.json")

    @classified
    def opened(self, table: str, version: int | None = None) -> DeltaTable:
        """One that nobody else has: what is written by it is judged against the version that it was opened at."""
        from deltalake import DeltaTable

        if not self.exists(table):
            raise PermanentError(f"{table}: no such table in {self.root}; run the stage that publishes it first")
        return DeltaTable(self.uri(table), version=version, storage_options=self.options)

    @classified
    def version(self, table: str) -> int:
        return self.delta(table).version()

    @classified
    def seen(self, table: str, partition: str) -> int:
        """How often the partition was published or restored: read it before the rows that a new publish stands on."""
        return self.seen_each(table, [partition])[partition]

    def seen_each(self, table: str, partitions: Iterable[str]) -> dict[str, int]:
        """`seen` by partition, of one version of the table."""
        delta = self.delta(table) if self.exists(table) else None
        return {key: (delta.transaction_version(key) or 0) if delta else 0 for key in partitions}

    def commits(self, table: str, version: int | None = None) -> Iterator[Commit]:
        """The table's commits, newest first, from a version on.

        Read from the log itself: `DeltaTable.history` of deltalake 1.6 numbers the newest commits with the version that
        was loaded, so that an older version, or a commit made meanwhile, shifts all numbers.
        """
        for number in range(self.version(table) if version is None else version, -1, -1):
            try:
                with storage_errors(table):
                    lines = files.read_bytes(f"{self.uri(table)}/_delta_log/{number:020d}.json").splitlines()
                    actions = [json.loads(line) for line in lines]
            except files.NoSuchFileError:  # older than what is kept of the log
                return
            with storage_errors(table):
                found = [Commit.of(number, action["commitInfo"]) for action in actions if "commitInfo" in action]
            yield from found

    def published(self, table: str, partition: str, version: int | None = None) -> Commit | None:
        """The commit whose rows the partition holds, now or at a version."""
        return self.published_each(table, [partition], version).get(partition)

    def published_each(self, table: str, partitions: Iterable[str], version: int | None = None) -> dict[str, Commit]:
        """`published` by partition, in one reading of the log; partitions without one are left out."""
        wanted, found = set(partitions), dict[str, Commit]()
        for commit in self.standing(table, version) if wanted else ():
            found |= {key: commit.of_part(key) for key in wanted.intersection(commit.record.keys) - set(found)}
            if len(found) == len(wanted):
                break
        return found

    def standing(self, table: str, version: int | None = None) -> Iterator[Commit]:
        """The commits that published something and were not undone by a restore, newest first."""
        undone_after: int | None = None
        for commit in self.commits(table, version) if self.exists(table) else ():
            if undone_after is not None and commit.version > undone_after:
                continue
            if commit.restored_to is not None:
                undone_after = commit.restored_to
            else:
                yield commit
