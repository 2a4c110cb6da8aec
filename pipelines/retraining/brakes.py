"""What holds a training up that is asked for: each brake a sentence with the date or the deed that ends it.

Pauses, budget and quiet hours go by the clock, as they are about trainings; the other brakes by the data that is decided on.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from pipelines.retraining.state import State
from pipelines.retraining.worth import total
from pipelines.use_case import Retraining, UseCase

_DAY = timedelta(days=1)
_DOUBLINGS = 12  # a pause of 4,096 backoffs is for ever


def brakes(use_case: UseCase, cause: str, until: date, state: State) -> list[str]:
    """Every reason for which what `cause` asks for is not started; none: start it."""
    settings = use_case.retraining
    found = (
        state.under_way,
        _hold(use_case, state),
        _pause(settings, cause, state),
        _cooldown(settings, until, state),
        _labels(settings, state),
        _holdout(use_case, state),
        _budget(settings, state),
        _no_gain(use_case, cause, state),
        _quiet_hours(use_case, state),
    )
    return [brake for brake in found if brake]


def tried(state: State) -> str:
    """What became of the trainings for this champion, in words; empty where there was none."""
    if not state.attempts:
        return ""
    last, count = state.attempts[-1], len(state.attempts)
    several = f"{count} trainings" if count > 1 else "1 training"
    return f"{several} for this champion brought no other, the last, {last.run}: {last.outcome}"


def _hold_is_over(use_case: UseCase, state: State) -> bool:
    """The declared evidence against a rollback's hold: a sure gain, on rows from after it."""
    gain, limit, champion = state.gain, use_case.retraining.hold_until_gain, state.champion
    if gain is None or limit is None or champion is None or gain.low <= limit:
        return False
    return use_case.period(gain.window).start >= use_case.period(champion.effective_from).start


def _hold(use_case: UseCase, state: State) -> str | None:
    limit = use_case.retraining.hold_until_gain
    if state.held is None or _hold_is_over(use_case, state):
        return None
    evidence = "" if limit is None else f", or with a gain surely above {limit} on rows from after it"
    return (
        f"{state.held.actor} rolled back, and that holds what nobody asked for ({state.held.why}). It ends with "
        f"`python -m pipelines resume`, with a model that a person trains{evidence}."
    )


def _pause(settings: Retraining, cause: str, state: State) -> str | None:
    """Doubled by each attempt, so that they grow with the logarithm of time; the age rule's is never longer than the age."""
    if not state.attempts or state.under_way:
        return None
    pause = settings.backoff * 2 ** min(len(state.attempts) - 1, _DOUBLINGS)
    if cause == "age" and settings.max_age is not None:
        pause = min(pause, settings.max_age)
    again = state.attempts[-1].ended + pause
    if state.now >= again or _more_than_before(settings, state):
        return None
    return f"{tried(state)} The next is possible from {_local(again, state)} on, after a pause of {_length(pause)}."


def _more_than_before(settings: Retraining, state: State) -> bool:
    """New evidence: more is to be gained than at any attempt. It lifts the pause once, and resets nothing."""
    known = [attempt.gain.mean for attempt in state.attempts if attempt.gain]
    return bool(known) and state.gain is not None and state.gain.mean > max(known) + settings.min_gain


def _cooldown(settings: Retraining, until: date, state: State) -> str | None:
    if state.served > settings.cooldown:
        return None
    over = until - state.served + settings.cooldown
    days = f"{state.served.days} days only; the cooldown is {settings.cooldown.days}"
    return f"the champion served {days}, through {over - _DAY}."


def _labels(settings: Retraining, state: State) -> str | None:
    if state.new_labels >= settings.min_new_labels:
        return None
    return f"{state.new_labels} new labels since its training; {settings.min_new_labels} are asked."


def _holdout(use_case: UseCase, state: State) -> str | None:
    possible = state.trained_until + timedelta(days=use_case.training.holdout_days)
    if state.train_on is not None and state.train_on.end >= possible:
        return None
    return (
        f"the champion was trained through {state.trained_until - _DAY} and has seen days of the holdout, the "
        f"newest {use_case.training.holdout_days}; possible with outcomes through {possible - _DAY}."
    )


def _budget(settings: Retraining, state: State) -> str | None:
    allowed, period, hours = settings.budget.trainings, settings.budget.period, settings.budget.hours
    used = [started for started in state.started if started > state.now - period]
    if len(used) >= allowed:
        return (
            f"{len(used)} trainings were started within {_length(period)}, of {allowed} in the budget; free again from "
            f"{_local(used[-allowed] + period, state)} on."
        )
    spent = sum(state.took[-len(used) :], timedelta(0)) if used else timedelta(0)
    if hours is None or spent < timedelta(hours=hours):
        return None
    return (
        f"trainings took {spent / timedelta(hours=1):.1f} hours within {_length(period)}, of {hours:g} in the budget; the "
        f"oldest is out of it from {_local(used[0] + period, state)} on."
    )


def _no_gain(use_case: UseCase, cause: str, state: State) -> str | None:
    """A loss that a new model would not mend is no reason for one."""
    least = use_case.retraining.min_gain
    if cause not in ("loss", "forecast") or state.gain is None or total(use_case, state) > least:
        return None
    return f"a new model would not mend it by the estimate, which has to be above {least}."


def _quiet_hours(use_case: UseCase, state: State) -> str | None:
    hours = use_case.retraining.quiet(state.now)
    if hours is None:
        return None
    return f"it is {state.now:%H:%M} in {use_case.timezone}, and {hours} are quiet hours; the next decision starts what is due."


def _local(moment: datetime, state: State) -> str:
    return f"{moment.astimezone(state.now.tzinfo):%Y-%m-%d %H:%M}"


def _length(period: timedelta) -> str:
    number, unit = (period.days, "day") if period >= _DAY else (round(period.total_seconds() / 3600), "hour")
    return f"{number} {unit}{'' if number == 1 else 's'}"
