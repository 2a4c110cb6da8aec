"""Drift: has the data moved away from the rows that the champion learnt from, and have the predictions?

A distance (Evidently's) between a bounded, seeded sample of the partition and one of the champion's own training rows,
so that its verdict does not change with the number of rows.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from pipelines.monitoring.observations import Drift, latest
from pipelines.use_case import UseCase, features_table, monitoring_table, predictions_table
from pipelines.workspace import Champion, Model, StageRun, write_bytes

if TYPE_CHECKING:
    from pandas import DataFrame

PREDICTION = "probability"


def measure_drift(run: StageRun) -> Drift | None:
    """Compare the partition's features and predictions with the champion's training rows; None before any scoring.

    An unchanged partition is not measured twice: the monitoring DAG runs again when outcomes come in.
    """
    champion = run.ledger.champion(run.use_case.name, as_of=run.key)
    if champion is None or not run.lake.partitions(predictions_table(run.use_case)).get(run.key):
        return None
    known = latest(run.workspace, run.use_case).get(run.key)
    if known and known.drift and known.drift.model_version == champion.version and _is_newer(run):
        return known.drift
    model = run.registry.load(run.use_case.name, champion.version)
    current = _sample(run.lake.read(features_table(run.use_case), [run.key]).to_pandas(), run.use_case)
    reference = _reference(run, model)
    current = current.assign(**{PREDICTION: model.predict(current)})
    reference = reference.assign(**{PREDICTION: model.predict(reference)})
    return _compare(run, champion, current, reference)


def _is_newer(run: StageRun) -> bool:
    """Whether the partition was measured after its predictions were published last."""
    measured = run.lake.published(monitoring_table(run.use_case), run.key)
    scored = run.lake.published(predictions_table(run.use_case), run.key)
    return bool(measured and scored and measured.timestamp > scored.timestamp)


def _sample(rows: DataFrame, use_case: UseCase) -> DataFrame:
    count = min(use_case.monitoring.sample_rows, len(rows))
    return rows.sample(count, random_state=use_case.training.seed)


def _reference(run: StageRun, model: Model) -> DataFrame:
    """The same rows that the champion was trained on, from the very table version."""
    table = features_table(run.use_case)
    rows = run.lake.read(table, model.meta["partitions"], model.meta["versions"][table])
    return _sample(rows.to_pandas(), run.use_case)


def _compare(run: StageRun, champion: Champion, current: DataFrame, reference: DataFrame) -> Drift:
    wanted = [*run.use_case.features.names, PREDICTION]
    # Evidently raises for the whole report at a column without values; such a column has drifted as far as it can.
    empty = [c for c in wanted if current[c].isna().all() != reference[c].isna().all()]
    usable = [c for c in wanted if not current[c].isna().all() and not reference[c].isna().all()]
    distances, page = _evidently(run.use_case, current, reference, usable)
    distances |= dict.fromkeys(empty, 1.0)
    limit = run.use_case.monitoring.max_drift_distance
    drifted = tuple(sorted(c for c, d in distances.items() if c != PREDICTION and d > limit))
    report = f"{run.use_case.name}/drift/{run.key}-v{champion.version}.html"
    write_bytes(f"{run.workspace.environment.reports}/{report}", page.encode())
    share = len(drifted) / len(run.use_case.features.names)
    return Drift(
        model_version=champion.version,
        drifted_share=share,
        drifted=drifted,
        prediction_drift=distances[PREDICTION],
        distances=distances,
        report=report,
    )


def _evidently(use_case: UseCase, current: DataFrame, reference: DataFrame, columns: list[str]) -> tuple[dict[str, float], str]:
    """Distance per column (normed Wasserstein, Jensen-Shannon for categories) and the report's page."""
    os.environ.setdefault("DO_NOT_TRACK", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        categorical = [c for c in columns if c in use_case.features.categorical]
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
