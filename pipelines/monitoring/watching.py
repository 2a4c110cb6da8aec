"""The measures of a run's windows, published together, whatever one of them trips over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.errors import in_words, redact
from pipelines.monitoring.answered import measure_answers
from pipelines.monitoring.drift import measure_drifts
from pipelines.monitoring.observations import Answered, Monitored, publish_measured
from pipelines.monitoring.performance import measure_performance
from pipelines.monitoring.windows import per_window, windows
from pipelines.results import to_json
from pipelines.workspace import StageRun


def watch(run: StageRun) -> list[Monitored]:
    """Measure and publish in one process, as the command line does. What a measure raised is raised after that."""
    found: dict[str, Any] = {}
    crashed: dict[str, Exception] = {}
    for name, measure in (("drift", measure_drifts), ("performance", per_window(measure_performance))):
        try:
            found[name] = to_json(measure(run))  # type: ignore[operator]  # of either kind
        except Exception as error:
            crashed[name] = error
    words = {name: in_words(error) for name, error in crashed.items()}
    published = publish_windows(run, found.get("drift"), found.get("performance"), words)
    for raised in crashed.values():
        raise raised
    return published


_Measured = Mapping[str, Mapping[str, object] | None]


def publish_windows(
    run: StageRun, drifts: _Measured | None, performances: _Measured | None, failures: Mapping[str, str] | None = None
) -> list[Monitored]:
    """`publish_measured` for each of the run's windows, with what the API answered; nothing is said of one that is not over.

    A measure that is None as a whole ended without a result; `failures` says by its name what it tripped over. The others are
    published all the same. What measuring the answers raised is raised after that.
    """
    words = dict(failures or {})
    for name, found in (("drift", drifts), ("performance", performances)):
        if found is None:
            words.setdefault(name, "ended without a result; the log of its task says why")
    published, crashed = [], None
    for window in windows(run):
        drift, seen = (drifts or {}).get(window.key), (performances or {}).get(window.key)
        answers, error = _answers(window) if drift or seen else ((), None)
        told = words | ({"answers": in_words(error)} if error else {})
        failure = " ".join(f"Measuring {name} crashed: {redact(said)}." for name, said in told.items()) or None
        if drift or seen or failure or window.key == run.key:
            published.append(publish_measured(window, drift, seen, failure, answers))
        crashed = error or crashed
    if crashed is not None:
        raise crashed
    return published


def _answers(window: StageRun) -> tuple[tuple[Answered, ...], Exception | None]:
    try:
        return measure_answers(window), None
    except Exception as error:
        return (), error
