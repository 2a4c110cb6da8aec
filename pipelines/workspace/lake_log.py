"""The lake's tables and their logs: where they are, which versions they have, what each commit says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.workspace import files
from pipelines.workspace.commits import Commit

if TYPE_CHECKING:
    from deltalake import DeltaTable

PARTITION = "partition"


class LakeLog:
    """All tables under one root: a local folder, `s3://` or `gs://`."""

    def __init__(self, root: str, options: dict[str, str] | None = None) -> None:
        self.root = root.rstrip("/")
        self.options = options or {}

    def uri(self, table: str) -> str:
        return f"{self.root}/{table}"

    def exists(self, table: str) -> bool:
        """Whether there is a log. Its first file may be gone, cleaned up by a Delta writer: then there is a checkpoint."""
        log = f"{self.uri(table)}/_delta_log"
        return files.file_exists(f"{log}/{0:020d}.json") or files.file_exists(f"{log}/_last_checkpoint")

    def delta(self, table: str, version: int | None = None) -> DeltaTable:
        """The `deltalake.DeltaTable`, for its log; read rows with `read`."""
        from deltalake import DeltaTable

        if not self.exists(table):
            raise PermanentError(f"{table}: no such table in {self.root}; run the stage that publishes it first")
        return DeltaTable(self.uri(table), version=version, storage_options=self.options)

    def version(self, table: str) -> int:
        return self.delta(table).version()

    def seen(self, table: str, partition: str) -> int:
        """How often the partition was published or restored: read it before the rows that a new publish stands on."""
        return (self.delta(table).transaction_version(partition) or 0) if self.exists(table) else 0

    def commits(self, table: str, version: int | None = None) -> Iterator[Commit]:
        """The table's commits, newest first, from a version on.

        Read from the log itself: `DeltaTable.history` of deltalake 1.6 numbers the newest commits with the version that
        was loaded, so that an older version, or a commit made meanwhile, shifts all numbers.
        """
        for number in range(self.version(table) if version is None else version, -1, -1):
            try:
                lines = files.read_bytes(f"{self.uri(table)}/_delta_log/{number:020d}.json").splitlines()
            except PermanentError:  # older than what is kept of the log
                return
            yield from (Commit.of(number, action["commitInfo"]) for action in map(json.loads, lines) if "commitInfo" in action)

    def published(self, table: str, partition: str, version: int | None = None) -> Commit | None:
        """The commit whose rows the partition holds, now or at a version."""
        return self.published_each(table, [partition], version).get(partition)

    def published_each(self, table: str, partitions: Iterable[str], version: int | None = None) -> dict[str, Commit]:
        """`published` by partition, in one reading of the log; partitions without one are left out."""
        wanted, found, undone_after = set(partitions), dict[str, Commit](), None
        for commit in self.commits(table, version) if self.exists(table) else ():
            if undone_after is not None and commit.version > undone_after:
                continue
            if commit.restored_to is not None:
                undone_after = commit.restored_to
            elif commit.record.partition in wanted:
                found.setdefault(commit.record.partition, commit)
                if len(found) == len(wanted):
                    break
        return found
