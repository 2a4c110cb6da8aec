"""Bounded, seeded samples of published rows: one batch of a file is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from pipelines.errors import PermanentError
from pipelines.use_case import PARTITION
from pipelines.workspace import StageRun

if TYPE_CHECKING:
    from pandas import DataFrame


def sample(run: StageRun, table: str, keys: Iterable[str], version: int | None, columns: list[str], size: int) -> DataFrame:
    """At most `size` rows by lot of these partitions, with `columns`, null where a file is older, and the partition.

    Raises:
        PermanentError: there are no rows.
    """
    import pyarrow as pa

    keys, random = list(keys), np.random.default_rng(run.use_case.training.seed)
    total = sum(file.rows for file in run.lake.files(table, keys, version))
    chosen = np.sort(random.choice(total, min(size, total), replace=False))
    found, start = [], 0
    for batch in run.lake.batches(table, keys, columns, version):
        mine = chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, start + len(batch))] - start
        start += len(batch)
        if len(mine):
            found.append(batch.take(mine))
    if not found:
        raise PermanentError(f"{table}: no rows for {', '.join(keys)}; run the stage that publishes it first")
    rows: DataFrame = pa.concat_tables(found, promote_options="default").to_pandas().reindex(columns=[*columns, PARTITION])
    return rows.sample(frac=1, random_state=run.use_case.training.seed)
