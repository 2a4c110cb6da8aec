"""Rows against a reference: what has moved beyond the noise, and how well the one is told from the other.

A reference is a bounded, seeded sample of the very rows that a model was trained on, or of another season's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.monitoring.distances import Columns, Moved, Noise, Part, blocks, encoded, measure, noise_of, telling_apart
from pipelines.monitoring.observations import Drift, Reference
from pipelines.monitoring.sampling import sample
from pipelines.use_case import PARTITION, Monitoring, UseCase, features_table
from pipelines.workspace import Model, StageRun

if TYPE_CHECKING:
    from pandas import DataFrame

PREDICTION = "probability"
_POOL = 10  # times the sample: training rows that parts as long as a window are taken from


@dataclass(frozen=True)
class Parts:
    """Parts of a reference as long as a window, and what they are from the rest of it, also to a classifier by its columns."""

    drawn: list[Part]
    noise: dict[str, Noise]
    told_apart: dict[tuple[str, ...], float] = field(default_factory=dict)


Alike = dict[tuple[int, int], Parts]  # of one reference and its columns, by a window's partitions and rows: told once


@dataclass(frozen=True)
class Compared:
    """Rows against a reference, by column: what moved, and the sides and parts that said so."""

    moved: dict[str, Moved]
    pool: Columns
    known: Columns
    now: Columns
    parts: Parts
    seed: int

    def told_apart(self, names: Sequence[str]) -> tuple[float, float]:
        """How well the rows, and parts of the reference, are told from the reference by these columns."""
        if not names:
            return 0.5, 0.5
        known, columns = self.parts.told_apart, tuple(names)
        if columns not in known:
            sides = [_sides(self.pool, part) for part in self.parts.drawn[:2]]
            known[columns] = max(telling_apart(*each, names, self.seed) for each in sides)
        return telling_apart(self.known, self.now, names, self.seed), known[columns]


def compare(
    use_case: UseCase,
    names: Sequence[str],
    current: DataFrame,
    reference: DataFrame,
    partitions: int,
    alike: Alike | None = None,
) -> Compared:
    """Rows of so many partitions; the reference's first rows are compared, all of them tell the noise, kept in `alike`."""
    settings, seed, alike = use_case.monitoring, use_case.training.seed, {} if alike is None else alike
    categorical = [c for c in names if is_category(use_case, reference, c)]
    pool, now = encoded(reference, current, names, categorical)
    window = partitions, len(current)
    if window not in alike:
        days = reference[PARTITION].astype(str).tolist() if PARTITION in reference else [str(n) for n in range(len(reference))]
        drawn = list(blocks(days, partitions, len(current), seed))
        alike[window] = Parts(drawn, noise_of(pool, categorical, drawn))
    known = {name: values[: settings.sample_rows] for name, values in pool.items()}
    moved = measure(alike[window].noise, known, now, categorical, settings.max_drift_distance)
    return Compared(moved, pool, known, now, alike[window], seed)


def _sides(pool: Columns, part: Part) -> tuple[Columns, Columns]:
    block, rest = part
    return {n: v[rest] for n, v in pool.items()}, {n: v[block] for n, v in pool.items()}


def is_category(use_case: UseCase, rows: DataFrame, name: str) -> bool:
    from pandas.api.types import is_numeric_dtype

    return name in use_case.features.categorical or not is_numeric_dtype(rows[name])


def moved_from(settings: Monitoring, seen: Drift | Reference | None) -> bool:
    """From the champion's training rows, or from another reference, which no classifier tells apart."""
    return seen is not None and (
        seen.prediction_drift > settings.max_prediction_drift
        or seen.drifted_share > settings.max_drifted_share
        or (isinstance(seen, Drift) and (seen.told_apart or 0) - (seen.told_apart_noise or 0) > settings.max_told_apart)
    )


def has_drifted(settings: Monitoring, found: Moved) -> bool:
    return (found.real and found.distance > settings.max_drift_distance) or abs(found.nulls) > settings.max_null_change


def training_rows(run: StageRun, model: Model) -> DataFrame:
    """Of the same rows that the champion was trained on, from the very table version."""
    table, size = features_table(run.use_case), _POOL * run.use_case.monitoring.sample_rows
    names = list(dict.fromkeys([*model.meta["features"], *run.use_case.features.segments]))
    rows = sample(run, table, model.meta["partitions"], model.meta["versions"][table], names, size)
    return rows.reset_index(drop=True)


def predicted(model: Model, rows: DataFrame) -> DataFrame:
    return rows.assign(**{PREDICTION: model.predict(rows)})
