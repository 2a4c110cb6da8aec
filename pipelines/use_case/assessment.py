"""Section `assessment:` what the data must be like before anything is trained on it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from pipelines.use_case.section import Section

Question = Literal[
    "rows", "slices", "learning_curve", "fresh", "predictive", "more_than_one_feature", "leaked_label", "rewritten",
    "duplicates", "related", "balanced", "missing", "unseen",
]  # fmt: skip


class Assessment(Section):
    """What the data must be like before anything is trained on it."""

    warn: tuple[Question, ...] = Field(
        ("slices", "learning_curve", "more_than_one_feature", "related", "missing", "unseen"),
        description="verdicts that are shown when they fail, but do not stop the training",
    )
    sample_rows: int = Field(20_000, ge=200, description="models and curves see a seeded sample of at most so many rows")
    min_rows: int = Field(300, ge=1)
    min_class_rows: int = Field(50, ge=1)
    min_slice_rows: int = Field(50, ge=1, description="rows per value of each of features.segments")
    max_doubling_gain: float = Field(0.02, gt=0, description="fall of log loss expected of twice the data: above it, too few")
    max_delay: timedelta | None = Field(None, description="95 % of labels must be usable so long after their event")
    max_late_share: float = Field(0.01, ge=0, le=1, description="of labels known after sources.*.available_after")
    min_auc: float = Field(0.55, ge=0.5, le=1, description="of a shallow model, on newer rows than it was fitted on")
    min_gain_over_one_feature: float = Field(0.01, ge=0, description="AUC above that of the best feature alone")
    max_single_auc: float = Field(0.95, gt=0.5, le=1, description="of one feature alone: above it, it has seen the label")
    max_rewritten_share: float = Field(0.01, ge=0, le=1, description="of a feature's values, after the label was known")
    max_duplicate_share: float = Field(0.01, ge=0, le=1, description="of holdout rows that are in the training rows too")
    min_class_share: float = Field(0.01, ge=0, le=0.5)
    max_missing_gap: float = Field(0.3, gt=0, le=1, description="a slice's share of missing values less that of all rows")
    max_unseen_share: float = Field(0.05, ge=0, le=1, description="of holdout rows, with values that training has not")
