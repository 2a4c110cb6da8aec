"""Whether the estimated gain alone asks for a new model: large enough, with the windows before it, and no luck."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from math import exp, sqrt

from pipelines.gates import MIN_DAYS
from pipelines.retraining.gain import Gain
from pipelines.retraining.state import State
from pipelines.use_case import Retraining, UseCase

_YEAR = 365


def worth_it(use_case: UseCase, state: State) -> bool:
    settings = use_case.retraining
    if state.gain is None or state.gain.mean <= 0 or total(use_case, state) <= limit(settings, state):
        return False
    return settings.false_gains is None or total(use_case, state) > _luck(use_case, state, settings.false_gains)


def total(use_case: UseCase, state: State) -> float:
    """The newest gain and, each worth `gain_memory` of the one after it, those since the champion came; nats per row."""
    return sum(weight * gain.mean for weight, gain in _weighted(use_case, state))


def limit(settings: Retraining, state: State) -> float:
    """`min_gain`, raised by e^`pace` for each training that is ahead of an even pace of the budget."""
    return settings.min_gain * exp(settings.budget.pace * ahead(settings, state))


def ahead(settings: Retraining, state: State) -> float:
    """How many trainings were started ahead of an even pace: each fills a bucket by one, which leaks the budget's trainings
    within its period (Turner, "New directions in communications", 1986)."""
    if not state.started:
        return 0.0
    level, allowed, period = 0.0, settings.budget.trainings, settings.budget.period
    for start, after in pairwise((*state.started, state.now)):
        level = max(0.0, level + 1 - allowed * ((after - start) / period))
    return level


def in_words(use_case: UseCase, state: State) -> str:
    settings, said = use_case.retraining, []
    if len(_weighted(use_case, state)) > 1:
        said.append(
            f"With the windows before, each worth {settings.gain_memory:g} of the one after it: {total(use_case, state):+.4f}."
        )
    if state.gain and limit(settings, state) > settings.min_gain:
        said.append(
            f"Asked are {limit(settings, state):.4f}, as trainings are {ahead(settings, state):.1f} ahead of the budget's pace."
        )
    return " ".join(said)


def _weighted(use_case: UseCase, state: State) -> list[tuple[float, Gain]]:
    if state.gain is None:
        return []
    memory = use_case.retraining.gain_memory
    earlier = _apart(use_case, state.gain, state.gains) if memory else []
    return [(memory**age, gain) for age, gain in enumerate([state.gain, *earlier])]


def _apart(use_case: UseCase, newest: Gain, gains: Sequence[Gain]) -> list[Gain]:
    """Those of other days than any newer one, the newest first: a window of few days was judged with the days before it."""
    found, until = [], _first_day(use_case, newest)
    for gain in sorted(gains, key=lambda gain: use_case.period(gain.window).end, reverse=True):
        if use_case.period(gain.window).end <= until:
            found.append(gain)
            until = _first_day(use_case, gain)
    return found


def _first_day(use_case: UseCase, gain: Gain) -> date:
    window = use_case.period(gain.window)
    return min(window.start, window.end - timedelta(days=MIN_DAYS))


def _luck(use_case: UseCase, state: State, chance: float) -> float:
    """What days alone would make of no gain at all, but for a chance that is a year's, shared between its windows of decisions.

    The interval is that of resampled days at `gates.confidence`; few days are worth less than it says, by Student's t.
    """
    from scipy.special import ndtri, stdtrit

    assert state.gain
    window = use_case.period(state.gain.window)
    length = (window.end - window.start).days
    days = max(length, MIN_DAYS)
    spread = sqrt(sum((weight * (gain.mean - gain.low)) ** 2 for weight, gain in _weighted(use_case, state)))
    error = spread / ndtri((1 + use_case.gates.confidence) / 2) * (days / (days - 1)) ** 0.5
    return float(-stdtrit(days - 1, chance * min(length / _YEAR, 1)) * error)
