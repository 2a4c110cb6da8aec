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
    max_prediction_drift: float = Field(0.1, gt=0)
    max_auc_loss: float = Field(0.03, gt=0)
    max_calibration_gap: float = Field(0.04, gt=0, description="mean prediction against the share that came true")
    forecast_coverage: float = Field(0.8, gt=0, lt=1, description="of the dates between which the loss crosses its limit")
    forecast_horizon: timedelta = Field(
        timedelta(days=90), ge=timedelta(days=1), description="how far a crossing is looked for"
    )
