"""Performance: what was served against what really happened, in scores and in money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.metrics import scores
from pipelines.monitoring.observations import Performance
from pipelines.monitoring.windows import served
from pipelines.use_case import PARTITION, labels_table, money, predictions_table
from pipelines.workspace import StageRun

if TYPE_CHECKING:
    from pandas import DataFrame


def measure_performance(run: StageRun) -> Performance | None:
    """Served predictions against outcomes; None until all of the window has them, of the champion of that time."""
    champion = run.ledger.champion(run.use_case.name, as_of=run.partitions[-1].key)
    keys = served(run, champion) if champion else []
    tables = (predictions_table(run.use_case), labels_table(run.use_case))
    if champion is None or not all(all(map(run.lake.partitions(t).get, keys)) for t in tables):
        return None
    rows = served_with_outcomes(run, champion.version, keys)
    labelled = rows[rows["label"].notna()]
    if labelled.empty:
        return None
    label, probability = labelled["label"].to_numpy(), labelled["probability"].to_numpy()
    found = scores(label, probability)
    worth = money(label, probability, run.use_case.value, run.use_case.scoring.threshold) if run.use_case.value else None
    return Performance(
        model_version=champion.version,
        rows=len(rows),
        labels=len(labelled),
        worth=worth,
        auc=found["auc"],
        log_loss=found["log_loss"],
        positive_share=found["positive_share"],
        mean_prediction=found["mean_prediction"],
        calibration_error=found["calibration_error"],
    )


def served_with_outcomes(run: StageRun, version: int, partitions: list[str]) -> DataFrame:
    """What was served in the partitions by one version, with `label` where the outcome is known."""
    event = [PARTITION, run.use_case.features.key]
    predictions = run.lake.read(predictions_table(run.use_case), partitions).to_pandas()
    labels = run.lake.read(labels_table(run.use_case), partitions).to_pandas()
    found = predictions[predictions["model_version"] == version]
    return found.merge(labels[[*event, "label"]], on=event, how="left", validate="one_to_one")
