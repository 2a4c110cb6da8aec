"""Drift: has the data moved away from the rows that the champion learnt from, and have the predictions?

A distance between a bounded, seeded sample of the window and one of the champion's own training rows, beyond what parts of the
training rows as long as the window are from the rest: its verdict changes neither with the number of rows nor with the weather.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.monitoring.comparison import PREDICTION, Alike, compare, has_drifted, predicted, training_rows
from pipelines.monitoring.drift_page import draw, evidently
from pipelines.monitoring.mending import with_present
from pipelines.monitoring.observations import Drift, Monitored, latest
from pipelines.monitoring.references import baseline, season
from pipelines.monitoring.sampling import sample
from pipelines.monitoring.slicing import slice_faults
from pipelines.monitoring.windows import Served, per_window, served
from pipelines.use_case import UseCase, features_table, monitoring_table
from pipelines.workspace import Model, StageRun, published_definitions, refuse_other_definitions

if TYPE_CHECKING:
    from pandas import DataFrame

_DRAWN = 4  # features on Evidently's page, the furthest


@dataclass(frozen=True)
class _Reference:
    """A model, a sample of the rows it was trained on with its predictions, and what parts of them differ by."""

    model: Model
    rows: DataFrame
    alike: Alike = field(default_factory=dict)


_Trained = Callable[[int], _Reference]  # by version


def measure_drifts(run: StageRun) -> dict[str, Drift | None]:
    """`measure_drift` of each of the run's windows, by key: what a version was trained on is read once."""
    return per_window(partial(measure_drift, trained=cache(partial(_trained, run))))(run)


def measure_drift(run: StageRun, trained: _Trained | None = None) -> Drift | None:
    """Compare what was served in the window with the training rows of the version that served; None while it is not over.

    An unchanged window is not measured twice: the monitoring DAG runs again when outcomes come in.
    """
    seen = served(run)
    if seen is None:
        return None
    history = latest(run.workspace, run.use_case)
    known = history.get(run.key)
    if known and known.drift and known.drift.model_version == seen.version and _is_newer(run, seen):
        drift = known.drift
    else:
        reference = (trained or partial(_trained, run))(seen.version)
        drift = _compare(run, _served_features(run, reference.model, seen), reference, seen)
    return with_present(run, seen, drift, _before(run, history))


def _trained(run: StageRun, version: int) -> _Reference:
    model = run.registry.load(run.use_case.name, version)
    return _Reference(model, predicted(model, training_rows(run, model)))


def _before(run: StageRun, history: Mapping[str, Monitored]) -> list[Monitored]:
    """The windows before that are as long."""
    return [w for key, w in history.items() if key < run.key and run.use_case.period(key).grain is run.use_case.window]


def _served_features(run: StageRun, model: Model, seen: Served) -> DataFrame:
    """A sample of the features that were served from: of the version that each row names; of the newest where it is from before
    it did."""
    import pandas as pd

    found, table = [], features_table(run.use_case)
    names = list(dict.fromkeys([*model.meta["features"], *run.use_case.features.segments]))
    for version, rows in seen.built.items():
        known = published_definitions(run.lake, table, rows, version)
        refuse_other_definitions(run.registry, run.use_case, model, known)
        size = max(1, round(run.use_case.monitoring.sample_rows * sum(rows.values()) / seen.rows))
        found.append(sample(run, table, rows, version, names, size))
    return pd.concat(found, ignore_index=True)


def _is_newer(run: StageRun, seen: Served) -> bool:
    """Whether the window was measured after all of it was served: a partition may be caught up later."""
    measured = run.lake.published(monitoring_table(run.use_case), run.key)
    at = measured.record.read_at if measured else None
    return at is not None and (seen.made_at is None or seen.made_at <= datetime.fromisoformat(at))


def rehearse(use_case: UseCase, model: Model, rows: DataFrame) -> None:
    """The comparison, of one half of the rows with the other. Raises whatever would stop it."""
    rows = predicted(model, rows.sample(min(use_case.monitoring.sample_rows, len(rows)), random_state=use_case.training.seed))
    halves = rows.iloc[::2].reset_index(drop=True), rows.iloc[1::2].reset_index(drop=True)
    moved = compare(use_case, [*model.meta["features"], PREDICTION], *halves, 1).moved
    evidently(use_case, *halves, [PREDICTION])
    unknown = [name for name, found in moved.items() if not 0 <= found.distance < float("inf")]
    if unknown:
        raise PermanentError(f"{use_case.name}: no distance can be told of {', '.join(unknown)}")


def _compare(run: StageRun, current: DataFrame, known: _Reference, seen: Served) -> Drift:
    """On the model's own features: those that came after it are named, and compared once a model knows them."""
    model, reference = known.model, known.rows
    features, partitions = model.meta["features"], len(seen.partitions)
    current = predicted(model, current)
    found = compare(run.use_case, [*features, PREDICTION], current, reference, partitions, known.alike)
    moved, (apart, apart_noise) = found.moved, found.told_apart([n for n in features if n in run.use_case.features.expressions])
    moving = tuple(name for name in features if name not in run.use_case.features.expressions)
    judged = [name for name in features if name not in moving]
    drifted = tuple(sorted(name for name in judged if has_drifted(run.use_case.monitoring, moved[name])))
    gone, slice_nulls = slice_faults(reference, current, judged, run.use_case.features.segments, found.parts.drawn)
    shown = sorted(features, key=lambda name: -moved[name].distance)[:_DRAWN]
    return Drift(
        model_version=model.version,
        drifted_share=len(drifted) / max(len(judged), 1),
        drifted=drifted,
        prediction_drift=moved[PREDICTION].distance if moved[PREDICTION].real else 0.0,
        distances={name: found.distance for name, found in moved.items()},
        report=draw(run, model.version, current, reference.head(len(current)), [*shown, PREDICTION]),
        not_compared=tuple(name for name in run.use_case.features.names if name not in features),
        noise={name: found.noise for name, found in moved.items()},
        moving=moving,
        moving_effect=_effect(model, current, reference, moving),
        nulls={name: moved[name].nulls for name in judged if moved[name].nulls},
        unseen={name: moved[name].unseen for name in judged if moved[name].unseen},
        factors={name: times for name in judged if (times := moved[name].factor)},
        slices_gone=gone,
        slice_nulls=slice_nulls,
        sources=sources(run.use_case),
        told_apart=apart,
        told_apart_noise=apart_noise,
        rows=seen.rows,
        partitions=partitions,
        estimated_log_loss=seen.promised,
        estimate_error=seen.promised_error,
        baseline=baseline(run, model, current, partitions),
        season=season(run, model, current, partitions),
    )


def _effect(model: Model, current: DataFrame, reference: DataFrame, moving: Sequence[str]) -> float | None:
    """What features that must move did to the mean prediction: as it is, minus with their values of the reference."""
    import numpy as np

    if not moving:
        return None
    before = {name: np.resize(reference[name].to_numpy(), len(current)) for name in moving}
    return float(current[PREDICTION].mean() - model.predict(current.assign(**before)).mean())


def sources(use_case: UseCase) -> dict[str, str]:
    """By feature that is an expression, its table: that of the first join of which it names a column, else the entity's."""
    spec = use_case.features
    named = [(alias, join.table) for join in spec.joins for alias in join.columns]
    return {
        name: next((table for alias, table in named if re.search(rf"\b{re.escape(alias)}\b", text)), spec.entity)
        for name, text in spec.expressions.items()
    }
