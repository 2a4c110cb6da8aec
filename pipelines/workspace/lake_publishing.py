"""Publishing: write, audit, publish.

Files are staged below a table's folder, where no reader sees them, and become visible in one Delta transaction that
replaces exactly one partition, or several.
"""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError, TransientError
from pipelines.results import TableSlice
from pipelines.use_case import PARTITION
from pipelines.workspace import files
from pipelines.workspace.commits import CommitRecord
from pipelines.workspace.lake_columns import add_columns, all_columns, new_columns
from pipelines.workspace.lake_log import classified, storage_errors
from pipelines.workspace.lake_reading import LakeReading, latest_moments

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction, RemoveAction

    Actions = list[AddAction | RemoveAction]

_TRIES = 20
# Old versions stay readable, as a model is rebuilt from the versions that it was trained on; Delta forgets after 30 days.
# And checkpoints forget removed files after a week, which a full sweep would then take for files that nobody knew.
_CONFIGURATION: dict[str, str | None] = {
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    # Delta reads the statistics of 32 columns only.
    "delta.dataSkippingNumIndexedCols": "10000",
}


class LakePublishing(LakeReading):
    def staging_area(self, table: str, partition: str) -> str:
        """A fresh folder, relative to the table, that no reader sees until its files are published."""
        return f"data/{partition}/{uuid.uuid4().hex}"

    @classified
    def stage(self, table: str, partition: str, rows: pa.Table) -> str:
        """Write an Arrow table to a staged Parquet file; return its path relative to the table."""
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(rows, buffer, compression="zstd", coerce_timestamps="us")
        path = f"{self.staging_area(table, partition)}/part-00000.parquet"
        files.write_bytes(f"{self.uri(table)}/{path}", buffer.getvalue())
        return path

    @contextmanager
    def staging(self, table: str, path: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """A staged Parquet file, to be written batch by batch; `path` is relative to the table."""
        import pyarrow.parquet as pq

        with (
            storage_errors(table),
            files.writing(f"{self.uri(table)}/{path}") as local,
            pq.ParquetWriter(local, schema, compression="zstd", coerce_timestamps="us") as writer,
        ):
            yield writer

    @classified
    def publish(
        self, table: str, partition: str, staged: Iterable[str], record: CommitRecord, seen: int | None = None
    ) -> TableSlice:
        """Replace one partition by the staged files, in one transaction.

        `record` is kept in the commit, with the partition. Raises TransientError when another run published the same
        partition since: since this call, or since `seen` (see there) where the files were made from its own rows.
        """
        seen = self.seen(table, partition) if seen is None else seen
        return self.publish_each(table, {partition: staged}, record, {partition: seen})[0]

    @classified
    def publish_each(
        self, table: str, staged: Mapping[str, Iterable[str]], record: CommitRecord, seen: Mapping[str, int] | None = None
    ) -> list[TableSlice]:
        """Replace several partitions, each by its staged files, in one transaction: all of them or none.

        Raises TransientError when another run published one of them since, as `publish` does.
        """
        parts = {key: self._adds(table, key, files) for key, files in staged.items()}
        before = self.seen_each(table, parts) if seen is None else seen
        about = record.about(parts).metadata()

        def commit(delta: DeltaTable) -> bool:
            if overtaken := [key for key in parts if (delta.transaction_version(key) or 0) != before[key]]:
                where = f"{table} {', '.join(overtaken)}"
                raise TransientError(f"{where}: another run published it meanwhile; run this one again")
            actions = [action for found, _, _ in parts.values() for action in found]
            self._commit(delta, actions, "overwrite", about, {key: before[key] + 1 for key in parts})
            return True

        version = self._transact(table, all_columns(schema for _, schema, _ in parts.values()), commit)
        assert version is not None, "only an append may decline to commit"
        return [TableSlice(table=table, partition=key, version=version, rows=rows) for key, (_, _, rows) in parts.items()]

    @classified
    def append(
        self,
        table: str,
        partition: str,
        rows: Callable[[int], pa.Table],
        record: CommitRecord,
        check: Callable[[], bool],
        batch: Mapping[str, int] = MappingProxyType({}),
    ) -> int | None:
        """Add rows in one transaction, unless `check()`, asked against the latest version each time, says no.

        `rows` are told the version that their commit makes. `batch` is a writer's name and its number, which `seen` then
        tells of the writer's name.
        """
        import pyarrow as pa

        schema = rows(0).schema.append(pa.field(PARTITION, pa.string()))

        def commit(delta: DeltaTable) -> bool:
            allowed = check()
            if allowed:
                staged = self.stage(table, partition, rows(delta.version() + 1))
                self._commit(delta, self._adds(table, partition, [staged])[0], "append", record.metadata(), batch)
            return allowed

        return self._transact(table, schema, commit)

    @classified
    def stop_at_unpublishable(self, table: str, partition: str, staged: Iterable[str]) -> None:
        """What `publish` would refuse, found before anything is published.

        Raises:
            PermanentError: nothing was staged, or a column is not of the table's type.
        """
        _, schema, _ = self._adds(table, partition, staged)
        if self.exists(table):
            new_columns(table, self.delta(table), schema)

    @classified
    def put_back(self, table: str, partition: str, staged: Iterable[str], record: CommitRecord, seen: int) -> None:
        """Take the newest publication of a partition back: it holds the files of before again, or none.

        Raises:
            TransientError: another run published the partition since `seen`.
        """
        if staged := list(staged):
            self.publish(table, partition, staged, record, seen)
            return
        about = record.about([partition]).metadata()

        def commit(delta: DeltaTable) -> bool:
            self._commit(delta, [], "overwrite", about, {partition: seen + 1})
            return True

        self._transact(table, None, commit)

    def _adds(self, table: str, partition: str, staged: Iterable[str]) -> tuple[Actions, pa.Schema, int]:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from deltalake.transaction import AddAction

        staged = list(staged)
        if not staged:
            raise PermanentError(f"{table} {partition}: nothing was staged; the job before wrote no file")
        actions: Actions = []
        rows, schema = 0, None
        for path in staged:
            data = files.read_bytes(f"{self.uri(table)}/{path}")
            info = pq.read_metadata(io.BytesIO(data))
            schema = info.schema.to_arrow_schema().remove_metadata()
            stats = json.dumps({"numRecords": info.num_rows, "maxValues": latest_moments(info)})
            actions.append(AddAction(path, len(data), {PARTITION: partition}, int(time.time() * 1000), True, stats))
            rows += info.num_rows
        assert schema is not None
        return actions, schema.append(pa.field(PARTITION, pa.string())), rows

    def _transact(self, table: str, schema: pa.Schema | None, commit: Callable[[DeltaTable], bool]) -> int | None:
        """Commit against the latest version until no other writer was faster; None where `commit` declines."""
        from deltalake.exceptions import CommitFailedError

        for attempt in range(_TRIES):
            try:
                delta = self.opened(table) if schema is None else self._open_or_create(table, schema)
                if not commit(delta):
                    return None
                delta.update_incremental()
                self._read[table] = delta  # nobody writes by it any more, and whoever reads next need not open it again
                return delta.version()
            except CommitFailedError:
                time.sleep(0.05 * attempt)
        raise TransientError(f"{table}: {_TRIES} commits lost against other writers; run again")

    def _commit(self, delta: DeltaTable, actions: Actions, mode: str, about: dict[str, str], seen: Mapping[str, int]) -> None:
        """`seen`: by partition that is replaced, how often it has been published with this time; or a writer's batch."""
        from deltalake import CommitProperties, Transaction

        # No retries inside: a commit that lost is judged again here. The library's own retry lets two first
        # writers of one partition both win.
        again = [Transaction(key, times) for key, times in seen.items()]
        properties = CommitProperties(custom_metadata=about, max_commit_retries=0, app_transactions=again or None)
        # The table's own schema: an overwrite with the files' would drop the columns that this partition lacks.
        delta.create_write_transaction(
            actions,
            mode,
            delta.schema(),
            partition_by=[PARTITION],
            partition_filters=[(PARTITION, "in", list(seen))] if seen and mode == "overwrite" else None,
            commit_properties=properties,
        )

    def _open_or_create(self, table: str, schema: pa.Schema) -> DeltaTable:
        from deltalake import CommitProperties, DeltaTable
        from deltalake.exceptions import DeltaError

        if not self.exists(table):
            try:
                DeltaTable.create(
                    self.uri(table),
                    schema=schema,
                    partition_by=[PARTITION],
                    configuration=_CONFIGURATION,
                    storage_options=self.options,
                    # A second creator's retry would commit its schema over the first one's.
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except DeltaError:
                if not self.exists(table):
                    raise
        delta = self.opened(table)
        add_columns(table, delta, schema)
        return delta
