"""Drift: has the data moved away from the rows that the champion learnt from, and have the predictions?

A distance (Evidently's) between a bounded, seeded sample of the partition and one of the champion's own training rows,
so that its verdict does not change with the number of rows.
"""

from __future__ import annotations

import os
import warnings
from datetime import datetime
from typing import TYPE_CHECKING, cast

from pipelines.errors import PermanentError
from pipelines.monitoring.observations import Drift, latest
from pipelines.monitoring.windows import served
from pipelines.use_case import PARTITION, UseCase, features_table, monitoring_table
from pipelines.workspace import Model, StageRun, feature_rows, write_bytes

if TYPE_CHECKING:
    from pandas import DataFrame

PREDICTION = "probability"


def measure_drift(run: StageRun) -> Drift | None:
    """Compare what was served in the window with the training rows of the version that served; None while it is not over.

    An unchanged window is not measured twice: the monitoring DAG runs again when outcomes come in.
    """
    rows = served(run)
    if rows is None:
        return None
    version = int(rows["model_version"].iloc[-1])
    known = latest(run.workspace, run.use_case).get(run.key)
    if known and known.drift and known.drift.model_version == version and _is_newer(run, rows):
        return known.drift
    model = run.registry.load(run.use_case.name, version)
    current = _sample(_served_features(run, model, rows), run.use_case)
    reference = _reference(run, model)
    current = current.assign(**{PREDICTION: model.predict(current)})
    reference = reference.assign(**{PREDICTION: model.predict(reference)})
    return _compare(run, model, current, reference)


def _served_features(run: StageRun, model: Model, served: DataFrame) -> DataFrame:
    """The features that were served from: of the version that each row names; the newest where it is from before it did."""
    import pandas as pd

    found = []
    for version, keys in served[PARTITION].groupby(served["features_version"].fillna(-1).astype(int)).unique().items():
        at = None if version == -1 else cast(int, version)
        found.append(feature_rows(run.workspace, run.use_case, model, keys, at))
    return pd.concat(found)


def _is_newer(run: StageRun, served: DataFrame) -> bool:
    """Whether the window was measured after all of it was served: a partition may be caught up later."""
    measured = run.lake.published(monitoring_table(run.use_case), run.key)
    made = served["made_at"].dropna()
    at = measured.record.read_at if measured else None
    return at is not None and (made.empty or made.max() <= datetime.fromisoformat(at))


def _sample(rows: DataFrame, use_case: UseCase) -> DataFrame:
    count = min(use_case.monitoring.sample_rows, len(rows))
    return rows.sample(count, random_state=use_case.training.seed)


def _reference(run: StageRun, model: Model) -> DataFrame:
    """The same rows that the champion was trained on, from the very table version."""
    table = features_table(run.use_case)
    rows = run.lake.read(table, model.meta["partitions"], model.meta["versions"][table])
    return _sample(rows.to_pandas(), run.use_case)


def rehearse(use_case: UseCase, model: Model, rows: DataFrame) -> None:
    """The comparison, of one half of the rows with the other. Raises whatever would stop it."""
    rows = _sample(rows, use_case).assign(**{PREDICTION: model.predict})
    distances, _ = _distances(use_case, model, rows.iloc[::2], rows.iloc[1::2])
    unknown = [name for name, distance in distances.items() if not 0 <= distance < float("inf")]
    if unknown:
        raise PermanentError(f"{use_case.name}: no distance can be told of {', '.join(unknown)}")


def _distances(use_case: UseCase, model: Model, current: DataFrame, reference: DataFrame) -> tuple[dict[str, float], str]:
    """Of the model's own features and its predictions; and Evidently's page."""
    wanted = [*model.meta["features"], PREDICTION]
    # Evidently raises for the whole report at a column without values; such a column has drifted as far as it can.
    empty = [c for c in wanted if current[c].isna().all() != reference[c].isna().all()]
    usable = [c for c in wanted if not current[c].isna().all() and not reference[c].isna().all()]
    distances, page = _evidently(use_case, current, reference, usable)
    return distances | dict.fromkeys(empty, 1.0), page


def _compare(run: StageRun, model: Model, current: DataFrame, reference: DataFrame) -> Drift:
    """On the model's own features: those that came after it are named, and compared once a model knows them."""
    features = model.meta["features"]
    distances, page = _distances(run.use_case, model, current, reference)
    limit = run.use_case.monitoring.max_drift_distance
    drifted = tuple(sorted(c for c, d in distances.items() if c != PREDICTION and d > limit))
    report = f"{run.use_case.name}/drift/{run.key}-v{model.version}.html"
    write_bytes(f"{run.workspace.environment.reports}/{report}", page.encode())
    share = len(drifted) / len(features)
    return Drift(
        model_version=model.version,
        drifted_share=share,
        drifted=drifted,
        prediction_drift=distances[PREDICTION],
        distances=distances,
        report=report,
        not_compared=tuple(name for name in run.use_case.features.names if name not in features),
    )


def _evidently(use_case: UseCase, current: DataFrame, reference: DataFrame, columns: list[str]) -> tuple[dict[str, float], str]:
    """Distance per column (normed Wasserstein, Jensen-Shannon for categories) and the report's page."""
    os.environ.setdefault("DO_NOT_TRACK", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset
        from pandas.api.types import is_numeric_dtype

        declared = use_case.features.categorical
        categorical = [c for c in columns if c in declared or not is_numeric_dtype(reference[c])]
        definition = DataDefinition(
            numerical_columns=[c for c in columns if c not in categorical], categorical_columns=categorical
        )
        limit = use_case.monitoring.max_drift_distance
        preset = DataDriftPreset(
            columns=columns, num_method="wasserstein", cat_method="jensenshannon", num_threshold=limit, cat_threshold=limit
        )
        datasets = [Dataset.from_pandas(f[columns], data_definition=definition) for f in (current, reference)]
        snapshot = Report([preset], include_tests=False).run(*datasets)
        found = {
            m["config"]["column"]: float(m["value"])
            for m in snapshot.dict()["metrics"]
            if m["config"]["type"].endswith(":ValueDrift")
        }
        return found, str(snapshot.get_html_str(as_iframe=False))
