"""The verdict on a window: cause first, in plain words, from what was measured of it and of those before.

A loss is one where the interval of what was measured against the model's promise lies beyond the limit. The chance of a false
alarm is declared for a year, and shared between the year's windows, measures, sides, and spans of windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from pipelines.monitoring.faults import faults
from pipelines.monitoring.observations import Drift, Monitored, Performance
from pipelines.monitoring.promise import Estimate, slices, spans
from pipelines.use_case import Grain, Monitoring, Partition

_YEAR = timedelta(days=365)
_SIDES = 4  # of three measures: one may be lost to either side
_WORDS = {
    "excess_loss": ("log loss {:+.3f} against what was promised on these rows", "{:.3f}"),
    "calibration_gap": ("{:+.1%} predicted beyond what came true", "{:.1%}"),
    "auc_loss": ("AUC {:.3f} below what was promised on these rows", "{:.3f}"),
}


class Verdict(StrEnum):
    DATA_FAULT = "data fault"
    DRIFT_WITH_LOSS = "drift with loss"
    LOSS_WITHOUT_DRIFT = "loss without drift"
    DRIFT_WITHOUT_LOSS = "drift without loss"
    SEASON = "season"
    TOO_LITTLE = "too little evidence"
    HEALTHY = "healthy"


_ENDS = {
    Verdict.DATA_FAULT: "mend the data, or accept it in monitoring.accepted_faults; no new model",
    Verdict.DRIFT_WITH_LOSS: "a new model is needed",
    Verdict.LOSS_WITHOUT_DRIFT: "what they mean has changed; a new model is needed",
    Verdict.DRIFT_WITHOUT_LOSS: "the predictions are as good as promised all the same; watched, no new model",
    Verdict.SEASON: "as a year ago; no new model",
    Verdict.HEALTHY: "the predictions are as good as promised: no new model",
}


@dataclass(frozen=True)
class Judgement:
    """`drivers`: the features, tables and slices that the verdict stands on; `missing_labels` with too little evidence."""

    window: str
    verdict: Verdict
    why: str
    drivers: tuple[str, ...] = ()
    missing_labels: int | None = None


def judge_window(settings: Monitoring, window: Monitored, before: Sequence[Monitored]) -> Judgement:
    """The verdict on a window; `before` are the earlier ones of its use case, oldest first, of any version."""
    seen, drifted = window.performance, _has_drifted(settings, window.drift)
    own = [w for w in before if seen and w.performance and w.performance.model_version == seen.model_version]
    lost, missing = _losses(settings, window, own)
    faulty = faults(settings, window, before)
    features = window.drift.drifted if window.drift and drifted else ()
    told = [
        window.failure or "",
        *_loss_words(settings, window, own, lost),
        _drift_words(settings, window.drift, drifted),
        _check_words(window),
    ]
    verdict = _verdict(
        bool(faulty), bool(lost), drifted, missing is None or missing > 0, _as_a_year_ago(settings, window, before)
    )
    end = f"{verdict.capitalize()}: {_ENDS.get(verdict, _thin(window, missing))}."
    return Judgement(
        window.partition,
        verdict,
        " ".join(part for part in (*(f"{f.words}." for f in faulty), *told, end) if part),
        (*(d for f in faulty for d in f.drivers), *features, *(name for name, _ in _worst(settings, window, own, lost))),
        missing if verdict is Verdict.TOO_LITTLE else None,
    )


def _verdict(faulty: bool, lost: bool, drifted: bool, thin: bool, season: bool) -> Verdict:
    if faulty:
        return Verdict.DATA_FAULT
    if season and (lost or (drifted and not thin)):
        return Verdict.SEASON
    if lost:
        return Verdict.DRIFT_WITH_LOSS if drifted else Verdict.LOSS_WITHOUT_DRIFT
    if thin:
        return Verdict.TOO_LITTLE
    return Verdict.DRIFT_WITHOUT_LOSS if drifted else Verdict.HEALTHY


def _thin(window: Monitored, missing: int | None) -> str:
    if window.performance is None:
        return "it has no outcomes yet"
    if missing is None:
        return "it was measured before there were intervals; measured again it has them"
    return f"about {missing:,} more labels are needed to tell a loss of the size of the limits from chance"


Lost = dict[str, tuple[Estimate, float]]  # by measure: the span that shows it, and half the width of its interval


def _losses(settings: Monitoring, window: Monitored, own: Sequence[Monitored]) -> tuple[Lost, int | None]:
    """What is lost beyond doubt; and how many labels are missing to say that nothing is, None where nothing was measured."""
    seen = window.performance
    if seen is None or not seen.deviations:
        return {}, None
    lost: Lost = {}
    missing = 0
    for name in seen.deviations:
        limit, chance = _limit(settings, name), _chance(settings, window)
        found = spans(window, own, name, limit, chance)
        chance /= len(found)
        shown = next((e for e in found if _beyond(name, e.value, limit + e.half_width(chance))), None)
        if shown and _beyond(name, found[0].value, limit):  # what was lost before and is not now is no loss of this window
            lost[name] = shown, shown.half_width(chance)
        missing = max(missing, found[-1].missing(limit))
        if _beyond(name, found[0].value, limit):  # nobody says "as promised" of what is not, but for chance
            missing = max(missing, found[0].missing(max(abs(found[0].value) - limit, limit / 4), chance))
    return lost, missing


def _limit(settings: Monitoring, name: str) -> float:
    return float(getattr(settings, f"max_{name}"))


def _chance(settings: Monitoring, window: Monitored) -> float:
    """Of a false alarm by one interval of this window, on one side."""
    period = Partition.parse_period(window.partition, Grain.DAY)
    return settings.false_alarms * min((period.end - period.start) / _YEAR, 1) / _SIDES


def _beyond(name: str, value: float, limit: float) -> bool:
    return (abs(value) if name == "calibration_gap" else value) > limit


def _as_a_year_ago(settings: Monitoring, window: Monitored, before: Sequence[Monitored]) -> bool:
    """Whether the same window of last year, by whatever version, had drifted and missed its promise alike."""
    key = _a_year_before(window.partition)
    then = next((w for w in before if w.partition == key), None)
    if then is None or not then.performance or not window.performance:
        return False
    known, now = then.performance.deviations, window.performance.deviations
    alike = now.keys() <= known.keys() and all(abs(now[n].value - known[n].value) <= _limit(settings, n) for n in now)
    return alike and set(window.drift.drifted if window.drift else ()) <= set(then.drift.drifted if then.drift else ())


def _a_year_before(key: str) -> str:
    return f"{int(key[:4]) - 1}{key[4:]}"


def _has_drifted(settings: Monitoring, drift: Drift | None) -> bool:
    return drift is not None and (
        drift.prediction_drift > settings.max_prediction_drift
        or drift.drifted_share > settings.max_drifted_share
        or (drift.told_apart or 0) - (drift.told_apart_noise or 0) > settings.max_told_apart
    )


def _loss_words(settings: Monitoring, window: Monitored, own: Sequence[Monitored], lost: Lost) -> list[str]:
    found = []
    for name, (shown, half) in lost.items():
        words, figure = _WORDS[name]
        within = f"± {figure.format(half)}, {shown.rows:,} labels; {figure.format(_limit(settings, name))} is allowed"
        found.append(f"{words.format(shown.value)} ({within}).")
    worst = ", ".join(words for _, words in _worst(settings, window, own, lost))
    return [*found, f"Worst where {worst}."] if worst else found


def _worst(settings: Monitoring, window: Monitored, own: Sequence[Monitored], lost: Lost) -> list[tuple[str, str]]:
    """The slices that are beyond the limit whatever chance does, three at most: name, and words."""
    for name in ("excess_loss", "calibration_gap") if lost else ():
        found = slices(window, own, name)
        sure = [(s, e) for s, e in found if _beyond(name, e.value, _limit(settings, name) + e.half_width(0.025 / len(found)))]
        if sure:
            top = sorted(sure, key=lambda each: -abs(each[1].value))[:3]
            return [(s.segment, f"{s.segment} ({e.value:+.3f} ± {e.half_width():.3f})") for s, e in top]
    return []


def _drift_words(settings: Monitoring, drift: Drift | None, drifted: bool) -> str:
    if drift is None:
        return "Drift was not measured."
    worst = sorted(((n, d) for n, d in drift.distances.items() if n not in drift.moving), key=lambda item: -item[1])[:3]
    names = ", ".join(f"{name} {distance:.2f}" for name, distance in worst)
    word = "have drifted" if drifted else "drifted, within what is allowed"
    features = "feature" if len(drift.drifted) == 1 else "features"
    told = f"{len(drift.drifted)} {features} ({drift.drifted_share:.0%}) {word} (furthest: {names})."
    if drift.prediction_drift > settings.max_prediction_drift:
        told += f" The predictions have moved by {drift.prediction_drift:.2f}."
    if drift.moving_effect is not None and abs(drift.moving_effect) >= 0.01:
        told += f" Shares of the past moved the mean prediction by {drift.moving_effect:+.1%}."
    if (drift.told_apart or 0) - (drift.told_apart_noise or 0) > settings.max_told_apart:
        told += f" A classifier tells the rows from the training rows (AUC {drift.told_apart:.2f})."
    if drift.not_compared:
        told += f" The champion does not know {', '.join(drift.not_compared)}: not compared."
    return told


def _check_words(window: Monitored) -> str:
    """The estimate from before there were outcomes, beside what came."""
    drift, seen = window.drift, window.performance
    if drift is None or drift.estimated_log_loss is None or drift.estimate_error is None:
        return ""
    told = f"Before outcomes a log loss of {drift.estimated_log_loss:.3f} ± {drift.estimate_error:.3f} was estimated"
    came = estimate_error(drift, seen)
    return f"{told}; it came {came:+.3f} from it." if came is not None else f"{told}."


def estimate_error(drift: Drift | None, seen: Performance | None) -> float | None:
    """The log loss that came minus the one that was estimated before there were outcomes."""
    known = drift.estimated_log_loss if drift else None
    return None if known is None or seen is None or seen.log_loss is None else seen.log_loss - known
