"""What a version says of rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipelines.use_case import PARTITION, UseCase
from pipelines.workspace import Model, StageRun, feature_rows

if TYPE_CHECKING:
    from pandas import DataFrame


def predict(model: Model, use_case: UseCase, rows: DataFrame) -> DataFrame:
    """Frame of key, model version, probability and the action that the threshold asks for; one row per row."""
    import pandas as pd

    key, probability = use_case.features.key, model.predict(rows)
    act = probability >= use_case.scoring.threshold
    found = {key: rows[key], "model_version": model.version, "probability": probability, "act": act}
    return pd.DataFrame(found, index=rows.index)


def predict_each(run: StageRun, version: int, keys: Iterable[str], features_version: int) -> list[DataFrame]:
    """A frame per partition, by one load. Partition by partition, as day after day: to the last bit the same."""
    model = run.registry.load(run.use_case.name, version)
    rows = feature_rows(run.workspace, run.use_case, model, keys, features_version)
    return [predict(model, run.use_case, part).assign(partition=key) for key, part in rows.groupby(PARTITION)]
