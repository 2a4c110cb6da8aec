"""Tokens of those who may ask: kept as digests, each for one use case, looked up anew whenever their file changes."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.errors import PermanentError


@dataclass(frozen=True)
class Token:
    """`digest` is the SHA-256 of 32 random bytes: nothing that could be guessed, so no slow hash, which would let
    whoever sends wrong tokens keep the processor busy."""

    use_case: str
    name: str
    digest: str
    created: str


class Tokens:
    """The file, which only its owner reads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._read: tuple[object, dict[str, Token]] = (None, {})

    def add(self, use_case: str, name: str) -> str:
        """The new token, which is told this once.

        Raises:
            PermanentError: there is one of that name.
        """
        known = self.of(use_case)
        if name in known:
            raise PermanentError(f"{use_case}: there is a token '{name}' already; revoke it first, or choose another name")
        text = secrets.token_urlsafe(32)
        self._write([*self._all().values(), Token(use_case, name, _digest(text), datetime.now(UTC).isoformat())])
        return text

    def revoke(self, use_case: str, name: str) -> None:
        """Raises PermanentError where there is no such token."""
        known = self.of(use_case)
        if name not in known:
            raise PermanentError(f"{use_case}: no token '{name}'; there are {', '.join(known) or 'none'}")
        self._write([token for token in self._all().values() if (token.use_case, token.name) != (use_case, name)])

    def of(self, use_case: str) -> list[str]:
        """The names of the use case's tokens."""
        return [token.name for token in self._all().values() if token.use_case == use_case]

    def holder(self, text: str) -> Token | None:
        return self._all().get(_digest(text))

    def _all(self) -> dict[str, Token]:
        stamp = (found.st_mtime_ns, found.st_ino) if (found := _stat(self.file)) else None
        if stamp != self._read[0]:
            tokens = [Token(**each) for each in json.loads(self.file.read_text())] if stamp else []
            self._read = stamp, {token.digest: token for token in tokens}
        return self._read[1]

    def _write(self, tokens: list[Token]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self.file.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as out:
            json.dump([asdict(token) for token in tokens], out, indent=1)
        part.replace(self.file)


def _stat(file: Path) -> os.stat_result | None:
    return file.stat() if file.exists() else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
