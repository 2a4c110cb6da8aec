"""What asks for a training, and what holds it up, case by case, on the policy as a pure function."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from math import log2
from typing import Any

import pytest

from pipelines.monitoring import Crossing
from pipelines.retraining import Gain
from pipelines.retraining.policy import RetrainingDecision, judge
from pipelines.retraining.state import Attempt, State
from pipelines.use_case import UseCase
from pipelines.use_case.retraining import Budget, Retraining
from pipelines.workspace import Decision, Kind
from tests.conftest import changed
from tests.retraining.test_retraining import LOSS, ON, state

NOW = datetime(2024, 3, 20, 6, tzinfo=UTC)
GAIN = Gain("2024-03", 400, 0.01, 0.006, 0.014)
SMALL, EARLIER = Gain("2024-03", 400, 0.0015, -0.003, 0.005), (Gain("2024-02", 400, 0.001, -0.003, 0.005),)
NO_GAIN = Gain("2024-03", 400, 0.001, -0.003, 0.005)
ROLLED_BACK = Decision("r", "parcels", Kind.ROLLED_BACK, "2024-03-01", "v2 gives way to v1: it misses half", "ada", "by hand")
HOURS = (timedelta(hours=2), timedelta(hours=1))
CROSSING = Crossing(
    0.5, 0.8, None, date(2024, 3, 20), date(2024, 6, 20), date(2024, 3, 25), date(2024, 4, 1), date(2024, 4, 20)
)


def days_ago(*days: float) -> tuple[datetime, ...]:
    return tuple(NOW - timedelta(days=day) for day in days)


def refused(days_ago: float, gain: Gain | None = None) -> Attempt:
    return Attempt(f"training {days_ago} days ago", NOW - timedelta(days=days_ago), "v1 stays. quality: AUC too low.", gain)


def asked(use_case: UseCase, given: State, **settings: Any) -> RetrainingDecision:
    return judge(changed(use_case, "retraining", **settings), ON, given)


def at(**values: Any) -> State:
    return state(**{"now": NOW} | values)


# case -> (state, settings, retrain, cause, words of the reason); a setting that is named here decides the case
HELD = {
    "refused yesterday": (
        at(windows=(LOSS,), attempts=(refused(1),)), {"backoff": timedelta(days=2)},
        False, "loss", "1 training for this champion brought no other, the last, training 1 days ago: v1 stays. quality: AUC "
        "too low. The next is possible from 2024-03-21 06:00 on, after a pause of 2 days.",
    ),
    "refused long enough ago": (
        at(windows=(LOSS,), attempts=(refused(2),)), {"backoff": timedelta(days=2)},
        True, "loss", "Tried again: 1 training for this champion brought no other",
    ),
    "refused twice": (
        at(windows=(LOSS,), attempts=(refused(5), refused(2))), {"backoff": timedelta(days=2)},
        False, "loss", "2 trainings for this champion brought no other, the last, training 2 days ago",
    ),
    "refused, and more to gain now": (
        at(windows=(LOSS,), attempts=(refused(0.5, NO_GAIN),), gain=GAIN), {}, True, "loss", "Tried again",
    ),
    "refused, and as much to gain as then": (
        at(windows=(LOSS,), attempts=(refused(0.5, GAIN),), gain=GAIN), {}, False, "loss", "The next is possible",
    ),
    "age, refused": (
        at(windows=(), attempts=(refused(9), refused(3)), served=timedelta(days=9)),
        {"max_age": timedelta(days=3), "backoff": timedelta(days=40)}, True, "age", "Tried again",
    ),
    "budget": (
        at(windows=(LOSS,), started=(NOW - timedelta(days=9), NOW - timedelta(days=4))),
        {"budget": Budget(trainings=2, period=timedelta(days=10))},
        False, "loss", "2 trainings were started within 10 days, of 2 in the budget; free again from 2024-03-21 06:00 on",
    ),
    "budget, of another period": (
        at(windows=(LOSS,), started=(NOW - timedelta(days=10), NOW - timedelta(days=4))),
        {"budget": Budget(trainings=2, period=timedelta(days=10))}, True, "loss", "new model is needed",
    ),
    "budget of hours": (
        at(windows=(LOSS,), started=days_ago(9, 4), took=HOURS),
        {"budget": Budget(period=timedelta(days=10), hours=3)}, False, "loss",
        "trainings took 3.0 hours within 10 days, of 3 in the budget; the oldest is out of it from 2024-03-21 06:00",
    ),
    "budget of hours, not used up": (
        at(windows=(LOSS,), started=days_ago(10, 4), took=HOURS),
        {"budget": Budget(period=timedelta(days=10), hours=3)}, True, "loss", "new model is needed",
    ),
    "gains that only together are enough": (
        at(gain=replace(SMALL, mean=0.0015), gains=EARLIER), {"gain_memory": 0.7, "false_gains": None}, True, "gain",
        "With the windows before, each worth 0.7 of the one after it: +0.0022.",
    ),
    "gains of which each is forgotten": (
        at(gain=replace(SMALL, mean=0.0015), gains=EARLIER), {"false_gains": None}, False, "healthy", "saves +0.0015",
    ),
    "a gain that is none, after gains": (
        at(gain=replace(SMALL, mean=-0.0001), gains=(replace(EARLIER[0], mean=0.9),)),
        {"gain_memory": 0.7, "false_gains": None}, False, "healthy", "saves -0.0001",
    ),
    "the same days twice": (
        at(gain=replace(SMALL, window="2024-03-20", mean=0.0015), gains=(replace(SMALL, window="2024-03-19"),)),
        {"gain_memory": 0.7, "false_gains": None}, False, "healthy", "saves +0.0015",
    ),
    "gains that are luck together": (
        at(gain=replace(SMALL, mean=0.0015), gains=EARLIER), {"gain_memory": 0.7}, False, "healthy", "+0.0022",
    ),
    "ahead of the budget's pace": (
        at(gain=GAIN, started=days_ago(30)), {"budget": Budget(pace=5, period=timedelta(days=180))}, False, "healthy",
        "Asked are 0.0106, as trainings are 0.3 ahead of the budget's pace.",
    ),
    "in the budget's pace": (
        at(gain=GAIN, started=days_ago(50)), {"budget": Budget(pace=5, period=timedelta(days=180))}, True, "gain", "",
    ),
    "quiet hours": (
        at(windows=(LOSS,)), {"quiet_hours": ("22:00-07:30",)},
        False, "loss", "it is 06:00 in UTC, and 22:00-07:30 are quiet hours; the next decision starts what is due",
    ),
    "after quiet hours": (at(windows=(LOSS,)), {"quiet_hours": ("04:00-06:00",)}, True, "loss", ""),
    "a reason that is not accepted": (
        at(windows=(LOSS,)), {"reasons": ("age", "gain")}, False, "loss", "`retraining.reasons` does not accept loss",
    ),
    "one reason is not accepted, another is": (
        at(windows=(LOSS,), served=timedelta(days=9)), {"reasons": ("age",), "max_age": timedelta(days=9)}, True, "age", "",
    ),
    "gain": (
        at(gain=GAIN), {}, True, "gain",
        "A challenger that has not seen 2024-03 saves +0.0100 of log loss per row on it, +0.0060 to +0.0140 (400 rows).",
    ),
    "too small a gain": (at(gain=GAIN), {"min_gain": 0.011}, False, "healthy", "saves +0.0100"),
    "luck": (at(gain=replace(GAIN, low=0.002)), {}, False, "healthy", "+0.0020 to"),
    "luck, declared": (at(gain=replace(GAIN, low=0.002)), {"false_gains": 0.5}, True, "gain", "+0.0020 to"),
    "luck, on a day": (at(gain=replace(GAIN, window="2024-03-09")), {}, False, "healthy", "2024-03-09"),
    "the mean alone": (at(gain=replace(GAIN, low=-0.001)), {"false_gains": None}, True, "gain", ""),
    "gain, cooldown": (at(gain=GAIN, served=timedelta(days=1)), {}, False, "gain", "the cooldown is 1, through 2024-03-20"),
    "a loss that no model mends": (
        at(windows=(LOSS,), gain=NO_GAIN), {}, False, "loss", "saves +0.0010 of log loss per row on it, -0.0030 to +0.0050 "
        "(400 rows). But not now: a new model would not mend it by the estimate, which has to be above 0.002.",
    ),
    "a loss that a model mends": (at(windows=(LOSS,), gain=GAIN), {}, True, "loss", "saves +0.0100"),
    "a loss that nobody mends, and an age": (
        at(windows=(LOSS,), gain=NO_GAIN, served=timedelta(days=9)), {"max_age": timedelta(days=9)}, True, "age", "+0.0010",
    ),
    "a crossing soon": (
        at(crossing=CROSSING), {"reasons": ("forecast",)},
        True, "forecast", "At this pace the excess loss crosses 0.5 between 2024-03-25 and 2024-04-20",
    ),
    "a crossing later on": (
        at(crossing=CROSSING), {"reasons": ("forecast",), "forecast_lead": timedelta(9)}, False, "healthy", "",
    ),
    "a crossing, not configured": (at(crossing=CROSSING), {}, False, "forecast", "does not accept forecast"),
    "no estimate": (at(windows=(LOSS,)), {}, True, "loss", "could not be estimated: its estimate failed"),
    "rolled back": (
        at(windows=(LOSS,), gain=GAIN, held=ROLLED_BACK), {}, False, "loss",
        "ada rolled back, and that holds what nobody asked for (v2 gives way to v1: it misses half). It ends with "
        "`python -m pipelines resume`, with a model that a person trains.",
    ),
    "rolled back, a gain too small for the hold": (
        at(gain=GAIN, held=ROLLED_BACK), {"hold_until_gain": 0.007}, False, "gain", "or with a gain surely above 0.007",
    ),
    "rolled back, a gain from before": (
        at(gain=replace(GAIN, window="2024-02"), held=ROLLED_BACK), {"hold_until_gain": 0.005}, False, "gain", "ada",
    ),
    "rolled back, the declared gain is there": (
        at(gain=replace(GAIN, window="2024-03-09"), held=ROLLED_BACK), {"hold_until_gain": 0.005, "false_gains": None},
        True, "gain", "The hold of the rollback is over",
    ),
    "two brakes": (
        at(windows=(LOSS,), new_labels=9, attempts=(refused(0.5),)), {}, False, "loss", "after a pause of 1 day. Also: 9 new",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HELD)
def test_a_training_is_started_or_held_up_with_a_reason(case: str, use_case: UseCase) -> None:
    given, settings, retrain, cause, words = HELD[case]
    found = asked(use_case, given, **settings)
    assert (found.retrain, found.cause) == (retrain, cause), found.why
    assert words in found.why
    held_up = "But not now" in found.why
    assert (found.evidence["decided"] == {}) is (held_up or not given.windows), "what a brake held up stays undecided"


@pytest.mark.parametrize("hours", ["24:00-01:00", "22:00", "7:00-8:00"])
def test_hours_that_are_none_are_refused(hours: str) -> None:
    with pytest.raises(ValueError, match="quiet_hours"):
        Retraining(quiet_hours=(hours,))


@pytest.mark.parametrize("max_age", [None, timedelta(days=30)])
def test_for_a_champion_that_cannot_be_beaten_attempts_grow_with_the_logarithm_of_time(
    max_age: timedelta | None, use_case: UseCase
) -> None:
    """Asked for every day of two years, with a loss that is real; the age rule asks once in its age, and no more."""
    lasting = changed(use_case, "retraining", max_age=max_age, budget=Budget(trainings=1000))
    tries: list[Attempt] = []
    for day in range(730):
        now = NOW + timedelta(days=day)
        given = at(windows=(LOSS,), now=now, attempts=tuple(tries), served=timedelta(days=day + 5))
        if judge(lasting, ON, given).retrain:
            tries.append(Attempt(f"training {day}", now, "v1 stays."))
    by_age = 0 if max_age is None else 730 // max_age.days
    assert 5 < len(tries) <= by_age + 2 + log2(730)


def test_the_end_of_the_cooldown_is_named(use_case: UseCase) -> None:
    given = at(windows=(LOSS,), served=timedelta(days=3), trained_until=date(2024, 3, 1))
    assert "the champion served 3 days only; the cooldown is 9, through 2024-03-26." in asked(
        use_case, given, cooldown=timedelta(days=9)
    ).why  # fmt: skip
