"""Performance: what was served against what really happened, in scores and in money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.metrics import scores
from pipelines.monitoring.observations import Performance
from pipelines.monitoring.windows import served
from pipelines.use_case import PARTITION, labels_table, money
from pipelines.workspace import StageRun

if TYPE_CHECKING:
    from pandas import DataFrame


def measure_performance(run: StageRun) -> Performance | None:
    """Served predictions against outcomes; None until the window is over and all that was served in it has outcomes."""
    rows = served_with_outcomes(run)
    if rows is None:
        return None
    labelled = rows[rows["label"].notna()]
    if labelled.empty:
        return None
    label, probability = labelled["label"].to_numpy(), labelled["probability"].to_numpy()
    found = scores(label, probability)
    worth = money(label, probability, run.use_case.value, run.use_case.scoring.threshold) if run.use_case.value else None
    return Performance(
        model_version=int(rows["model_version"].iloc[-1]),
        rows=len(rows),
        labels=len(labelled),
        worth=worth,
        auc=found["auc"],
        log_loss=found["log_loss"],
        positive_share=found["positive_share"],
        mean_prediction=found["mean_prediction"],
        calibration_error=found["calibration_error"],
    )


def served_with_outcomes(run: StageRun) -> DataFrame | None:
    """What was served in the window, with `label` where the outcome is known; None before the partitions have labels."""
    event, rows, table = [PARTITION, run.use_case.features.key], served(run), labels_table(run.use_case)
    if rows is None or not set(rows[PARTITION]) <= set(run.lake.partitions(table)):
        return None
    labels = run.lake.read(table, rows[PARTITION].unique()).to_pandas()
    return rows.merge(labels[[*event, "label"]], on=event, how="left", validate="one_to_one")
