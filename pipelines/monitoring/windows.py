"""Windows: what is judged at a time, `monitoring.window`, a partition or a longer period that is made of whole ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from pipelines.monitoring.observations import Monitored, publish_measured
from pipelines.workspace import Champion, StageRun

_Measure = TypeVar("_Measure")


def windows(run: StageRun) -> list[StageRun]:
    """The run, about each window that its partition lies in, or its period is made of."""
    return [replace(run, partition=window) for window in run.partition.within(run.use_case.window)]


def served(window: StageRun, champion: Champion) -> list[str]:
    """The window's partitions that its newest champion serves: each version is judged by its own."""
    return [p.key for p in window.partitions if p.key >= champion.effective_from]


def per_window(measure: Callable[[StageRun], _Measure | None]) -> Callable[[StageRun], dict[str, _Measure | None]]:
    """A measure of a run, by key of its windows; None where a window's partitions are not all there yet."""

    def measured(run: StageRun) -> dict[str, _Measure | None]:
        return {window.key: measure(window) for window in windows(run)}

    return measured


def publish_windows(
    run: StageRun,
    drifts: Mapping[str, Mapping[str, object] | None],
    performances: Mapping[str, Mapping[str, object] | None],
) -> list[Monitored]:
    """`publish_measured` for each of the run's windows; nothing is said of a longer one that is not complete."""
    measured = [(w, drifts[w.key], performances[w.key]) for w in windows(run)]
    return [publish_measured(w, drift, seen) for w, drift, seen in measured if drift or seen or w.key == run.key]
