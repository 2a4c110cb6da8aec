"""From evidence to weights: pure functions. A guard goes before any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.experiments.intervals import Sums, interval, quick_interval
from pipelines.use_case import Experiment
from pipelines.workspace import CHAMPION

_DRAWS = 4_000
_LEAST = 1e-6
Paired = Mapping[str, Sums]  # by challenger that still takes part: its gain over the champion on the same rows


class Next(NamedTuple):
    weights: dict[str, float]
    why: str


def next_weights(spec: Experiment, paired: Paired, planned: int) -> Next:
    """What each variant serves from the next partition on, by the declared policy; it was opened for `planned` partitions."""
    if not paired:
        return Next({CHAMPION: 1.0}, "no challenger takes part any more")
    return _POLICIES[spec.policy](spec, paired, planned)


def chance_of(spec: Experiment) -> float:
    """That one challenger is called better, or taken out, by luck (Bonferroni)."""
    return spec.false_better / len(spec.challengers)


def harmful(spec: Experiment, paired: Paired, action_change: Mapping[str, float]) -> dict[str, str]:
    """The challengers that a guard takes out, and why."""
    found = {}
    for name, sums in paired.items():
        high, change = quick_interval(sums, chance_of(spec))[1], action_change.get(name, 0.0)
        if high < -spec.max_loss:
            found[name] = f"it is worse than the champion by {-sums.mean:.4g} a row, and surely by more than {-high:.4g}"
        elif abs(change) > spec.max_action_change:
            more = f"{abs(change):.1%} {'more' if change > 0 else 'fewer'} of the rows than the champion"
            found[name] = f"it acts on {more}, and {spec.max_action_change:.0%} is allowed"
    return found


def start(spec: Experiment, challengers: Iterable[str], step: int = 0) -> dict[str, float]:
    """Before there is evidence: the declared share, in equal parts; of who was taken out, the champion has it."""
    names = list(challengers)
    each = 0.0 if spec.policy == "shadow" else spec.shares[step] / len(spec.challengers)
    return {CHAMPION: 1 - each * len(names), **dict.fromkeys(names, each)}


def _labelled(paired: Paired) -> int:
    return max(len(sums.rows) for sums in paired.values())


def _shadow(spec: Experiment, paired: Paired, planned: int) -> Next:
    return Next(start(spec, paired), "challengers are scored and never acted upon")


def _fixed(spec: Experiment, paired: Paired, planned: int) -> Next:
    return Next(start(spec, paired), "shares are fixed")


def _canary(spec: Experiment, paired: Paired, planned: int) -> Next:
    step = min(_labelled(paired), len(spec.shares) - 1)
    return Next(start(spec, paired, step), f"step {step + 1} of {len(spec.shares)}, as no guard objects")


def _winner(spec: Experiment, paired: Paired, planned: int) -> Next:
    ends = {name: interval(sums, chance_of(spec), planned) for name, sums in paired.items()}
    better = [name for name, (low, _) in ends.items() if low > 0]
    nobody = dict.fromkeys((CHAMPION, *paired), 0.0)
    if better:
        best = max(better, key=lambda name: paired[name].mean)
        return Next(nobody | {best: 1.0}, f"{best} is surely better, by {ends[best][0]:.4g} to {ends[best][1]:.4g} a row")
    if all(high < 0 for _, high in ends.values()):
        return Next(nobody | {CHAMPION: 1.0}, "every challenger is surely worse")
    return Next(start(spec, paired), "nobody is surely better yet")


def _thompson(spec: Experiment, paired: Paired, planned: int) -> Next:
    if _labelled(paired) < 2:
        return Next(start(spec, paired), "two labelled partitions are needed before weights follow the evidence")
    chances = dict(zip((CHAMPION, *paired), map(float, _best(list(paired.values()))), strict=True))
    told = ", ".join(f"{name} {chance:.0%}" for name, chance in chances.items())
    return Next(bounded(chances, spec.floor, spec.ceiling), f"chance of being the best: {told}")


def _best(sums: list[Sums]) -> NDArray[np.float64]:
    """Posterior chance of champion and challengers (V + 1,) to be the best: means of sums of partitions, Student's t."""
    count, rows = len(sums[0].rows), float(sums[0].rows.sum())
    residuals = np.array([(s.total - s.rows * s.mean) / np.sqrt(s.rows) for s in sums])
    covariance = np.atleast_2d(residuals @ residuals.T) / (count - 1)
    wider = np.sqrt(np.array([s.spread for s in sums]) / np.maximum(np.diag(covariance), 1e-300))
    covariance = covariance * np.outer(wider, wider) / rows
    random = np.random.default_rng(0)  # the same evidence gives the same weights
    normal = random.multivariate_normal(np.zeros(len(sums)), covariance, _DRAWS, method="svd", check_valid="ignore")
    drawn = normal / np.sqrt(random.chisquare(count - 1, (_DRAWS, 1)) / (count - 1)) + [s.mean for s in sums]
    best = np.argmax(np.column_stack([np.zeros(_DRAWS), drawn]), axis=1)
    return np.bincount(best, minlength=len(sums) + 1) / _DRAWS


def bounded(weights: Mapping[str, float], floor: float, ceiling: float) -> dict[str, float]:
    """Weights in proportion, each between floor and ceiling, that sum up to 1."""
    from scipy.optimize import brentq

    values, ceiling = np.maximum(list(weights.values()), _LEAST), max(ceiling, 1 / len(weights))
    scale = brentq(lambda s: np.clip(values * s, floor, ceiling).sum() - 1, 0, 1 / _LEAST)
    clipped = np.clip(values * scale, floor, ceiling)
    return dict(zip(weights, map(float, clipped / clipped.sum()), strict=True))


_POLICIES: dict[str, Callable[[Experiment, Paired, int], Next]] = {
    "shadow": _shadow, "canary": _canary, "fixed": _fixed, "winner": _winner, "thompson": _thompson,
}  # fmt: skip
