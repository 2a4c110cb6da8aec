"""Both measures of a run's windows, published together, whatever one of them trips over."""

from __future__ import annotations

from typing import Any

from pipelines.errors import in_words
from pipelines.monitoring.drift import measure_drift
from pipelines.monitoring.observations import Monitored
from pipelines.monitoring.performance import measure_performance
from pipelines.monitoring.windows import per_window, publish_windows
from pipelines.results import to_json
from pipelines.workspace import StageRun


def watch(run: StageRun) -> list[Monitored]:
    """Measure and publish in one process, as the command line does. What a measure raised is raised after that."""
    found: dict[str, Any] = {}
    crashed: dict[str, Exception] = {}
    for name, measure in (("drift", per_window(measure_drift)), ("performance", per_window(measure_performance))):
        try:
            found[name] = to_json(measure(run))  # type: ignore[operator]  # of either kind
        except Exception as error:
            crashed[name] = error
    words = {name: in_words(error) for name, error in crashed.items()}
    published = publish_windows(run, found.get("drift"), found.get("performance"), words)
    for raised in crashed.values():
        raise raised
    return published
