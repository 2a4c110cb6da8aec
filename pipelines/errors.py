"""The two kinds of failure, and the one redaction that every sentence passes which is kept or shown.

`pipelines` classifies failures; `dags` decides on retries.
"""

from __future__ import annotations

import re

_USER_IN_ADDRESS = re.compile(r"(\w[\w+.-]*://)[^/@\s'\"]+@")
_FEWEST = 6  # a shorter secret is found in every other word
_secrets: set[str] = set()


def keep_secret(value: str) -> None:
    """From now on `redact` knows it."""
    if len(value) >= _FEWEST:
        _secrets.add(value)


def in_words(error: Exception) -> str:
    """Its kind and what it says, fit to be kept where people read it."""
    return redact(f"{type(error).__name__}: {error}")


def redact(text: str) -> str:
    """The text without known secrets, and without what stands before the host of an address."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _USER_IN_ADDRESS.sub(r"\1***@", text)


class _Failure(Exception):
    def __init__(self, *said: object) -> None:
        super().__init__(*(redact(part) if isinstance(part, str) else part for part in said))


class PermanentError(_Failure):
    """Bad data, bad configuration or a failed gate: a retry cannot help, so the task fails at once."""


class TransientError(_Failure):
    """The network, a lock, another writer: worth a retry with back-off."""
