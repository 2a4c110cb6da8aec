"""Bounded, seeded samples of published rows: one batch of a file is in memory at a time, whatever a partition holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from pipelines.errors import PermanentError
from pipelines.use_case import PARTITION
from pipelines.workspace import StageRun, open_stream

if TYPE_CHECKING:
    from pandas import DataFrame


def sample(run: StageRun, table: str, keys: Iterable[str], version: int | None, columns: list[str], size: int) -> DataFrame:
    """At most `size` rows by lot of these partitions, with `columns` and the partition."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = list(keys)
    files, random = run.lake.files(table, keys, version), np.random.default_rng(run.use_case.training.seed)
    total, found = sum(file.rows for file in files), []
    chosen = np.sort(random.choice(total, min(size, total), replace=False))
    start = 0
    for file in files:
        with open_stream(file.uri) as stream:
            parquet = pq.ParquetFile(stream)
            known = [name for name in columns if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(columns=known, batch_size=2**15):
                mine = chosen[(chosen >= start) & (chosen < start + len(batch))] - start
                start += len(batch)
                if len(mine):
                    rows = pa.Table.from_batches([batch]).take(mine)
                    found.append(rows.append_column(PARTITION, pa.array([file.partition] * len(mine))))
    if not found:
        raise PermanentError(f"{table}: no rows for {', '.join(keys)}; run the stage that publishes it first")
    sampled = pa.concat_tables(found, promote_options="default").to_pandas().reindex(columns=[*columns, PARTITION])
    return sampled.sample(frac=1, random_state=run.use_case.training.seed)
