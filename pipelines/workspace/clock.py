"""The one clock of a workspace. Whether a period has ended, a file is late, a champion is old, is asked of it.

A replay sets it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.errors import PermanentError
from pipelines.workspace.files import file_exists, read_bytes, write_bytes


@dataclass(frozen=True)
class Clock:
    """The moment that a replay wrote into the file `uri`; without a file, the machine's."""

    uri: str | None = None

    def now(self) -> datetime:
        """Raises PermanentError where the file holds no moment with a time zone."""
        if not self.uri or not file_exists(self.uri):
            return datetime.now(UTC)
        text = read_bytes(self.uri).decode().strip()
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            found = datetime.min
        wanted = "a moment such as 2013-04-08T05:00:00+00:00"
        if found.tzinfo is None:
            raise PermanentError(f"{self.uri}: '{text}' is not {wanted}; mend it, or remove the file")
        return found.astimezone(UTC)

    def set(self, moment: datetime) -> None:
        """Let it be this moment, for everybody who works here, until it is set again.

        Raises:
            PermanentError: the environment has no clock that can be set.
        """
        if not self.uri:
            raise PermanentError("this environment's clock is the machine's; a replay needs 'clock' in conf/environments")
        write_bytes(self.uri, moment.astimezone(UTC).isoformat().encode())
