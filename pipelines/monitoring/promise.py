"""What was measured against the model's promise, with intervals: of a window, of it with those before it, of a slice of it.

What was measured is 0 in expectation where the model keeps its promise. Its variance by the promise is widened by how much more
partitions differ than independent rows would (Kish's design effect), with Student's t for how many of them are known, and by
Bernstein's term (Boucheron, Lugosi, Massart: "Concentration Inequalities", 2013, eq. 2.10) for few rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.monitoring.observations import Deviation, Monitored, Slice

_SURE = 0.05  # "as promised" is said of an interval of 95 %


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
        from scipy.special import stdtrit

        return float(-stdtrit(self.freedom, chance)) * self.error + self.most * math.log(1 / chance) / 3

    def missing(self, limit: float) -> int:
        """How many more rows it takes for the interval to be no wider than the limit, to either side."""
        half = self.half_width()
        return 0 if half <= limit else math.ceil(self.rows * ((half / limit) ** 2 - 1))


def spans(window: Monitored, before: Sequence[Monitored], name: str, limit: float) -> list[Estimate]:
    """Of the window alone, with the one before it, and with as many as give enough labels: how many hangs on no outcome."""
    given = [d for w in (*before, window) if (d := _deviation(w, name))]
    effect, freedom = _design_effect(given)
    found: list[Estimate] = []
    rows, total, promised, most = 0, 0.0, 0.0, 0.0
    for each in reversed(given):
        labels = sum(n for n, _, _ in each.parts)
        rows, total, most = rows + labels, total + each.value * labels, max(most, each.most)
        promised += sum(variance for _, _, variance in each.parts)
        found.append(Estimate(total / rows, rows, math.sqrt(effect * promised) / rows, freedom, effect * most / rows))
        if not found[-1].missing(limit):
            break
    return [*found[:2], *found[2:][-1:]]


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
        mean = sum(total for _, total, _ in parts) / sum(n for n, _, _ in parts)
        squares += sum((total - n * mean) ** 2 for n, total, _ in parts) * len(parts) / (len(parts) - 1)
        promised += sum(variance for _, _, variance in parts)
        freedom += len(parts) - 1
    return (max(1.0, squares / promised), freedom) if promised > 0 else (1.0, 1)
