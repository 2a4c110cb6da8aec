"""The lake: Delta tables `<use case>/<noun>`, partitioned by partition key. Write, audit, publish.

Files are staged below a table's folder, where no reader sees them, and become visible in one Delta transaction that
replaces exactly one partition. Reads go through the log's list of files: `DeltaTable.to_pyarrow_table` of deltalake 1.6
leaves threads behind that abort the interpreter at exit (docs/adr/0003).
"""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pipelines.errors import PermanentError, TransientError
from pipelines.results import TableSlice
from pipelines.workspace import files
from pipelines.workspace.commits import Commit, CommitRecord

PARTITION = "partition"
_TRIES = 20
# Old versions stay readable, as a model is rebuilt from the versions that it was trained on; Delta forgets after 30 days.
# And checkpoints forget removed files after a week, which a full sweep would then take for files that nobody knew.
_CONFIGURATION = {
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
}


class Lake:
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

    # write ----------------------------------------------------------------------------------------------------------

    def staging_area(self, table: str, partition: str) -> str:
        """A fresh folder, relative to the table, that no reader sees until its files are published."""
        return f"data/{partition}/{uuid.uuid4().hex}"

    def stage(self, table: str, partition: str, rows: Any) -> str:
        """Write an Arrow table to a staged Parquet file; return its path relative to the table."""
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(rows, buffer, compression="zstd", coerce_timestamps="us")
        path = f"{self.staging_area(table, partition)}/part-00000.parquet"
        files.write_bytes(f"{self.uri(table)}/{path}", buffer.getvalue())
        return path

    def staged_files(self, table: str, area: str) -> list[str]:
        """The Parquet files that a job left in a staging area."""
        root = self.uri(table)
        found = files.list_files(f"{root}/{area}")
        return [uri.removeprefix(f"{root}/") for uri, _ in found if uri.endswith(".parquet")]

    def read_staged(self, table: str, paths: Iterable[str]) -> Any:
        """Staged files as one Arrow table."""
        return _concatenate([self._parquet(f"{self.uri(table)}/{path}") for path in paths])

    # publish --------------------------------------------------------------------------------------------------------

    def publish(
        self, table: str, partition: str, staged: Iterable[str], record: CommitRecord, seen: int | None = None
    ) -> TableSlice:
        """Replace one partition by the staged files, in one transaction.

        `record` is kept in the commit, with the partition. Raises TransientError when another run published the same
        partition since: since this call, or since `seen` (see there) where the files were made from its own rows.
        """
        staged = list(staged)
        actions, schema, rows = self._adds(table, partition, staged)
        before = self.seen(table, partition) if seen is None else seen
        about = replace(record, partition=partition).metadata()

        def commit(delta: Any) -> None:
            if (delta.transaction_version(partition) or 0) != before:
                raise TransientError(f"{table} {partition}: another run published it meanwhile; run this one again")
            filters = [(PARTITION, "=", partition)]
            self._commit(delta, actions, "overwrite", filters, about, (partition, before + 1))

        version = self._transact(table, schema, commit)
        assert version is not None, "only an append may decline to commit"
        return TableSlice(table, partition, version, rows)

    def append(self, table: str, partition: str, rows: Any, record: CommitRecord, check: Callable[[], bool]) -> int | None:
        """Add rows in one transaction, unless `check()`, asked against the latest version each time, says no."""
        actions, schema, _ = self._adds(table, partition, [self.stage(table, partition, rows)])

        def commit(delta: Any) -> bool | None:
            if not check():
                return False
            self._commit(delta, actions, "append", None, record.metadata(), None)
            return None

        return self._transact(table, schema, commit)

    def _adds(self, table: str, partition: str, staged: list[str]) -> tuple[list[Any], Any, int]:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from deltalake.transaction import AddAction

        if not staged:
            raise PermanentError(f"{table} {partition}: nothing was staged; the job before wrote no file")
        actions, rows, schema = [], 0, None
        for path in staged:
            data = files.read_bytes(f"{self.uri(table)}/{path}")
            info = pq.read_metadata(io.BytesIO(data))
            schema = info.schema.to_arrow_schema().remove_metadata()
            stats = json.dumps({"numRecords": info.num_rows})
            actions.append(AddAction(path, len(data), {PARTITION: partition}, int(time.time() * 1000), True, stats))
            rows += info.num_rows
        assert schema is not None
        return actions, schema.append(pa.field(PARTITION, pa.string())), rows

    def _transact(self, table: str, schema: Any, commit: Callable[[Any], bool | None]) -> int | None:
        from deltalake.exceptions import CommitFailedError

        for attempt in range(_TRIES):
            try:
                delta = self._open_or_create(table, schema)
                if commit(delta) is False:
                    return None
                delta.update_incremental()
                return int(delta.version())
            except CommitFailedError:
                time.sleep(0.05 * attempt)
            except OSError as error:
                why = "the log could not be written; free space or mend the disk, then run again"
                raise TransientError(f"{table}: {why} ({error})") from error
        raise TransientError(f"{table}: {_TRIES} commits lost against other writers; run again")

    def _commit(self, delta: Any, actions: Any, mode: str, filters: Any, about: Any, seen: Any) -> None:
        from deltalake import CommitProperties, Transaction

        # No retries inside: a commit that lost is judged again here. The library's own retry lets two first
        # writers of one partition both win.
        properties = CommitProperties(
            custom_metadata=about, max_commit_retries=0, app_transactions=[Transaction(*seen)] if seen else None
        )
        # The table's own schema: an overwrite with the files' would drop the columns that this partition lacks.
        delta.create_write_transaction(
            actions, mode, delta.schema(), partition_by=[PARTITION], partition_filters=filters, commit_properties=properties
        )

    def _open_or_create(self, table: str, schema: Any) -> Any:
        from deltalake import CommitProperties, DeltaTable
        from deltalake.exceptions import DeltaError

        if not self.exists(table):
            try:
                create: Any = DeltaTable.create
                create(
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
        delta = self.delta(table)
        self._add_columns(table, delta, schema)
        return delta

    def _add_columns(self, table: str, delta: Any, schema: Any) -> None:
        """An approved new column of the contract becomes a column of the table; older files read as null."""
        from deltalake import Field, Schema

        known = {field.name: field.type for field in delta.schema().fields}
        fields = {f.name: f.type for f in Schema.from_arrow(schema).fields}
        changed = [f"{name} was {known[name]}, is {t}" for name, t in fields.items() if known.get(name, t) != t]
        if changed:
            raise PermanentError(
                f"{table}: a column's type changed ({'; '.join(changed)}); give it a new name, or cast it back"
            )
        new = [Field(name, t, nullable=True) for name, t in fields.items() if name not in known]
        if new:
            delta.alter.add_columns(new)

    # read -----------------------------------------------------------------------------------------------------------

    def delta(self, table: str, version: int | None = None) -> Any:
        """The `deltalake.DeltaTable`, for its log; read rows with `read`."""
        from deltalake import DeltaTable

        if not self.exists(table):
            raise PermanentError(f"{table}: no such table in {self.root}; run the stage that publishes it first")
        return DeltaTable(self.uri(table), version=version, storage_options=self.options)

    def version(self, table: str) -> int:
        return int(self.delta(table).version())

    def files(self, table: str, partitions: Iterable[str] | None = None, version: int | None = None) -> list[dict[str, Any]]:
        """`{uri, partition, rows}` of the published files, sorted by partition."""
        import pyarrow as pa

        wanted = None if partitions is None else set(partitions)
        adds = pa.table(self.delta(table, version).get_add_actions(flatten=True)).to_pylist()
        rows = [
            {"uri": f"{self.uri(table)}/{a['path']}", PARTITION: a["partition.partition"], "rows": a["num_records"]}
            for a in adds
            if wanted is None or a["partition.partition"] in wanted
        ]
        return sorted(rows, key=lambda r: (r[PARTITION], r["uri"]))

    def column_types(self, table: str) -> dict[str, str]:
        """Arrow types of the columns by name; empty where there is no table yet."""
        import pyarrow as pa

        schema = pa.schema(self.delta(table).schema().to_arrow()) if self.exists(table) else ()
        return {field.name: str(field.type) for field in schema}

    def partitions(self, table: str, version: int | None = None) -> dict[str, int]:
        """Rows per published partition, in order of the key; empty where there is no table yet."""
        found: dict[str, int] = {}
        for file in self.files(table, version=version) if self.exists(table) else ():
            found[file[PARTITION]] = found.get(file[PARTITION], 0) + file["rows"]
        return found

    def read(
        self,
        table: str,
        partitions: Iterable[str] | None = None,
        version: int | None = None,
        columns: list[str] | None = None,
    ) -> Any:
        """Published rows as an Arrow table, with the partition key as the last column.

        A column that came later than a file is null for that file's rows.
        """
        import pyarrow as pa

        schema = self._schema(table, version, columns)
        parts = []
        for file in self.files(table, partitions, version):
            rows = _conform(self._parquet(file["uri"], schema.names), schema, file["rows"])
            parts.append(rows.append_column(PARTITION, pa.array([file[PARTITION]] * rows.num_rows, pa.string())))
        if not parts:
            raise PermanentError(f"{table}: no rows for {_listed(partitions)}; run the stage that publishes it first")
        return _concatenate(parts)

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
        if not self.exists(table):
            return None
        undone_after: int | None = None
        for commit in self.commits(table, version):
            if undone_after is not None and commit.version > undone_after:
                continue
            if commit.restored_to is not None:
                undone_after = commit.restored_to
            elif commit.record.partition == partition:
                return commit
        return None

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

    def sweep(self, table: str, keep: timedelta, versions: Iterable[int] = ()) -> int:
        """Remove files that neither `versions` nor any version of the last `keep` needs; return how many.

        Staged files that were never published go too, once they are older than `keep`.
        """
        hours = int(keep.total_seconds() // 3600)
        return len(
            self.delta(table).vacuum(
                hours, dry_run=False, enforce_retention_duration=False, full=True, keep_versions=sorted(set(versions)) or None
            )
        )

    def seen(self, table: str, partition: str) -> int:
        """How often the partition was published or restored: read it before the rows that a new publish stands on."""
        return (self.delta(table).transaction_version(partition) or 0) if self.exists(table) else 0

    def _schema(self, table: str, version: int | None, columns: list[str] | None) -> Any:
        """The table's Arrow schema without the partition, or these columns of it, in this order."""
        import pyarrow as pa

        known = pa.schema(self.delta(table, version).schema().to_arrow())
        names = [name for name in known.names if name != PARTITION] if columns is None else columns
        missing = [name for name in names if name not in known.names]
        if missing:
            raise PermanentError(f"{table}: no column {', '.join(missing)}; it has {', '.join(known.names)}")
        return pa.schema([known.field(name) for name in names])

    def _parquet(self, uri: str, columns: list[str] | None = None) -> Any:
        """The rows of one file, with those of the columns that it has."""
        import pyarrow.parquet as pq

        file = pq.ParquetFile(io.BytesIO(files.read_bytes(uri)))
        names = file.schema_arrow.names
        return file.read(columns=None if columns is None else [name for name in columns if name in names])


def _conform(rows: Any, schema: Any, count: int) -> Any:
    """The rows with the schema's columns in its order, null where a file is older than the column."""
    import pyarrow as pa

    columns = {f.name: rows[f.name] if f.name in rows.column_names else pa.nulls(count, f.type) for f in schema}
    return pa.table(columns)


def _concatenate(parts: list[Any]) -> Any:
    import pyarrow as pa

    return pa.concat_tables(parts, promote_options="default")


def _listed(partitions: Iterable[str] | None) -> str:
    return "any partition" if partitions is None else ", ".join(sorted(partitions)) or "no partition at all"
