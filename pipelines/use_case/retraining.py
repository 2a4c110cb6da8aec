"""Section `retraining:` when a loss or an age starts a training."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from pipelines.use_case.section import Section


class Retraining(Section):
    cooldown: timedelta = Field(timedelta(days=31), ge=timedelta(0), description="a champion that served no longer is let be")
    min_new_labels: int = Field(5000, ge=0)
    max_age: timedelta | None = Field(None, gt=timedelta(0), description="a champion that served so long is retrained")
    training_deadline: timedelta = Field(
        timedelta(days=1),
        gt=timedelta(0),
        description="a training without an outcome for so long, and for approval_deadline where approval is required, has died",
    )
