"""What was predicted, and which of it was served: told here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pipelines.use_case import PARTITION, PREDICTION_COLUMNS, UseCase, predictions_table
from pipelines.workspace.registry import CHAMPION
from pipelines.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def served_rows(workspace: Workspace, use_case: UseCase, keys: Iterable[str]) -> pd.DataFrame:
    """What was served in these partitions, in their order: each row once, whatever was tried on it later."""
    rows = predicted_rows(workspace, use_case, keys)
    return rows.filter(rows["served"]).to_pandas()


def served_batches(workspace: Workspace, use_case: UseCase, keys: Iterable[str], columns: list[str]) -> Iterator[pa.Table]:
    """The same in parts that memory holds, with some of the columns and the partition, less what challengers of an experiment
    served."""
    import pyarrow.compute as pc

    asked, known = list(dict.fromkeys([*columns, "model_version", "served", "variant"])), _published(workspace, use_case, keys)
    for rows in workspace.lake.batches(predictions_table(use_case), known, asked) if known else ():
        told = _told(workspace, use_case, rows)
        told = told.filter(told["served"])
        if "variant" in told.column_names:
            told = told.filter(pc.equal(pc.fill_null(told["variant"], CHAMPION), CHAMPION))
        yield told.select([*columns, PARTITION])


def predicted_rows(workspace: Workspace, use_case: UseCase, keys: Iterable[str]) -> pa.Table:
    """All rows of these partitions, also what was only tried (`served` is false); none where nothing was predicted.

    Rows from before this was written down were served if their version was champion as of the partition.
    """
    import pyarrow as pa

    known = _published(workspace, use_case, keys)
    if not known:
        return prediction_schema(pa.field(use_case.features.key, pa.string())).empty_table()
    return _told(workspace, use_case, workspace.lake.read(predictions_table(use_case), known))


def _published(workspace: Workspace, use_case: UseCase, keys: Iterable[str]) -> list[str]:
    published = workspace.lake.partitions(predictions_table(use_case))
    return [key for key in keys if key in published]


def _told(workspace: Workspace, use_case: UseCase, rows: pa.Table) -> pa.Table:
    """The rows with all columns of their schema, and whether they were served."""
    import pyarrow as pa
    import pyarrow.compute as pc

    key = use_case.features.key
    field = rows.schema.field(key) if key in rows.column_names else pa.field(key, pa.string())
    schema = prediction_schema(field, experiment="variant" in rows.column_names)
    rows = pa.table([rows[f.name] if f.name in rows.column_names else pa.nulls(len(rows), f.type) for f in schema], schema)
    if not rows["served"].null_count:
        return rows
    champions = workspace.ledger.champions(use_case.name, pc.unique(rows[PARTITION]).to_pylist())
    champion = pa.array([champions.get(name) for name in rows[PARTITION].to_pylist()], pa.int64())
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
