"""Answers on this machine's disk, durable before they are given, until the lake's table has them.

A segment is a file of lines that one process wrote; sealed ones are written to the table in the order of their numbers.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.errors import PermanentError, TransientError

Row = dict[str, Any]
_SEGMENT = 8 << 20  # bytes, and what is written to the table at a time: as objects, seven times that


@dataclass(frozen=True)
class Segment:
    """A sealed file: its number, and the partition that all of its answers belong to."""

    number: int
    partition: str
    file: Path

    def rows(self) -> list[Row]:
        """Its rows; a last line without an end was cut off, so that nobody was answered."""
        return [row for line in self.file.read_bytes().split(b"\n")[:-1] for row in json.loads(line)]


class Spool:
    """One folder, one process. Raises PermanentError where another one has it."""

    def __init__(self, folder: Path, most_bytes: int = 1 << 30) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder, self.most_bytes = folder, most_bytes
        self._owned = (folder / "lock").open("w")
        try:
            fcntl.flock(self._owned, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PermanentError(f"{folder}: another server answers from it; stop that one first") from None
        self.writer = self._name()
        self._lock = threading.Lock()
        self._open: tuple[Segment, BinaryIO] | None = None
        self._last = max((s.number for s in self._segments()), default=0)
        self.bytes = sum(s.file.stat().st_size for s in self._segments())

    def start_after(self, number: int) -> None:
        """Numbers go on after what the table has of this writer, also where the folder was emptied."""
        self._last = max(self._last, number)

    def append(self, partition: str, rows: list[Row]) -> None:
        """Keep the rows of one answer; they are on the disk when this returns.

        Raises:
            TransientError: the disk is full or fails, or the table has not taken anything for too long.
        """
        line = json.dumps(rows).encode() + b"\n"
        with self._lock:
            if self.bytes + len(line) > self.most_bytes:
                raise TransientError(f"{self.folder}: {self.bytes:,} bytes of answers wait for the lake; mend it first")
            try:
                file = self._file_of(partition)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                self._seal()  # whatever stands at its end, nothing comes after it
                raise TransientError(f"{self.folder}: the answer cannot be kept ({error})") from error
            self.bytes += len(line)

    def sealed(self) -> list[Segment]:
        """What waits for the table, the oldest first; from now on answers go into another segment."""
        with self._lock:
            self._seal()
            return self._segments()

    def drop(self, segment: Segment) -> None:
        """The table has it."""
        size = segment.file.stat().st_size
        segment.file.unlink()
        with self._lock:
            self.bytes -= size

    def close(self) -> None:
        with self._lock:
            self._seal()
        self._owned.close()

    def _name(self) -> str:
        """Of this folder, for ever: by it the table knows which segments it has."""
        file = self.folder / "writer"
        if not file.exists():
            _durably(file, lambda part: part.write_text(f"answers-{uuid.uuid4().hex}"))
        return file.read_text()

    def _file_of(self, partition: str) -> BinaryIO:
        if self._open is not None and self._open[0].partition == partition and self._open[1].tell() < _SEGMENT:
            return self._open[1]
        self._seal()
        self._last += 1
        segment = Segment(self._last, partition, self.folder / f"{self._last:012d}.{partition}.jsonl")
        self._open = segment, segment.file.open("xb")
        _sync(self.folder)
        return self._open[1]

    def _seal(self) -> None:
        if self._open is not None:
            with suppress(OSError):  # what could not be written was not answered
                self._open[1].close()
            self._open = None

    def _segments(self) -> list[Segment]:
        found = sorted(self.folder.glob("*.jsonl"))
        return [Segment(int(f.name.split(".")[0]), f.name.split(".")[1], f) for f in found]


def _durably(file: Path, write: Callable[[Path], object]) -> None:
    part = file.with_suffix(".part")
    write(part)
    part.replace(file)
    _sync(file.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
