"""Drift: has the data moved away from the rows that the champion learnt from, and have the predictions?

A distance between a bounded, seeded sample of the window and one of the champion's own training rows, beyond what parts of the
training rows as long as the window are from the rest: its verdict changes neither with the number of rows nor with the weather.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.monitoring.distances import Columns, Moved, Part, blocks, encoded, measure, telling_apart
from pipelines.monitoring.observations import Drift, latest
from pipelines.monitoring.sampling import sample
from pipelines.monitoring.windows import Served, served
from pipelines.use_case import PARTITION, UseCase, features_table, monitoring_table
from pipelines.workspace import Model, StageRun, published_definitions, refuse_other_definitions, write_bytes

if TYPE_CHECKING:
    from pandas import DataFrame

PREDICTION = "probability"
_POOL = 10  # times the sample: training rows that parts as long as a window are taken from
_DRAWN = 8  # features on Evidently's page, the furthest


def measure_drift(run: StageRun) -> Drift | None:
    """Compare what was served in the window with the training rows of the version that served; None while it is not over.

    An unchanged window is not measured twice: the monitoring DAG runs again when outcomes come in.
    """
    seen = served(run)
    if seen is None:
        return None
    known = latest(run.workspace, run.use_case).get(run.key)
    if known and known.drift and known.drift.model_version == seen.version and _is_newer(run, seen):
        return known.drift
    model = run.registry.load(run.use_case.name, seen.version)
    current, reference = _served_features(run, model, seen), _reference(run, model)
    return _compare(run, model, _predicted(model, current), _predicted(model, reference), seen)


def _served_features(run: StageRun, model: Model, seen: Served) -> DataFrame:
    """A sample of the features that were served from: of the version that each row names; of the newest where it is from before
    it did."""
    import pandas as pd

    found, table = [], features_table(run.use_case)
    for version, rows in seen.built.items():
        known = published_definitions(run.lake, table, rows, version)
        refuse_other_definitions(run.registry, run.use_case, model, known)
        size = max(1, round(run.use_case.monitoring.sample_rows * sum(rows.values()) / seen.rows))
        found.append(sample(run, table, rows, version, model.meta["features"], size))
    return pd.concat(found, ignore_index=True)


def _is_newer(run: StageRun, seen: Served) -> bool:
    """Whether the window was measured after all of it was served: a partition may be caught up later."""
    measured = run.lake.published(monitoring_table(run.use_case), run.key)
    at = measured.record.read_at if measured else None
    return at is not None and (seen.made_at is None or seen.made_at <= datetime.fromisoformat(at))


def _reference(run: StageRun, model: Model) -> DataFrame:
    """Of the same rows that the champion was trained on, from the very table version."""
    table, size = features_table(run.use_case), _POOL * run.use_case.monitoring.sample_rows
    rows = sample(run, table, model.meta["partitions"], model.meta["versions"][table], model.meta["features"], size)
    return rows.reset_index(drop=True)


def _predicted(model: Model, rows: DataFrame) -> DataFrame:
    return rows.assign(**{PREDICTION: model.predict(rows)})


def rehearse(use_case: UseCase, model: Model, rows: DataFrame) -> None:
    """The comparison, of one half of the rows with the other. Raises whatever would stop it."""
    rows = _predicted(model, rows.sample(min(use_case.monitoring.sample_rows, len(rows)), random_state=use_case.training.seed))
    halves = rows.iloc[::2].reset_index(drop=True), rows.iloc[1::2].reset_index(drop=True)
    moved, _ = _moved(use_case, model, *halves, 1)
    _evidently(use_case, *halves, [PREDICTION])
    unknown = [name for name, found in moved.items() if not 0 <= found.distance < float("inf")]
    if unknown:
        raise PermanentError(f"{use_case.name}: no distance can be told of {', '.join(unknown)}")


def _moved(
    use_case: UseCase, model: Model, current: DataFrame, reference: DataFrame, partitions: int
) -> tuple[dict[str, Moved], tuple[float, float]]:
    """Of the model's features and its predictions; and how well current rows, and parts of the reference, are told apart."""
    names, settings = [*model.meta["features"], PREDICTION], use_case.monitoring
    categorical = [c for c in names if _is_category(use_case, reference, c)]
    pool, now = encoded(reference, current, names, categorical)
    days = reference[PARTITION].astype(str).tolist() if PARTITION in reference else [str(n) for n in range(len(reference))]
    parts = list(blocks(days, partitions, len(current), use_case.training.seed))
    known = {name: values[: settings.sample_rows] for name, values in pool.items()}
    moved = measure(pool, known, now, categorical, parts, settings.max_drift_distance)
    judged = [name for name in model.meta["features"] if name in use_case.features.expressions]
    apart = [telling_apart(*_sides(pool, part), judged, use_case.training.seed) for part in parts[:2]] if judged else [0.5]
    return moved, (telling_apart(known, now, judged, use_case.training.seed) if judged else 0.5, max(apart))


def _sides(pool: Columns, part: Part) -> tuple[Columns, Columns]:
    block, rest = part
    return {n: v[rest] for n, v in pool.items()}, {n: v[block] for n, v in pool.items()}


def _is_category(use_case: UseCase, rows: DataFrame, name: str) -> bool:
    from pandas.api.types import is_numeric_dtype

    return name in use_case.features.categorical or not is_numeric_dtype(rows[name])


def _compare(run: StageRun, model: Model, current: DataFrame, reference: DataFrame, seen: Served) -> Drift:
    """On the model's own features: those that came after it are named, and compared once a model knows them."""
    settings, features, partitions = run.use_case.monitoring, model.meta["features"], len(seen.partitions)
    moved, (apart, apart_noise) = _moved(run.use_case, model, current, reference, partitions)
    moving = tuple(name for name in features if name not in run.use_case.features.expressions)
    judged = [name for name in features if name not in moving]
    drifted = tuple(
        sorted(name for name in judged if _has_drifted(moved[name], settings.max_drift_distance, settings.max_null_change))
    )
    shown = sorted(features, key=lambda name: -moved[name].distance)[:_DRAWN]
    return Drift(
        model_version=model.version,
        drifted_share=len(drifted) / max(len(judged), 1),
        drifted=drifted,
        prediction_drift=moved[PREDICTION].distance if moved[PREDICTION].real else 0.0,
        distances={name: found.distance for name, found in moved.items()},
        report=_report(run, model, current, reference.head(len(current)), [*shown, PREDICTION]),
        not_compared=tuple(name for name in run.use_case.features.names if name not in features),
        noise={name: found.noise for name, found in moved.items()},
        moving=moving,
        moving_effect=_effect(model, current, reference, moving),
        nulls={name: moved[name].nulls for name in judged if moved[name].nulls},
        unseen={name: moved[name].unseen for name in judged if moved[name].unseen},
        factors={name: found for name in judged if (found := moved[name].factor)},
        sources=sources(run.use_case),
        told_apart=apart,
        told_apart_noise=apart_noise,
        rows=seen.rows,
        partitions=partitions,
        estimated_log_loss=seen.promised,
        estimate_error=seen.promised_error,
    )


def _has_drifted(found: Moved, most: float, most_nulls: float) -> bool:
    return (found.real and found.distance > most) or abs(found.nulls) > most_nulls


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


def _report(run: StageRun, model: Model, current: DataFrame, reference: DataFrame, columns: list[str]) -> str:
    """Evidently's page of the furthest features, in the reports folder."""
    report = f"{run.use_case.name}/drift/{run.key}-v{model.version}.html"
    # Evidently raises for the whole report at a column without values.
    usable = [c for c in columns if not current[c].isna().all() and not reference[c].isna().all()]
    _, page = _evidently(run.use_case, current, reference, usable)
    write_bytes(f"{run.workspace.environment.reports}/{report}", page.encode())
    return report


def _evidently(use_case: UseCase, current: DataFrame, reference: DataFrame, columns: list[str]) -> tuple[dict[str, float], str]:
    """Distance per column (normed Wasserstein, Jensen-Shannon for categories) and the report's page."""
    os.environ.setdefault("DO_NOT_TRACK", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        categorical = [c for c in columns if _is_category(use_case, reference, c)]
        definition = DataDefinition(
            numerical_columns=[c for c in columns if c not in categorical], categorical_columns=categorical
        )
        limit = use_case.monitoring.max_drift_distance
        preset = DataDriftPreset(
            columns=columns, num_method="wasserstein", cat_method="jensenshannon", num_threshold=limit, cat_threshold=limit
        )
        datasets = [Dataset.from_pandas(f[columns], data_definition=definition) for f in (current, reference)]
        snapshot = Report([preset], include_tests=False).run(*datasets)
        found = {
            m["config"]["column"]: float(m["value"])
            for m in snapshot.dict()["metrics"]
            if m["config"]["type"].endswith(":ValueDrift")
        }
        return found, str(snapshot.get_html_str(as_iframe=False))
