"""The verdict on a window: cause first, in plain words, from what was measured of it and of those before.

What was measured is 0 in expectation where the model keeps its promise. Its variance by the promise is widened by how much more
partitions differ than independent rows would (Kish's design effect), with Student's t for how many of them are known, and by
Bernstein's term (Boucheron, Lugosi, Massart: "Concentration Inequalities", 2013, eq. 2.10) for few rows. It is a loss
where such an interval lies beyond the limit. The chance of a false alarm is declared for a year, and shared between the
year's windows, measures, sides, and spans: a window alone, with the one before it, with as many as give enough labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipelines.monitoring.observations import Deviation, Monitored, Slice
from pipelines.use_case import Grain, Monitoring, Partition

_ENOUGH = 0.05  # "as promised" is said of an interval of 95 %
_YEAR = 365
_WORDS = {
    "excess_loss": "log loss {value:+.3f} against what was promised on these rows",
    "calibration_gap": "{value:+.1%} predicted beyond what came true",
    "auc_loss": "AUC {value:.3f} below what was promised on these rows",
}


class Verdict(StrEnum):
    DATA_FAULT = "data fault"
    DRIFT_WITH_LOSS = "drift with loss"
    LOSS_WITHOUT_DRIFT = "loss without drift"
    DRIFT_WITHOUT_LOSS = "drift without loss"
    SEASON = "season"
    TOO_LITTLE = "too little evidence"
    HEALTHY = "healthy"


@dataclass(frozen=True)
class Judgement:
    """`drivers`: the features, sources and slices that the verdict stands on; `missing_labels` with too little evidence."""

    window: str
    verdict: Verdict
    why: str
    drivers: tuple[str, ...] = ()
    missing_labels: int | None = None


@dataclass(frozen=True)
class Estimate:
    """A mean over `rows` of one or more windows, its standard error, and how many partitions the error is known from."""

    value: float
    rows: int
    error: float
    freedom: int
    most: float  # what rows that hang together add at most, over all rows

    def half_width(self, chance: float) -> float:
        """Of the interval that the truth is beyond, on one side, with this chance."""
        from scipy.special import stdtrit

        return float(-stdtrit(self.freedom, chance)) * self.error + self.most * math.log(1 / chance) / 3


def judge_window(settings: Monitoring, window: Monitored, before: Sequence[Monitored]) -> Judgement:
    """The verdict on a window; `before` are the earlier ones of its use case, oldest first, of any version."""
    lost, thin = _losses(settings, window, before)
    drifted, told = _drift_words(settings, window)
    drivers = window.drift.drifted if window.drift and drifted else ()
    if lost:
        words, slices = _slice_words(settings, window, before, list(lost))
        verdict = Verdict.DRIFT_WITH_LOSS if drifted else Verdict.LOSS_WITHOUT_DRIFT
        end = "a new model is needed" if drifted else "what they mean has changed; a new model is needed"
        said = f"{'; '.join(lost.values())}.{words} {told} {verdict.capitalize()}: {end}."
        return Judgement(window.partition, verdict, said, (*drivers, *slices))
    if thin is not None:
        said = f"{told} Too little evidence of what the model is worth: {thin[1]}."
        return Judgement(window.partition, Verdict.TOO_LITTLE, said, drivers, thin[0])
    if drifted:
        said = f"{told} The predictions are as good as promised all the same: watched, no new model."
        return Judgement(window.partition, Verdict.DRIFT_WITHOUT_LOSS, said, drivers)
    return Judgement(window.partition, Verdict.HEALTHY, f"{told} The predictions are as good as promised: no new model.")


def _losses(
    settings: Monitoring, window: Monitored, before: Sequence[Monitored]
) -> tuple[dict[str, str], tuple[int | None, str] | None]:
    """By measure that is lost beyond doubt, how much in words; and how many labels are missing to say that nothing is."""
    seen = window.performance
    if seen is None or not seen.deviations:
        return {}, (None, "it has no outcomes yet" if seen is None else "it was measured before there were intervals")
    lost, missing = {}, 0
    own = [w for w in before if w.performance and w.performance.model_version == seen.model_version]
    for name in seen.deviations:
        limit = float(getattr(settings, f"max_{name}"))
        spans = _spans(window, own, name, limit)
        chance = _chance(settings, window) / len(spans)
        beyond = next((e for e in spans if _beyond(name, e.value, e.half_width(chance), limit)), None)
        if beyond and _beyond(name, spans[0].value, 0, limit):  # what was lost before and is not now is no loss of this window
            lost[name] = _in_words(name, beyond, chance, limit)
        missing = max(missing, _missing(spans[-1], limit))
    words = f"about {missing:,} more labels are needed to tell a loss of the size of the limits from chance"
    return lost, (missing, words) if missing else None


def _chance(settings: Monitoring, window: Monitored) -> float:
    """Of one false alarm by one interval of this window, on one side; four sides of three measures."""
    period = Partition.parse_period(window.partition, Grain.DAY)
    return settings.false_alarms * min((period.end - period.start).days / _YEAR, 1) / 4


def _beyond(name: str, value: float, half: float, limit: float) -> bool:
    return (abs(value) if name == "calibration_gap" else value) - half > limit


def _in_words(name: str, found: Estimate, chance: float, limit: float) -> str:
    half = found.half_width(chance)
    shown = f"{half:.1%}" if name == "calibration_gap" else f"{half:.3f}"
    most = f"{limit:.1%}" if name == "calibration_gap" else f"{limit:.3f}"
    return f"{_WORDS[name].format(value=found.value)} (± {shown}, {found.rows:,} labels; {most} is allowed)"


def _missing(found: Estimate, limit: float) -> int:
    half = found.half_width(_ENOUGH / 2)
    return 0 if half <= limit else math.ceil(found.rows * ((half / limit) ** 2 - 1))


def _spans(window: Monitored, own: Sequence[Monitored], name: str, limit: float) -> list[Estimate]:
    """Of the window alone, with the one before it, and with as many as give enough labels: how many hangs on no outcome."""
    given = [d for w in (*own, window) if (d := _deviation(w, name))]
    effect, freedom = _design_effect(given)
    found: list[Estimate] = []
    total = promised = most = 0.0
    rows = 0
    for each in reversed(given):
        labels = sum(n for n, _, _ in each.parts)
        rows, total, most = rows + labels, total + each.value * labels, max(most, each.most)
        promised += sum(v for _, _, v in each.parts)
        found.append(Estimate(total / rows, rows, math.sqrt(effect * promised) / rows, freedom, effect * most / rows))
        if not _missing(found[-1], limit):
            break
    return [*found[:2], *found[2:][-1:]]


def _deviation(window: Monitored, name: str) -> Deviation | None:
    return window.performance.deviations.get(name) if window.performance else None


def _design_effect(given: Sequence[Deviation]) -> tuple[float, int]:
    """How much more sums of partitions vary than the promise says (at least 1), and the degrees of freedom that say so.

    Within longer windows about the mean of each; those of one partition about the mean of all but the newest two, so that a
    change does not hide in the spread that it makes.
    """
    longer = [list(d.parts) for d in given if len(d.parts) > 1]
    single = [d.parts[0] for d in given[:-2] if len(d.parts) == 1]
    squares = promised = 0.0
    freedom = 0
    for parts in [*longer, *([single] if len(single) > 1 else [])]:
        mean = sum(s for _, s, _ in parts) / sum(n for n, _, _ in parts)
        squares += sum((s - n * mean) ** 2 for n, s, _ in parts) * len(parts) / (len(parts) - 1)
        promised += sum(v for _, _, v in parts)
        freedom += len(parts) - 1
    return (max(1.0, squares / promised), freedom) if promised > 0 else (1.0, 1)


def _slice_words(
    settings: Monitoring, window: Monitored, before: Sequence[Monitored], lost: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    """The worst slices of what was lost, if any is beyond its own interval."""
    seen = window.performance
    own = [w for w in before if w.performance and seen and w.performance.model_version == seen.model_version]
    for name in ("excess_loss", "calibration_gap"):
        slices = seen.slices.get(name, ()) if seen else ()
        effect, freedom = _design_effect([d for w in (*own, window) if (d := _deviation(w, name))])
        limit = float(getattr(settings, f"max_{name}"))
        found = [(s, _of_slice(s, effect, freedom)) for s in slices]
        worst = [(s, e) for s, e in found if _beyond(name, s.value, e.half_width(_ENOUGH / 2 / len(slices)), limit)]
        if worst and (name in lost or "auc_loss" in lost):
            top = sorted(worst, key=lambda each: -abs(each[0].value))[:3]
            words = ", ".join(f"{s.segment} ({s.value:+.3f} ± {e.half_width(_ENOUGH / 2):.3f})" for s, e in top)
            return f" Worst where {words}.", tuple(s.segment for s, _ in top)
    return "", ()


def _of_slice(found: Slice, effect: float, freedom: int) -> Estimate:
    return Estimate(found.value, found.rows, math.sqrt(effect * found.variance), freedom, effect * found.most / found.rows)


def _drift_words(settings: Monitoring, window: Monitored) -> tuple[bool, str]:
    if window.drift is None:
        return False, "Drift was not measured."
    drift = window.drift
    shifted = drift.prediction_drift > settings.max_prediction_drift
    drifted = shifted or drift.drifted_share > settings.max_drifted_share
    worst = sorted(drift.distances.items(), key=lambda item: -item[1])[:3]
    names = ", ".join(f"{name} {distance:.2f}" for name, distance in worst)
    word = "have drifted" if drifted else "drifted, within what is allowed"
    told = f"{len(drift.drifted)} features ({drift.drifted_share:.0%}) {word} (furthest: {names})."
    if shifted:
        told += f" The predictions have moved by {drift.prediction_drift:.2f}."
    if drift.not_compared:
        told += f" The champion does not know {', '.join(drift.not_compared)}: not compared."
    return drifted, told
