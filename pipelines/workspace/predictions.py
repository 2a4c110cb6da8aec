"""What was predicted, and which of it was served: told here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipelines.use_case import PARTITION, PREDICTION_COLUMNS, UseCase, predictions_table
from pipelines.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def served_rows(workspace: Workspace, use_case: UseCase, keys: Iterable[str]) -> pd.DataFrame:
    """What was served in these partitions, in their order: each row once, whatever was tried on it later."""
    rows = predicted_rows(workspace, use_case, keys)
    return rows.filter(rows["served"]).to_pandas()


def predicted_rows(workspace: Workspace, use_case: UseCase, keys: Iterable[str]) -> pa.Table:
    """All rows of these partitions, also what was only tried (`served` is false); none where nothing was predicted.

    Rows from before this was written down were served if their version was champion as of the partition.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = predictions_table(use_case)
    published = workspace.lake.partitions(table)
    known = [key for key in keys if key in published]
    if not known:
        return prediction_schema(pa.field(use_case.features.key, pa.string())).empty_table()
    rows = workspace.lake.read(table, known)
    schema = prediction_schema(rows.schema.field(use_case.features.key), experiment="variant" in rows.column_names)
    rows = pa.table([rows[f.name] if f.name in rows.column_names else pa.nulls(len(rows), f.type) for f in schema], schema)
    champions = workspace.ledger.champions(use_case.name, known) if rows["served"].null_count else {}
    champion = pa.array([champions.get(key) for key in rows[PARTITION].to_pylist()], pa.int64())
    served = pc.coalesce(rows["served"], pc.equal(rows["model_version"], champion), pa.scalar(False))
    return rows.set_column(schema.get_field_index("served"), "served", served)


def prediction_schema(key: pa.Field, experiment: bool = False) -> pa.Schema:
    """`made_at` by the workspace's clock; `features_version` is the version of the features table that was read.

    With an experiment: whose score it is, the row's unit, the variant's share, and which variant the unit was assigned to.
    """
    import pyarrow as pa

    types = {
        "model_version": pa.int64(),
        "probability": pa.float64(),
        "act": pa.bool_(),
        "made_at": pa.timestamp("us", "UTC"),
        "run": pa.string(),
        "features_version": pa.int64(),
        "served": pa.bool_(),
    }
    told = {"variant": pa.string(), "unit": pa.string(), "weight": pa.float64(), "assigned": pa.string()} if experiment else {}
    return pa.schema([key, *((name, types[name]) for name in PREDICTION_COLUMNS), *told.items(), (PARTITION, pa.string())])
