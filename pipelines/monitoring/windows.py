"""Windows: what is judged at a time, `monitoring.window`, a partition or a longer period that is made of whole ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from pipelines.errors import redact
from pipelines.monitoring.observations import Monitored, publish_measured
from pipelines.use_case import PARTITION
from pipelines.workspace import CHAMPION, StageRun, served_rows

if TYPE_CHECKING:
    from pandas import DataFrame

_Measure = TypeVar("_Measure")


def windows(run: StageRun) -> list[StageRun]:
    """The run, about each window that its partition lies in, or its period is made of."""
    return [replace(run, partition=window) for window in run.partition.within(run.use_case.window)]


def served(window: StageRun) -> DataFrame | None:
    """What the newest champion served in a window, as each version is judged by its own; None while the window is not over.

    It is over once its partitions are all there, or it has ended: what was never served keeps it from no judgement.
    """
    keys = [p.key for p in window.partitions]
    rows = served_rows(window.workspace, window.use_case, keys)
    ended = window.partition.ends_at(window.use_case.timezone) <= window.workspace.clock.now()
    if rows.empty or not (ended or set(keys) <= set(rows[PARTITION])):
        return None
    if "variant" in rows:  # what an experiment let challengers serve is judged by the experiment
        rows = rows[rows["variant"].fillna(CHAMPION) == CHAMPION]
    return rows[rows["model_version"] == rows["model_version"].iloc[-1]] if len(rows) else None


def per_window(measure: Callable[[StageRun], _Measure | None]) -> Callable[[StageRun], dict[str, _Measure | None]]:
    """A measure of a run, by key of its windows; None where a window's partitions are not all there yet."""

    def measured(run: StageRun) -> dict[str, _Measure | None]:
        return {window.key: measure(window) for window in windows(run)}

    return measured


_Measured = Mapping[str, Mapping[str, object] | None]


def publish_windows(
    run: StageRun, drifts: _Measured | None, performances: _Measured | None, failures: Mapping[str, str] | None = None
) -> list[Monitored]:
    """`publish_measured` for each of the run's windows; nothing is said of a longer one that is not complete.

    A measure that is None as a whole ended without a result; `failures` says by its name what it tripped over. The other one is
    published all the same.
    """
    words = dict(failures or {})
    for name, found in (("drift", drifts), ("performance", performances)):
        if found is None:
            words.setdefault(name, "ended without a result; the log of its task says why")
    failure = " ".join(f"Measuring {name} crashed: {redact(said)}." for name, said in words.items()) or None
    measured = [(w, (drifts or {}).get(w.key), (performances or {}).get(w.key)) for w in windows(run)]
    return [
        publish_measured(window, drift, seen, failure)
        for window, drift, seen in measured
        if drift or seen or failure or window.key == run.key
    ]
