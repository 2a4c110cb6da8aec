"""Several publications that stand or fall together: after a failure those that were made already are taken back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipelines.errors import PermanentError, TransientError
from pipelines.results import TableSlice
from pipelines.workspace.commits import CommitRecord
from pipelines.workspace.lake import Lake

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Before:
    """What a partition held before it was published, by which record, and how often it had been published."""

    table: str
    partition: str
    files: list[str]
    record: CommitRecord
    seen: int


@dataclass(frozen=True)
class Publications:
    """What was published so far, with what was there before."""

    lake: Lake
    made: list[_Before] = field(default_factory=list)

    def publish(self, table: str, staged: Mapping[str, tuple[str, ...]], record: CommitRecord) -> list[TableSlice]:
        """As `Lake.publish_each`."""
        commits, files = self.lake.published_each(table, staged), self.lake.files_each(table, staged)
        seen = self.lake.seen_each(table, staged)
        self.made.extend(
            _Before(
                table=table,
                partition=key,
                files=files[key],
                record=commits[key].record if key in commits else CommitRecord(run=record.run),
                seen=seen[key],
            )
            for key in staged
        )
        return self.lake.publish_each(table, staged, record, seen)

    def take_back(self) -> list[str]:
        """Put back what was there, newest first; return the tables where that failed."""
        failed = []
        for before in reversed(self.made):
            try:
                # A publication that failed itself left nothing to take back.
                if self.lake.seen(before.table, before.partition) > before.seen:
                    self.lake.put_back(before.table, before.partition, before.files, before.record, before.seen + 1)
            except (PermanentError, TransientError) as error:
                _log.error("%s %s could not be taken back: %s", before.table, before.partition, error)
                failed.append(f"{before.table} {before.partition}")
        return failed


@contextmanager
def taken_back_on_failure(lake: Lake) -> Iterator[Publications]:
    """Publications of which none stays if one fails.

    Raises:
        PermanentError, TransientError: of the one that failed; says so where another could not be taken back.
    """
    publications = Publications(lake)
    try:
        yield publications
    except (PermanentError, TransientError) as error:
        failed = publications.take_back()
        if failed:
            stays = f"; {', '.join(failed)} stays published without the rest: run ingestion for this partition again"
            raise type(error)(f"{error}{stays}") from error
        raise
