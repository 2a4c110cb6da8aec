"""Section `retraining:` what may start a training, and what holds one up."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from pipelines.use_case.partitions import Grain
from pipelines.use_case.section import Section

_TIME = r"([01]\d|2[0-3]):[0-5]\d"
QuietHours = Annotated[str, Field(pattern=f"^{_TIME}-{_TIME}$")]


class Budget(Section):
    trainings: int = Field(4, ge=1, description="so many trainings may be started by themselves, whatever becomes of them")
    period: timedelta = Field(timedelta(days=90), gt=timedelta(0), description="within so long")
    hours: float | None = Field(None, gt=0, description="so long may they take together, by the clock")
    pace: float = Field(
        0,
        ge=0,
        le=5,
        description="`min_gain` is raised by e to this power for each training ahead of an even pace of the budget",
    )


class Retraining(Section):
    window: Grain | None = Field(
        None,
        description="the period that a decision is about, and a gain is judged on, without it monitoring.window; a cron that "
        "comes more often asks about the same one again",
    )
    reasons: tuple[Literal["loss", "age", "gain", "forecast"], ...] = Field(
        ("loss", "age", "gain"), description="causes that may start a training; another one is told and starts none"
    )
    forecast_lead: timedelta = Field(
        timedelta(days=14),
        ge=timedelta(0),
        description="so long before its loss is expected to cross its limit, a model is replaced",
    )
    cooldown: timedelta = Field(timedelta(days=31), ge=timedelta(0), description="a champion that served no longer is let be")
    min_new_labels: int = Field(5000, ge=0)
    max_age: timedelta | None = Field(None, gt=timedelta(0), description="a champion that served so long is retrained")
    min_gain: float = Field(
        0.002, ge=0, description="log loss per row that a new model has to save by the estimate; with less, a loss waits too"
    )
    gain_memory: float = Field(
        0, ge=0, lt=1, description="what a gain is worth beside that of the window after it, summed since the champion came"
    )
    false_gains: float | None = Field(
        0.05,
        gt=0,
        lt=1,
        description="chance in a year that a gain which is not there asks for a training; null: the mean alone",
    )
    backoff: timedelta = Field(
        timedelta(days=7), gt=timedelta(0), description="pause after a training that brought no champion; doubled by each"
    )
    budget: Budget = Budget()
    quiet_hours: tuple[QuietHours, ...] = Field((), description="such as 22:00-05:30, local time: no training is started then")
    hold_until_gain: float | None = Field(
        None, description="a rollback's hold ends where the estimate's interval lies above this; null: a person ends it"
    )
    training_deadline: timedelta = Field(
        timedelta(days=1),
        gt=timedelta(0),
        description="a training without an outcome for so long, and for approval_deadline where approval is required, has died",
    )

    def quiet(self, moment: datetime) -> str | None:
        """The quiet hours that a local moment lies in; their end does not."""
        now = f"{moment:%H:%M}"
        for hours in self.quiet_hours:
            first, last = hours.split("-")
            if first <= now < last if first < last else now >= first or now < last:
                return hours
        return None
