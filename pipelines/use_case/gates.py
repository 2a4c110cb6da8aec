"""Section `gates:` what a candidate must pass before it may serve."""

from __future__ import annotations

from pydantic import Field

from pipelines.use_case.section import Section


class Gates(Section):
    min_auc: float = Field(0.6, ge=0.5, le=1)
    max_auc: float = Field(0.99, gt=0.5, le=1, description="above it the label is suspected among the features")
    max_log_loss: float = Field(0.69, gt=0)
    min_holdout_rows: int = Field(500, ge=1)
    min_gain_over_simple: float = 0.002
    max_overfit: float = Field(0.08, description="AUC on training rows less AUC on the holdout")
    max_calibration_error: float = Field(0.08, gt=0)
    min_gain_over_champion: float = Field(0.0, description="smallest useful fall of log loss")
    confidence: float = Field(0.95, gt=0.5, lt=1)
    min_slice_rows: int = Field(500, ge=50, description="a slice with fewer rows in the holdout is too small to judge")
    min_slice_auc: float = Field(0.5, ge=0, le=1, description="floor of every slice that is large enough to judge")
    slice_confidence: float = Field(0.95, gt=0.5, lt=1, description="over all slices together (Bonferroni)")
    required_slices: dict[str, tuple[str, ...]] = Field(
        {}, description="by segment: values that must be there and large enough to judge"
    )
    min_value_per_row: float = Field(0.0, description="what acting on the model must be worth, in value.unit per row")
    max_noise_flips: float = Field(0.1, gt=0, le=1, description="share of actions that noise of 1 % of the spread may flip")
    max_missing_flips: float = Field(0.5, gt=0, le=1, description="share of actions that one missing value in ten may flip")
    max_unseen_flips: float = Field(0.5, gt=0, le=1, description="share of actions that unseen categories may flip")
    max_latency_ms: float = Field(250, gt=0, description="median of scoring one row, in a fresh process")
    max_memory_mib: float = Field(2048, gt=0, description="peak of a fresh process that loads the model and scores")
