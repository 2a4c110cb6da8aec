"""Section `retraining:` when a loss or an age starts a training."""

from __future__ import annotations

from pydantic import Field

from pipelines.use_case.section import Section


class Retraining(Section):
    cooldown_partitions: int = Field(1, ge=0)
    min_new_labels: int = Field(5000, ge=0)
    max_age_partitions: int | None = None
