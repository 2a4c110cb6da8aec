"""The lake: Delta tables `<use case>/<noun>`, partitioned by partition key. Write, audit, publish; read; put back; sweep.

`lake_log` knows tables and commits, `lake_reading` reads rows, `lake_publishing` writes them; versions end here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from pipelines.errors import PermanentError, TransientError
from pipelines.workspace.commits import CommitRecord
from pipelines.workspace.lake_log import classified
from pipelines.workspace.lake_publishing import LakePublishing


class Lake(LakePublishing):
    """All tables under one root: a local folder, `s3://` or `gs://`."""

    @classified
    def restore(self, table: str, version: int, record: CommitRecord, seen: int | None = None) -> int:
        """Make the content of an older version the current one; a new version, nothing is erased.

        `seen` is the version that was current when this was decided; without it, the current one. Whoever is about to
        publish from rows of before is told so, as every partition counts as published anew.

        Raises:
            PermanentError: there is no such version, or its files are gone.
            TransientError: the table has moved on from `seen`.
        """
        from deltalake import CommitProperties, Transaction
        from deltalake.exceptions import CommitFailedError, DeltaError

        seen = self.version(table) if seen is None else seen
        if not 0 <= version <= seen:
            raise PermanentError(f"{table}: no version {version}; it has 0 to {seen}")
        delta = self.delta(table, seen)
        keys = {*self.partitions(table, seen), *self.partitions(table, version)}
        again = [Transaction(key, (delta.transaction_version(key) or 0) + 1) for key in sorted(keys)]
        properties = CommitProperties(custom_metadata=record.metadata(), max_commit_retries=0, app_transactions=again)
        try:
            delta.restore(version, commit_properties=properties)
        except CommitFailedError:
            raise TransientError(f"{table}: another run published it meanwhile; look at it, then restore again") from None
        except DeltaError as error:
            raise PermanentError(f"{table}: version {version} cannot be put back ({error}); choose a newer one") from None
        return seen + 1

    @classified
    def sweep(self, table: str, keep: timedelta, versions: Iterable[int] = ()) -> int:
        """Remove files that neither `versions` nor any version of the last `keep` needs; return how many.

        Staged files that were never published go too, once they are older than `keep`.
        """
        hours = int(keep.total_seconds() // 3600)
        return len(
            self.opened(table).vacuum(
                hours, dry_run=False, enforce_retention_duration=False, full=True, keep_versions=sorted(set(versions)) or None
            )
        )
