"""What has arrived and was not ingested yet, what was sent again, and what is late: told by the landing zone and the tables.

Nothing waits for a file: who looks takes all that is there, in order, and the next look takes the rest. So a file that is
late holds up no other, and what landed while nobody looked is found by the first look after it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from pipelines.errors import PermanentError
from pipelines.use_case import Partition, Source, UseCase, key_of, source_table, span
from pipelines.workspace import CommitRecord, Decision, Kind, Workspace, file_exists, list_files, stamp_of

_PAUSE = 2.0  # seconds in which a file that is being written grows


@dataclass(frozen=True)
class Feed:
    """What one source sends, partition after partition."""

    workspace: Workspace
    use_case: UseCase
    source: str

    @property
    def declared(self) -> Source:
        return self.use_case.sources[self.source]

    @property
    def table(self) -> str:
        return source_table(self.use_case, self.source)

    @property
    def now(self) -> datetime:
        return self.workspace.clock.now()

    @property
    def current(self) -> Partition:
        """The partition in which now lies."""
        return Partition.of(self.now.astimezone(ZoneInfo(self.use_case.timezone)).date(), self.use_case.grain)

    @property
    def midnight(self) -> datetime:
        """The last one, local time."""
        zone = ZoneInfo(self.use_case.timezone)
        return datetime.combine(self.now.astimezone(zone).date(), datetime.min.time(), zone)

    def complete_at(self, partition: Partition) -> datetime:
        return self.declared.complete_at(partition, self.use_case.timezone)


@dataclass(frozen=True)
class Late:
    """Partitions of one source that should have come by now, oldest first; `overdue` is whether the deadline has passed too."""

    source: str
    partitions: tuple[str, ...]
    overdue: bool

    @property
    def why(self) -> str:
        first, last = self.partitions[0], self.partitions[-1]
        which = first if first == last else f"{len(self.partitions)} partitions from {first} to {last}"
        return f"{self.source}: {which} should have come by now."


def look(workspace: Workspace, use_case: UseCase, source: str) -> list[str]:
    """Partitions to ingest now, in order: new files, files that were sent again, and what was read before it was complete,
    or in parts before the last midnight.

    A file that grows, or whose marker is missing, is left to the next look. What is late is told in the ledger.

    Raises:
        PermanentError: there is nothing to ingest, and a file is missing for longer than the source's `deadline`.
    """
    feed = Feed(workspace, use_case, source)
    missing, found = late(feed), _whole(feed)
    if missing:
        _tell(feed, missing)
    if missing and missing.overdue and not found:
        raise PermanentError(
            f"{use_case.name}/{missing.why} The deadline, {feed.declared.deadline}, has passed: ask the owner for the file. "
            "What stands on it waits; docs/runbooks/late-data.md says how to go on without it"
        )
    return found


def late(feed: Feed) -> Late | None:
    """What should have come by now, since the first partition that did; None of a source that nobody looks for by cron."""
    known = set(feed.workspace.lake.partitions(feed.table))
    if feed.declared.snapshot or not known or not (feed.declared.schedule or feed.use_case.schedules.ingestion):
        return None
    due = [p for p in span(feed.use_case.partition(min(known)), feed.current) if feed.complete_at(p) <= feed.now]
    missing = [p for p in due if p.key not in known]
    if not missing:
        return None
    overdue = feed.complete_at(missing[0]) + feed.declared.deadline <= feed.now
    return Late(feed.source, tuple(p.key for p in missing), overdue)


def _tell(feed: Feed, missing: Late) -> None:
    feed.workspace.ledger.record(
        Decision(
            id=f"{Kind.LATE}/{feed.source}/{missing.partitions[0]}/{missing.partitions[-1]}",
            use_case=feed.use_case.name,
            kind=Kind.LATE,
            partition=missing.partitions[-1],
            why=missing.why,
            actor="ingestion",
            run=feed.workspace.run,
        )
    )


def _whole(feed: Feed) -> list[str]:
    """What is to be read and is whole: by its marker; without one, by two looks that see the same."""
    arrived, read = _arrived(feed), _last_read(feed)
    found = [key for key, stamp in arrived.items() if _is_new(feed, feed.use_case.partition(key), stamp, read)]
    marker, landing = feed.declared.marker, feed.workspace.environment.landing
    if marker is not None:
        return [key for key in found if file_exists(feed.workspace.fill(marker, partition=key))]
    if not found or landing.startswith(("s3://", "gs://")):  # a store shows whole objects only
        return found
    time.sleep(_PAUSE)
    now = _arrived(feed)
    return [key for key in found if now.get(key) == arrived[key]]


def _arrived(feed: Feed) -> dict[str, str]:
    """By partition key, the stamp of the file that is there. Reference data counts for the partition in which now lies."""
    before, partitioned, after = feed.declared.uri.partition("{partition}")
    start = feed.workspace.fill(before)
    if feed.declared.snapshot or not partitioned:
        stamp = stamp_of(feed.workspace.fill(feed.declared.uri, partition=feed.current.key))
        return {feed.current.key: stamp} if stamp else {}
    end = re.escape(feed.workspace.fill(after, partition="\0")).replace("\0", "(?P=key)")
    shape = re.compile(rf"{re.escape(start)}(?P<key>[^/]+){end}")
    matches = ((shape.fullmatch(uri), stamp) for uri, stamp in list_files(start.rpartition("/")[0]))
    return {m["key"]: stamp for m, stamp in matches if m and _is_key(feed.use_case, m["key"])}


def _is_key(use_case: UseCase, text: str) -> bool:
    try:
        return use_case.partition(text).key == text
    except PermanentError:
        return False


def _last_read(feed: Feed) -> dict[str, CommitRecord]:
    """By the table's partition key, the record of the file that was read last, whatever was put back since."""
    found: dict[str, CommitRecord] = {}
    lake = feed.workspace.lake
    for commit in lake.commits(feed.table) if lake.exists(feed.table) else ():
        for key in commit.record.keys:
            if (record := commit.record.part(key)).source_digest:
                found.setdefault(key, record)
    return found


def _is_new(feed: Feed, partition: Partition, stamp: str, read: dict[str, CommitRecord]) -> bool:
    record = read.get(key_of(feed.declared, partition))
    if record is None or record.stamp not in (None, stamp):
        return True
    if record.read_at is None or feed.declared.snapshot or feed.declared.forecast:
        return False
    # In parts, what became known until a midnight is asked for by the features of the day that begins then.
    since = [feed.complete_at(partition), *([feed.midnight] if feed.declared.in_parts else [])]
    return datetime.fromisoformat(record.read_at) < min(since) <= feed.now
