"""Reading the lake's tables, now or at a version.

Reads go through the log's list of files: `DeltaTable.to_pyarrow_table` of deltalake 1.6 leaves threads behind that abort
the interpreter at exit (docs/adr/0003).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.use_case import PARTITION
from pipelines.workspace import files
from pipelines.workspace.lake_log import LakeLog, classified, storage_errors

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_NEVER = 9999  # the year of what never ends
_LISTED = ["partition.partition", "path", "num_records"]  # the rest are statistics of every column
_BATCH = 2**15


@dataclass(frozen=True, order=True)
class DataFile:
    """One published Parquet file of a table."""

    partition: str
    uri: str
    rows: int


class LakeReading(LakeLog):
    @classified
    def files(self, table: str, partitions: Iterable[str] | None = None, version: int | None = None) -> list[DataFile]:
        """The published files, sorted by partition."""
        import pyarrow as pa

        wanted = None if partitions is None else set(partitions)
        adds = pa.table(self.delta(table, version).get_add_actions(flatten=True)).select(_LISTED).to_pylist()
        found = (
            DataFile(partition=a["partition.partition"], uri=f"{self.uri(table)}/{a['path']}", rows=a["num_records"])
            for a in adds
        )
        return sorted(file for file in found if wanted is None or file.partition in wanted)

    @classified
    def latest(self, table: str, column: str) -> dict[str, datetime | None]:
        """By published partition, the latest moment that its files hold in a column, by Delta's log; None is unknown."""
        import pyarrow as pa

        found: dict[str, datetime | None] = {}
        adds = pa.table(self.delta(table).get_add_actions(flatten=True)) if self.exists(table) else pa.table({})
        names = [name for name in (_LISTED[0], f"max.{column}") if name in adds.column_names]
        for add in adds.select(names).to_pylist():
            key, value = add[_LISTED[0]], add.get(f"max.{column}")
            before = found.get(key, value)
            found[key] = None if value is None or before is None else max(before, value)
        return found

    @classified
    def column_types(self, table: str) -> dict[str, str]:
        """Arrow types of the columns by name; empty where there is no table yet."""
        import pyarrow as pa

        schema = pa.schema(self.delta(table).schema().to_arrow()) if self.exists(table) else ()
        return {field.name: str(field.type) for field in schema}

    @classified
    def partitions(self, table: str, version: int | None = None) -> dict[str, int]:
        """Rows per published partition, in order of the key; empty where there is no table yet."""
        found: dict[str, int] = {}
        for file in self.files(table, version=version) if self.exists(table) else ():
            found[file.partition] = found.get(file.partition, 0) + file.rows
        return found

    @classified
    def read(
        self,
        table: str,
        partitions: Iterable[str] | None = None,
        version: int | None = None,
        columns: list[str] | None = None,
    ) -> pa.Table:
        """Published rows as an Arrow table, with the partition key as the last column.

        A column that came later than a file is null for that file's rows.
        """
        import pyarrow as pa

        schema = self._schema(table, version, columns)
        parts = []
        for file in self.files(table, partitions, version):
            rows = _conform(_parquet(file.uri, schema.names), schema, file.rows)
            parts.append(rows.append_column(PARTITION, pa.array([file.partition] * rows.num_rows, pa.string())))
        if not parts:
            raise PermanentError(f"{table}: no rows for {_listed(partitions)}; run the stage that publishes it first")
        return _concatenate(parts)

    def batches(
        self, table: str, partitions: Iterable[str], columns: list[str], version: int | None = None
    ) -> Iterator[pa.Table]:
        """`read` in parts of at most 32,768 rows, with those of the columns that a file has; one is in memory at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for file in self.files(table, partitions, version):
            with storage_errors(table, file.partition), files.open_stream(file.uri) as stream:
                parquet = pq.ParquetFile(stream, buffer_size=2**20, pre_buffer=False)
                known = [name for name in columns if name in parquet.schema_arrow.names]
                for batch in parquet.iter_batches(columns=known, batch_size=_BATCH):
                    yield pa.Table.from_batches([batch]).append_column(PARTITION, pa.repeat(file.partition, len(batch)))

    @classified
    def read_staged(self, table: str, paths: Iterable[str]) -> pa.Table:
        """Staged files as one Arrow table."""
        return _concatenate([_parquet(f"{self.uri(table)}/{path}") for path in paths])

    @classified
    def published_files(self, table: str, partition: str) -> list[str]:
        """Files of the partition, relative to the table, as `publish` takes them."""
        return self.files_each(table, [partition])[partition]

    def files_each(self, table: str, partitions: Iterable[str]) -> dict[str, list[str]]:
        """`published_files` by partition."""
        found: dict[str, list[str]] = {key: [] for key in partitions}
        for file in self.files(table, found) if self.exists(table) else ():
            found[file.partition].append(file.uri.removeprefix(f"{self.uri(table)}/"))
        return found

    def staged_files(self, table: str, area: str) -> list[str]:
        """The Parquet files that a job left in a staging area."""
        root = self.uri(table)
        found = files.list_files(f"{root}/{area}")
        return [uri.removeprefix(f"{root}/") for uri, _ in found if uri.endswith(".parquet")]

    def _schema(self, table: str, version: int | None, columns: list[str] | None) -> pa.Schema:
        """The table's Arrow schema without the partition, or these columns of it, in this order."""
        import pyarrow as pa

        known = pa.schema(self.delta(table, version).schema().to_arrow())
        names = [name for name in known.names if name != PARTITION] if columns is None else columns
        missing = [name for name in names if name not in known.names]
        if missing:
            raise PermanentError(f"{table}: no column {', '.join(missing)}; it has {', '.join(known.names)}")
        return pa.schema([known.field(name) for name in names])


def latest_moments(info: pq.FileMetaData) -> dict[str, str]:
    """By column of moments, the latest one in a file, as Delta writes it; columns without any value are left out."""
    found: dict[str, datetime] = {}
    for number in range(info.num_columns):
        parts = [info.row_group(group).column(number).statistics for group in range(info.num_row_groups)]
        values = [part.max for part in parts if part is not None and part.has_min_max]
        if values and all(part is not None for part in parts) and isinstance(values[0], datetime) and max(values).year < _NEVER:
            found[info.schema.column(number).name] = max(values)
    # Delta keeps milliseconds: rounded up, so that nothing in the file is later.
    up = {name: (at + timedelta(microseconds=999)).isoformat(timespec="milliseconds") for name, at in found.items()}
    return {name: text.replace("+00:00", "Z") for name, text in up.items()}


def _parquet(uri: str, columns: list[str] | None = None) -> pa.Table:
    """The rows of one file, with those of the columns that it has."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(files.read_bytes(uri)))
    names = file.schema_arrow.names
    return file.read(columns=None if columns is None else [name for name in columns if name in names])


def _conform(rows: pa.Table, schema: pa.Schema, count: int) -> pa.Table:
    """The rows with the schema's columns in its order, null where a file is older than the column."""
    import pyarrow as pa

    columns = {f.name: rows[f.name] if f.name in rows.column_names else pa.nulls(count, f.type) for f in schema}
    return pa.table(columns)


def _concatenate(parts: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(parts, promote_options="default")


def _listed(partitions: Iterable[str] | None) -> str:
    return "any partition" if partitions is None else ", ".join(sorted(partitions)) or "no partition at all"
