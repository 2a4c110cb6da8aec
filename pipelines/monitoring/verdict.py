"""The verdict on a window: cause first, in plain words, from what was measured of it and of those before.

What is lost says `losses`, what is faulty `faults`; here is which of them speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipelines.monitoring.comparison import moved_from
from pipelines.monitoring.faults import faults, mended
from pipelines.monitoring.losses import Thin, limit_of, losses, lost_slices
from pipelines.monitoring.observations import Monitored, Reference
from pipelines.monitoring.references import a_year_before
from pipelines.monitoring.wording import loss_words, mend_words, reasons
from pipelines.use_case import Grain, Monitoring, Partition


class Verdict(StrEnum):
    DATA_FAULT = "data fault"
    MENDED = "mended data fault"
    DRIFT_WITH_LOSS = "drift with loss"
    LOSS_WITHOUT_DRIFT = "loss without drift"
    SLICE_LOSS = "loss in a slice"
    DRIFT_WITHOUT_LOSS = "drift without loss"
    SEASON = "season"
    TOO_LITTLE = "too little evidence"
    HEALTHY = "healthy"


_MANY, _TOO_MANY = 2, 52  # windows like it: above which a number of labels says little, and a number of windows, too
_ENDS = {
    Verdict.DATA_FAULT: "mend the data, or accept it in monitoring.accepted_faults; no new model",
    Verdict.MENDED: "what was served from the faulty rows says nothing of the model; no new model",
    Verdict.DRIFT_WITH_LOSS: "a new model is needed",
    Verdict.LOSS_WITHOUT_DRIFT: "what they mean has changed; a new model is needed",
    Verdict.SLICE_LOSS: "as a whole the predictions are as good as promised; watched, no new model",
    Verdict.DRIFT_WITHOUT_LOSS: "the predictions are as good as promised all the same; watched, no new model",
    Verdict.SEASON: "as a year ago; no new model",
    Verdict.HEALTHY: "the predictions are as good as promised: no new model",
}


@dataclass(frozen=True)
class Judgement:
    """`short` is `why` in one line where nothing is to be done, nothing moved and all was compared; else the same.

    `drivers`: the features, tables and slices that the verdict stands on; `missing_labels` with too little evidence.
    """

    window: str
    verdict: Verdict
    why: str
    short: str
    drivers: tuple[str, ...] = ()
    missing_labels: int | None = None


def judge_window(settings: Monitoring, window: Monitored, before: Sequence[Monitored]) -> Judgement:
    """The verdict on a window; `before` are the earlier ones of its use case, oldest first, of any version."""
    seen, drifted = window.performance, moved_from(settings, window.drift)
    own = [w for w in before if seen and w.performance and w.performance.model_version == seen.model_version]
    lost, thin = losses(settings, window, own)
    worst = lost_slices(settings, window, own, lost)
    faulty, over = faults(settings, window, before), mended(settings, window, before)
    first = _of(window, "baseline")
    moved = drifted or moved_from(settings, first)
    features = window.drift.drifted if window.drift and drifted else first.drifted if first and moved else ()
    season = _as_a_year_ago(settings, window, before) or (not lost and _is_season(settings, window))
    cases: dict[Verdict, object] = {
        Verdict.DATA_FAULT: faulty,
        Verdict.MENDED: over,
        Verdict.SEASON: season and (lost or (moved and not thin)),
        Verdict.DRIFT_WITH_LOSS: lost and drifted,
        Verdict.LOSS_WITHOUT_DRIFT: lost,
        Verdict.SLICE_LOSS: worst,
        Verdict.TOO_LITTLE: thin,
        Verdict.DRIFT_WITHOUT_LOSS: moved,
    }
    verdict = next((name for name, holds in cases.items() if holds), Verdict.HEALTHY)
    causes = [*(f"{f.words}." for f in (*faulty, *over)), mend_words(window) if over else ""]
    end = f"{verdict.capitalize()}: {_ENDS.get(verdict) or _thin(settings, window, thin)}."
    why = " ".join(filter(None, (*causes, window.failure, *reasons(settings, window, lost, worst, moved), end)))
    compared = window.drift is not None and not window.drift.not_compared
    told = lost or worst or moved or any(causes) or window.failure or not compared
    return Judgement(
        window.partition,
        verdict,
        why,
        why if told or verdict not in (Verdict.HEALTHY, Verdict.TOO_LITTLE) else end,
        (*(d for f in (*faulty, *over) for d in f.drivers), *features, *(name for name, _ in worst)),
        thin.missing if thin and verdict is Verdict.TOO_LITTLE else None,
    )


def _thin(settings: Monitoring, window: Monitored, thin: Thin | None) -> str:
    if window.performance is None:
        return "it has no outcomes yet"
    if thin is None or thin.missing is None:
        return "it was measured before there were intervals; measured again it has them"
    more = thin.missing / max(window.performance.labels, 1)
    alike = f", {more:,.0f} windows like it," if more > _MANY else ""
    much = f"about {thin.missing:,} more labels{alike}" if more <= _TOO_MANY else f"more than {_TOO_MANY} windows like it"
    if thin.beyond is None:
        return f"{much} are needed to tell a loss of the size of the limits from chance"
    (told,) = loss_words(settings, thin.beyond, ())
    return f"{told[:-1]}, which may be chance; {much} would tell"


def _as_a_year_ago(settings: Monitoring, window: Monitored, before: Sequence[Monitored]) -> bool:
    """Whether the same window of last year, by whatever version, had drifted and missed its promise alike."""
    key = a_year_before(_period(window)).key
    then = next((w for w in before if w.partition == key), None)
    if then is None or not then.performance or not window.performance:
        return False
    known, now = then.performance.deviations, window.performance.deviations
    alike = now.keys() <= known.keys() and all(abs(now[n].value - known[n].value) <= limit_of(settings, n) for n in now)
    return alike and set(window.drift.drifted if window.drift else ()) <= set(then.drift.drifted if then.drift else ())


def _is_season(settings: Monitoring, window: Monitored) -> bool:
    """Whether it is as it was a year ago, by the rows of then: whatever was monitored then."""
    then = _of(window, "season")
    return then is not None and then.missing is None and not moved_from(settings, then)


def _period(window: Monitored) -> Partition:
    return Partition.parse_period(window.partition, Grain.DAY)


def _of(window: Monitored, reference: str) -> Reference | None:
    found: Reference | None = getattr(window.drift, reference, None)
    return found
