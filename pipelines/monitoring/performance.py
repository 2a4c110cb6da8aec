"""Performance: what was served against what really happened, in scores and in money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.metrics import scores
from pipelines.monitoring.observations import Performance
from pipelines.use_case import PARTITION, labels_table, money
from pipelines.workspace import StageRun, served_rows

if TYPE_CHECKING:
    from pandas import DataFrame


def measure_performance(run: StageRun) -> Performance | None:
    """Served predictions against outcomes; None until served rows have outcomes."""
    rows = served_with_outcomes(run)
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


def served_with_outcomes(run: StageRun) -> DataFrame:
    """What was served, in order of the partitions, with `label` where the outcome is known."""
    event = [PARTITION, run.use_case.features.key]
    keys, table = [p.key for p in run.partitions], labels_table(run.use_case)
    served = served_rows(run.workspace, run.use_case, keys)
    if not set(keys) & set(run.lake.partitions(table)):
        return served.assign(label=None)
    labels = run.lake.read(table, keys).to_pandas()
    return served.merge(labels[[*event, "label"]], on=event, how="left", validate="one_to_one")
