"""Section `monitoring:` how far rows, predictions and quality may move."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from pipelines.use_case.partitions import Grain
from pipelines.use_case.section import Section


class Monitoring(Section):
    window: Grain | None = Field(None, description="the period that is judged at a time; without it, the grain")
    sample_rows: int = Field(5000, ge=100)
    max_drift_distance: float = Field(0.1, gt=0, description="Wasserstein (normed) or Jensen-Shannon, per column")
    max_drifted_share: float = Field(0.3, gt=0, le=1)
    max_null_change: float = Field(0.1, gt=0, le=1, description="of a feature's share of rows without a value")
    max_unseen_share: float = Field(0.1, gt=0, le=1, description="of values of a category that the training rows do not have")
    max_told_apart: float = Field(
        0.2, gt=0, le=0.5, description="AUC of telling rows from training rows, beyond that of its parts"
    )
    max_volume_ratio: float = Field(
        1.7, gt=1, description="of rows per partition, to the windows before; also the other way round"
    )
    accepted_faults: tuple[str, ...] = Field((), description="windows whose data fault a person has accepted")
    max_prediction_drift: float = Field(0.1, gt=0)
    max_excess_loss: float = Field(0.05, gt=0, description="log loss beyond what the predictions promise on the same rows")
    max_auc_loss: float = Field(0.03, gt=0, description="AUC below what the predictions promise on the same rows")
    max_calibration_gap: float = Field(0.04, gt=0, description="mean prediction against the share that came true")
    false_alarms: float = Field(
        0.05, gt=0, lt=1, description="chance in a year that a model that keeps its promise is called a loss"
    )
    forecast_coverage: float = Field(0.8, gt=0, lt=1, description="of the dates between which the loss crosses its limit")
    forecast_horizon: timedelta = Field(
        timedelta(days=90), ge=timedelta(days=1), description="how far a crossing is looked for"
    )
