"""What was measured against the model's promise, with intervals: of a window, of it with those before it, of a slice of it.

What was measured is 0 in expectation where the model keeps its promise. Its variance by the promise is widened by how much more
partitions differ than independent rows would (Kish's design effect), with Student's t for how many of them are known, and by
Bernstein's term (Boucheron, Lugosi, Massart: "Concentration Inequalities", 2013, eq. 2.10) for few rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.monitoring.observations import Deviation, Monitored, Slice

_Numbers = TypeVar("_Numbers", float, NDArray[np.float64])
_SURE = 0.05  # "as promised" is said of an interval of 95 %


def _half_width(freedom: int, error: _Numbers, most: _Numbers, chance: float) -> _Numbers:
    from scipy.special import stdtrit

    return -stdtrit(freedom, chance) * error + most * math.log(1 / chance) / 3


@dataclass(frozen=True)
class Estimate:
    """A mean over `rows`; `error` is its standard error, known from `freedom` partitions more than there are windows."""

    value: float
    rows: int
    error: float
    freedom: int
    most: float  # what rows that hang together add to the mean at most

    def half_width(self, chance: float = _SURE / 2) -> float:
        """Of the interval beyond which the truth is, on one side, with this chance."""
        return float(_half_width(self.freedom, self.error, self.most, chance))

    def missing(self, limit: float, chance: float = _SURE / 2) -> int:
        """How many more rows it takes for the interval to be no wider than the limit, to either side."""
        half = self.half_width(chance)
        return 0 if half <= limit else math.ceil(self.rows * ((half / limit) ** 2 - 1))


def spans(window: Monitored, before: Sequence[Monitored], name: str, limit: float, chance: float) -> list[Estimate]:
    """Of the window alone, the last two, four, eight, and as many as give enough labels: how many hangs on no outcome.

    Enough is what tells half the limit: an interval as wide as the limit finds twice of it in every second window only.
    """
    given = [d for w in (*before, window) if (d := _deviation(w, name))]
    effect, freedom = _design_effect(given)
    value, most, labels, promised = np.array([(d.value, d.most, *d.sums) for d in reversed(given)]).T
    rows = np.cumsum(labels)
    mean, error = np.cumsum(value * labels) / rows, np.sqrt(effect * np.cumsum(promised)) / rows
    most = effect * np.maximum.accumulate(most) / rows
    enough = np.flatnonzero(_half_width(freedom, error, most, chance) <= limit / 2)
    last = int(enough[0]) if len(enough) else len(given) - 1
    ends = dict.fromkeys([*(2**n - 1 for n in range((last + 1).bit_length())), last])
    return [Estimate(float(mean[n]), int(rows[n]), float(error[n]), freedom, float(most[n])) for n in ends]


def slices(window: Monitored, before: Sequence[Monitored], name: str) -> list[tuple[Slice, Estimate]]:
    """Of each slice; how much partitions differ is that of all rows."""
    effect, freedom = _design_effect([d for w in (*before, window) if (d := _deviation(w, name))])
    return [
        (s, Estimate(s.value, s.rows, math.sqrt(effect * s.variance), freedom, effect * s.most / s.rows))
        for s in (window.performance.slices.get(name, ()) if window.performance else ())
    ]


def _deviation(window: Monitored, name: str) -> Deviation | None:
    return window.performance.deviations.get(name) if window.performance else None


def _design_effect(given: Sequence[Deviation]) -> tuple[float, int]:
    """How much more sums of partitions vary than the promise says (at least 1), and the degrees of freedom that say so.

    Within longer windows about the mean of each; those of one partition about the mean of all but the newest two, so that a
    change does not hide in the spread that it makes.
    """
    groups = [d.parts for d in given if len(d.parts) > 1]
    single = tuple(d.parts[0] for d in given[:-2] if len(d.parts) == 1)
    squares, promised, freedom = 0.0, 0.0, 0
    for parts in [*groups, *([single] if len(single) > 1 else [])]:
        rows, total, variance = np.array(parts).T
        squares += float(((total - rows * total.sum() / rows.sum()) ** 2).sum()) * len(parts) / (len(parts) - 1)
        promised += float(variance.sum())
        freedom += len(parts) - 1
    return (max(1.0, squares / promised), freedom) if promised > 0 else (1.0, 1)
