"""Windows: what is judged at a time, `monitoring.window`, a partition or a longer period that is made of whole ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from pipelines.metrics import entropy, entropy_variance
from pipelines.use_case import PARTITION
from pipelines.workspace import StageRun, served_batches

if TYPE_CHECKING:
    from pandas import DataFrame

_Measure = TypeVar("_Measure")
_GROUP = ["model_version", "features_version", PARTITION]


def windows(run: StageRun) -> list[StageRun]:
    """The run, about each window that its partition lies in, or its period is made of."""
    return [replace(run, partition=window) for window in run.partition.within(run.use_case.window)]


@dataclass(frozen=True)
class Served:
    """What the newest version served in a window, in figures: the rows may be more than memory holds.

    `built`: by version of the features table (None in rows from before they named one), the rows by partition. `promised` is
    the mean log loss that the probabilities promise, give or take `promised_error` (95 %, of independent rows).
    """

    version: int
    rows: int
    built: dict[int | None, dict[str, int]]
    made_at: datetime | None
    promised: float
    promised_error: float

    @property
    def partitions(self) -> list[str]:
        return sorted({key for rows in self.built.values() for key in rows})


def served(window: StageRun) -> Served | None:
    """What the newest champion served in a window, as each version is judged by its own; None while the window is not over.

    What an experiment let challengers serve is judged by the experiment. A window is over once its partitions are all there, or
    it has ended: what was never served keeps it from no judgement.
    """
    import pandas as pd

    keys = [p.key for p in window.partitions]
    batches = served_batches(window.workspace, window.use_case, keys, [*_GROUP[:2], "probability", "made_at"])
    parts = [_figures(rows.to_pandas()) for rows in batches if len(rows)]
    ended = window.partition.ends_at(window.use_case.timezone) <= window.workspace.clock.now()
    if not parts or not (ended or set(keys) <= {key for part in parts for key in part[PARTITION]}):
        return None
    version = int(parts[-1].attrs["newest"])
    groups = pd.concat([part[part["model_version"] == version] for part in parts])
    rows, made = int(groups["rows"].sum()), groups["made_at"].dropna()
    built: dict[int | None, dict[str, int]] = {}
    for at, key, count in groups.groupby(_GROUP[1:], as_index=False)["rows"].sum().itertuples(index=False):
        built.setdefault(None if at < 0 else int(at), {})[key] = int(count)
    error = 1.96 * groups["variance"].sum() ** 0.5 / rows
    return Served(version, rows, built, made.max() if len(made) else None, float(groups["promised"].sum() / rows), float(error))


def _figures(rows: DataFrame) -> DataFrame:
    """A batch's sums by version of the model, version of the features, and partition; `newest` is the last row's version."""
    p = rows["probability"]
    known = rows.assign(features_version=rows["features_version"].fillna(-1).astype(int))
    known = known.assign(promised=entropy(p), variance=entropy_variance(p))
    sums = {"rows": ("probability", "size"), "promised": ("promised", "sum"), "variance": ("variance", "sum")}
    found: DataFrame = known.groupby(_GROUP, as_index=False).agg(**sums, made_at=("made_at", "max"))
    found.attrs["newest"] = rows["model_version"].iloc[-1]
    return found


def per_window(measure: Callable[[StageRun], _Measure | None]) -> Callable[[StageRun], dict[str, _Measure | None]]:
    """A measure of a run, by key of its windows; None where a window's partitions are not all there yet."""

    def measured(run: StageRun) -> dict[str, _Measure | None]:
        return {window.key: measure(window) for window in windows(run)}

    return measured
