"""A verdict's reasons in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.monitoring.comparison import moved_from
from pipelines.monitoring.losses import Lost, limit_of
from pipelines.monitoring.observations import Drift, Monitored, Performance
from pipelines.use_case import Monitoring

_WORDS = {
    "excess_loss": ("log loss {:+.3f} against what was promised on these rows", "{:.3f}"),
    "calibration_gap": ("{:+.1%} predicted beyond what came true", "{:.1%}"),
    "auc_loss": ("AUC {:.3f} below what was promised on these rows", "{:.3f}"),
}


def reasons(
    settings: Monitoring, window: Monitored, lost: Lost, worst: Sequence[tuple[str, str]], moved: bool
) -> Iterator[str]:
    """What was lost, what has drifted from what, and what had been estimated; sentences, some of them empty."""
    yield from loss_words(settings, lost, worst)
    yield drift_words(settings, window.drift, moved_from(settings, window.drift))
    yield from reference_words(settings, window, moved)
    yield check_words(window)


def loss_words(settings: Monitoring, lost: Lost, worst: Sequence[tuple[str, str]]) -> list[str]:
    found = []
    for name, (shown, half) in lost.items():
        words, figure = _WORDS[name]
        known = f"± {figure.format(half)}" if half < 1 else f"± more than {figure.format(1)}"
        within = f"{known}, {shown.rows:,} labels; {figure.format(limit_of(settings, name))} is allowed"
        found.append(f"{words.format(shown.value)} ({within}).")
    return [*found, f"Worst where {', '.join(words for _, words in worst)}."] if worst else found


def reference_words(settings: Monitoring, window: Monitored, moved: bool) -> Iterator[str]:
    for then in filter(None, (window.drift.baseline, window.drift.season) if window.drift else ()):
        if then.missing:
            yield f"Not compared with {then.about}: {then.missing}."
        elif moved_from(settings, then):
            told = f"{', '.join(then.drifted) or 'no feature'} moved, the predictions by {then.prediction_drift:.2f}"
            yield f"Against {then.about}: {told}."
        elif moved:
            yield f"As {then.about}."


def drift_words(settings: Monitoring, drift: Drift | None, drifted: bool) -> str:
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


def check_words(window: Monitored) -> str:
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


def mend_words(window: Monitored) -> str:
    present = window.drift.present if window.drift else None
    return f"Mended: its features were built again, and measured at {present.at[:16]} they are in order." if present else ""
