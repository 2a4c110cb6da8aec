"""What a version says of rows."""

from __future__ import annotations

import timeit
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipelines.use_case import PARTITION, UseCase
from pipelines.workspace import Model, StageRun, feature_rows

if TYPE_CHECKING:
    from pandas import DataFrame

HUNDRED, _TIMES = 100, 5


def predict(model: Model, use_case: UseCase, rows: DataFrame) -> DataFrame:
    """Frame of key, model version, probability and the action that the threshold asks for; one row per row."""
    import pandas as pd

    key, probability = use_case.features.key, model.predict(rows)
    act = probability >= use_case.scoring.threshold
    found = {key: rows[key], "model_version": model.version, "probability": probability, "act": act}
    return pd.DataFrame(found, index=rows.index)


def predict_each(run: StageRun, version: int, keys: Iterable[str], features_version: int) -> list[DataFrame]:
    """A frame per partition, by one load. Partition by partition, as day after day: to the last bit the same."""
    return _predicted(run, *_loaded(run, version, keys, features_version))


def predict_timed(run: StageRun, version: int, keys: Iterable[str], features_version: int) -> tuple[list[DataFrame], float]:
    """The same, and the milliseconds that up to a hundred of the rows take at once: the shortest of several times.

    As `timeit` advises: what is longer is by what else the machine does.
    """
    model, rows = _loaded(run, version, keys, features_version)
    frames, few = _predicted(run, model, rows), rows.head(HUNDRED)
    return frames, min(timeit.repeat(lambda: predict(model, run.use_case, few), number=1, repeat=_TIMES)) * 1e3


def _loaded(run: StageRun, version: int, keys: Iterable[str], features_version: int) -> tuple[Model, DataFrame]:
    model = run.registry.load(run.use_case.name, version)
    return model, feature_rows(run.workspace, run.use_case, model, keys, features_version)


def _predicted(run: StageRun, model: Model, rows: DataFrame) -> list[DataFrame]:
    return [predict(model, run.use_case, part).assign(partition=key) for key, part in rows.groupby(PARTITION)]
