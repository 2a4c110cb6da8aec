"""Monitoring: has the data drifted, have the predictions, and, once outcomes are in, has the quality?

Drift is a distance between a bounded, seeded sample of the partition and one of the champion's own training rows
(Evidently), so that its verdict does not change with the number of rows.
"""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import asdict
from typing import Any

from pipelines.metrics import scores
from pipelines.monitoring.observations import Drift, Monitored, Performance, latest
from pipelines.results import from_json
from pipelines.use_case import UseCase, features_table, labels_table, money, monitoring_table, predictions_table
from pipelines.workspace import Champion, CommitRecord, StageRun, Workspace, write_bytes

_log = logging.getLogger(__name__)
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
    reference = _reference(run.workspace, run.use_case, model)
    current = current.assign(**{PREDICTION: model.predict(current)})
    reference = reference.assign(**{PREDICTION: model.predict(reference)})
    return _compare(run, champion, current, reference)


def measure_performance(run: StageRun) -> Performance | None:
    """Served predictions against outcomes; None until rows of the champion of that time have outcomes."""
    champion = run.ledger.champion(run.use_case.name, as_of=run.key)
    tables = (predictions_table(run.use_case), labels_table(run.use_case))
    if champion is None or not all(run.lake.partitions(t).get(run.key) for t in tables):
        return None
    rows = served_with_outcomes(run, champion.version)
    labelled = rows[rows["label"].notna()]
    if labelled.empty:
        return None
    label, probability = labelled["label"].to_numpy(), labelled["probability"].to_numpy()
    found = scores(label, probability)
    worth = money(label, probability, run.use_case.value, run.use_case.scoring.threshold) if run.use_case.value else None
    wanted: dict[str, Any] = {
        k: found[k] for k in ("auc", "log_loss", "positive_share", "mean_prediction", "calibration_error")
    }
    return Performance(model_version=champion.version, rows=len(rows), labels=len(labelled), worth=worth, **wanted)


def served_with_outcomes(run: StageRun, version: int) -> Any:
    """What was served in the partition by one version, with `label` where the outcome is known."""
    key = run.use_case.features.key
    predictions = run.lake.read(predictions_table(run.use_case), [run.key]).to_pandas()
    labels = run.lake.read(labels_table(run.use_case), [run.key]).to_pandas()
    served = predictions[predictions["model_version"] == version]
    return served.merge(labels[[key, "label"]], on=key, how="left", validate="one_to_one")


def publish(run: StageRun, drift: Drift | None, performance: Performance | None) -> Monitored:
    """Make the partition's state visible. A measure that is not there yet does not erase one that is."""
    import pyarrow as pa

    before = latest(run.workspace, run.use_case).get(run.key)
    if before is not None:
        drift, performance = drift or before.drift, performance or before.performance
    version = next((m.model_version for m in (performance, drift) if m), None)
    state = Monitored(run.key, version, drift, performance)
    document = json.dumps(
        {"drift": drift and asdict(drift), "performance": performance and asdict(performance)}, allow_nan=False
    )
    columns = {"model_version": pa.int64(), "auc": pa.float64(), "log_loss": pa.float64(), "drifted_share": pa.float64()}
    row = {
        "model_version": version,
        "auc": performance.auc if performance else None,
        "log_loss": performance.log_loss if performance else None,
        "drifted_share": drift.drifted_share if drift else None,
        "document": document,
    }
    schema = pa.schema([*columns.items(), ("document", pa.string())])
    table = monitoring_table(run.use_case)
    staged = run.lake.stage(table, run.key, pa.Table.from_pylist([row], schema=schema))
    run.lake.publish(table, run.key, [staged], CommitRecord(run=run.id))
    return state


def publish_measured(run: StageRun, drift: Any, performance: Any) -> Monitored:
    """`publish`, with the measures as the JSON that travelled between tasks."""
    measured = from_json(Drift, drift) if drift else None, from_json(Performance, performance) if performance else None
    return publish(run, *measured)


def _is_newer(run: StageRun) -> bool:
    """Whether the partition was measured after its predictions were published last."""
    measured = run.lake.published(monitoring_table(run.use_case), run.key)
    scored = run.lake.published(predictions_table(run.use_case), run.key)
    return bool(measured and scored and measured.timestamp > scored.timestamp)


def _sample(rows: Any, use_case: UseCase) -> Any:
    count = min(use_case.monitoring.sample_rows, len(rows))
    return rows.sample(count, random_state=use_case.training.seed)


def _reference(workspace: Workspace, use_case: UseCase, model: Any) -> Any:
    """The same rows that the champion was trained on, from the very table version."""
    table = features_table(use_case)
    rows = workspace.lake.read(table, model.meta["partitions"], model.meta["versions"][table])
    return _sample(rows.to_pandas(), use_case)


def _compare(run: StageRun, champion: Champion, current: Any, reference: Any) -> Drift:
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
    return Drift(champion.version, share, drifted, distances[PREDICTION], distances, report)


def _evidently(use_case: UseCase, current: Any, reference: Any, columns: list[str]) -> tuple[dict[str, float], str]:
    """Distance per column (normed Wasserstein, Jensen-Shannon for categories) and the report's page."""
    import os

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
