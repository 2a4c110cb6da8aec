"""Some columns, or bounded, seeded samples, of published rows: one batch of a file is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipelines.errors import PermanentError
from pipelines.use_case import PARTITION
from pipelines.workspace import StageRun, open_stream

if TYPE_CHECKING:
    import pyarrow as pa
    from pandas import DataFrame

_BATCH = 2**15


def sample(run: StageRun, table: str, keys: Iterable[str], version: int | None, columns: list[str], size: int) -> DataFrame:
    """At most `size` rows by lot of these partitions, with `columns` and the partition."""
    keys, random = list(keys), np.random.default_rng(run.use_case.training.seed)
    total = sum(file.rows for file in run.lake.files(table, keys, version))
    chosen = np.sort(random.choice(total, min(size, total), replace=False))
    found, start = [], 0
    for batch in _batches(run, table, keys, version, columns):
        mine = chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, start + len(batch))] - start
        start += len(batch)
        if len(mine):
            found.append(batch.take(mine))
    return _frame(found, table, keys, columns).sample(frac=1, random_state=run.use_case.training.seed)


def columns_of(run: StageRun, table: str, keys: Iterable[str], version: int | None, columns: list[str]) -> DataFrame:
    """All rows of these partitions, with `columns` and the partition."""
    keys = list(keys)
    return _frame(list(_batches(run, table, keys, version, columns)), table, keys, columns)


def _batches(run: StageRun, table: str, keys: list[str], version: int | None, columns: list[str]) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in run.lake.files(table, keys, version):
        with open_stream(file.uri) as stream:
            parquet = pq.ParquetFile(stream, buffer_size=2**20, pre_buffer=False)
            known = [name for name in columns if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(columns=known, batch_size=_BATCH):
                yield pa.Table.from_batches([batch]).append_column(PARTITION, pa.array([file.partition] * len(batch)))


def _frame(found: list[pa.Table], table: str, keys: list[str], columns: list[str]) -> DataFrame:
    """With a column of nothing where the files are older than the column.

    Raises:
        PermanentError: there are no rows.
    """
    import pyarrow as pa

    if not found:
        raise PermanentError(f"{table}: no rows for {', '.join(keys)}; run the stage that publishes it first")
    rows: DataFrame = pa.concat_tables(found, promote_options="default").to_pandas().reindex(columns=[*columns, PARTITION])
    return rows
