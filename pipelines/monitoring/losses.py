"""What was lost beyond doubt, of a window as a whole and of its slices.

A loss is one where the interval of what was measured against the model's promise lies beyond the limit. The chance of a false
alarm is declared for a year, and shared between the year's windows, measures, sides, spans of windows, and slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from pipelines.monitoring.observations import Monitored
from pipelines.monitoring.promise import Estimate, slices, spans
from pipelines.use_case import Grain, Monitoring, Partition

_YEAR = timedelta(days=365)
_SIDES = 4  # of three measures: one may be lost to either side
_OF_SLICES = {"excess_loss": 1, "calibration_gap": 2}  # sides of the measures that slices have
_SURE = 0.05


Lost = dict[str, tuple[Estimate, float]]  # by measure: the span that shows it, and half the width of its interval


@dataclass(frozen=True)
class Thin:
    """Why nobody can say that nothing is lost: about so many labels are missing, None where nothing was measured.

    `beyond`: the measure that is beyond its limit, and may be so by chance.
    """

    missing: int | None = None
    beyond: Lost | None = None


def losses(settings: Monitoring, window: Monitored, own: Sequence[Monitored]) -> tuple[Lost, Thin | None]:
    """What is lost beyond doubt; and what keeps anybody from saying that nothing is, None where nothing does."""
    seen = window.performance
    if seen is None or not seen.deviations:
        return {}, Thin()
    lost: Lost = {}
    thin: list[Thin] = []
    for name in seen.deviations:
        limit, chance = limit_of(settings, name), _chance(settings, window)
        found = spans(window, own, name, limit, chance)
        chance /= len(found)
        shown = next((e for e in found if _beyond(name, e.value, limit + e.half_width(chance))), None)
        if shown and _beyond(name, found[0].value, limit):  # what was lost before and is not now is no loss of this window
            lost[name] = shown, shown.half_width(chance)
        thin.append(Thin(found[-1].missing(limit)))
        if _beyond(name, found[0].value, limit):  # nobody says "as promised" of what is not, but for chance
            more = found[0].missing(max(abs(found[0].value) - limit, limit / 4), chance)
            thin.append(Thin(more, {name: (found[0], found[0].half_width(chance))}))
    most = max(each.missing or 0 for each in thin)
    worst = max(thin, key=lambda each: (bool(each.missing and each.beyond), each.missing or 0))
    return lost, replace(worst, missing=most) if most else None


def limit_of(settings: Monitoring, name: str) -> float:
    return float(getattr(settings, f"max_{name}"))


def _chance(settings: Monitoring, window: Monitored) -> float:
    """Of a false alarm by one interval of this window, on one side; all slices together have as much."""
    period = Partition.parse_period(window.partition, Grain.DAY)
    sides = _SIDES + bool(window.performance and any(window.performance.slices.values()))
    return settings.false_alarms * min((period.end - period.start) / _YEAR, 1) / sides


def _beyond(name: str, value: float, limit: float) -> bool:
    return (abs(value) if name == "calibration_gap" else value) > limit


def lost_slices(settings: Monitoring, window: Monitored, own: Sequence[Monitored], lost: Lost) -> list[tuple[str, str]]:
    """The slices that are beyond the limit, corrected over slices, the worst three at most: name, and words.

    Where the window is lost as a whole, they are those that drive it; else by the chance of a year, as they are an alarm.
    """
    for name in _OF_SLICES:
        found = slices(window, own, name)
        chance = _SURE / 2 if lost else _chance(settings, window) / sum(_OF_SLICES.values())
        limit, each = limit_of(settings, name), chance / max(len(found), 1)
        sure = [(s, e) for s, e in found if _beyond(name, e.value, limit + e.half_width(each))]
        if sure:
            top = sorted(sure, key=lambda pair: -abs(pair[1].value))[:3]
            return [(s.segment, f"{s.segment} ({e.value:+.3f} ± {e.half_width():.3f})") for s, e in top]
    return []
