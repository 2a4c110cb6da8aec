"""Training: which rows are seen by what, in which order, and whether it can be repeated."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import PermanentError
from pipelines.results import from_json, to_json
from pipelines.training import Trained, TrainingPlan, TrainingRun, plan_training, provenance, train_candidate
from pipelines.training.estimators import evaluate_on, fit
from pipelines.training.search import search, time_folds
from pipelines.use_case import UseCase
from pipelines.workspace import CommitRecord, StageRun
from tests import synthetic
from tests.conftest import World, changed


def _dates(days: int, per_day: int = 3) -> pd.Series:
    return pd.Series(np.repeat([date(2024, 1, 1) + timedelta(days=n) for n in range(days)], per_day))


@pytest.mark.parametrize(("days", "folds"), [(3, 2), (4, 3), (7, 3), (30, 2), (90, 5)])
def test_validation_is_always_newer_than_what_was_fitted_on(days: int, folds: int) -> None:
    dates = _dates(days)
    found = time_folds(dates, folds)
    assert len(found) == folds
    for before, after in found:
        assert before.any()
        assert after.any()
        assert dates[before].max() < dates[after].min()


@pytest.mark.parametrize(("days", "folds"), [(7, 3), (90, 5)])
def test_folds_grow_and_no_day_is_validated_twice(days: int, folds: int) -> None:
    dates = _dates(days)
    found = time_folds(dates, folds)
    validated = [set(dates[after]) for _, after in found]
    assert len(set.union(*validated)) == sum(map(len, validated))
    sizes = [int(before.sum()) for before, _ in found]
    assert sizes == sorted(sizes)
    assert max(dates) in validated[-1]


def test_too_few_days_for_the_folds_is_said() -> None:
    with pytest.raises(PermanentError, match=r"3 days are too few for 3 folds; lower training\.folds"):
        time_folds(_dates(3), 3)


def test_the_plan_pins_partitions_versions_and_the_split(published: World) -> None:
    world, day = published, published.days[7]
    training = world.training(7)
    plan = training.plan
    assert plan.partitions == tuple(d.key for d in world.days[:8])
    assert plan.holdout_from == world.days[5].key  # three days of holdout: 5, 6 and 7
    assert plan.trained_through == day.key
    assert plan.champion is None
    assert plan.rows == len(training.rows.all)
    assert from_json(TrainingPlan, to_json(plan)) == plan


def test_only_partitions_with_features_and_labels_are_planned(published: World) -> None:
    world, late = published, synthetic.days(published.use_case, 15)[14]
    shipments, _ = synthetic.parcels(late)
    synthetic.publish_features(world.workspace, world.use_case, late, synthetic.features(late, shipments))
    with pytest.raises(PermanentError, match="no features and labels"):
        plan_training(StageRun(world.workspace, world.use_case, late))
    assert late.key not in plan_training(StageRun(world.workspace, world.use_case, world.days[13])).partitions


def test_too_few_partitions_are_refused_and_too_many_left_out(published: World) -> None:
    world = published
    with pytest.raises(PermanentError, match=r"4 days .* training.min_history is 5 days"):
        plan_training(StageRun(world.workspace, world.use_case, world.days[3]))
    newest = changed(world.use_case, "training", max_history=timedelta(days=6))
    plan = plan_training(StageRun(world.workspace, newest, world.days[9]))
    assert plan.partitions == tuple(d.key for d in world.days[4:10])


def test_a_training_may_be_about_a_longer_period(published: World) -> None:
    """The first week has all its days; the second one is not over."""
    world = published
    plan = plan_training(StageRun(world.workspace, world.use_case, world.use_case.period("2024-W10")))
    assert plan.partitions == tuple(d.key for d in world.days[:10])
    assert (plan.trained_through, plan.holdout_from) == (world.days[9].key, world.days[7].key)
    with pytest.raises(PermanentError, match="2024-W11: no features and labels"):
        plan_training(StageRun(world.workspace, world.use_case, world.use_case.period("2024-W11")))


def test_the_newest_days_are_the_holdout_and_no_row_is_on_both_sides(published: World) -> None:
    world = published
    training = world.training(7)
    plan, rows = training.plan, training.rows
    assert rows.fit["ship_date"].astype(str).max() < plan.holdout_from <= rows.holdout["ship_date"].astype(str).min()
    assert not set(rows.fit["shipment_id"]) & set(rows.holdout["shipment_id"])
    assert rows.all["ship_date"].is_monotonic_increasing


def test_a_holdout_that_leaves_nothing_to_fit_on_is_refused(published: World) -> None:
    world = published
    training = world.training(7, changed(world.use_case, "training", holdout_days=30))
    with pytest.raises(PermanentError, match=r"see training\.holdout_days"):
        assert training.rows


def _replace_labels(world: World, days: list[Any], change: Any) -> None:
    import pyarrow as pa

    for day in days:
        labels = world.workspace.lake.read("parcels/labels", [day.key]).to_pandas().drop(columns="partition")
        table = pa.Table.from_pandas(change(labels), preserve_index=False).replace_schema_metadata(None)
        staged = world.workspace.lake.stage("parcels/labels", day.key, table)
        world.workspace.lake.publish("parcels/labels", day.key, [staged], CommitRecord())


def _poison(labels: pd.DataFrame) -> pd.DataFrame:
    return labels.assign(label=1 - labels["label"])


def test_rows_are_those_of_the_plan_though_a_partition_is_published_anew(published: World) -> None:
    world = published
    training = world.training(7)
    before = training.rows.all
    synthetic.publish(world.workspace, world.use_case, world.days[4], rows=50, drift=300)
    later = TrainingRun(world.workspace, world.use_case, training.plan)
    pd.testing.assert_frame_equal(later.rows.all, before)
    assert len(world.training(7).rows.all) == len(before) - 70 + _missing(world, 4)


def _missing(world: World, day: int) -> int:
    """Unlabelled rows that came or went with the new publication."""
    old, new = (synthetic.parcels(world.days[day], rows=n)[1]["delay"].isna().sum() for n in (120, 50))
    return int(old - new)


def test_the_search_never_sees_the_holdout(published: World, simple_only: UseCase) -> None:
    """The holdout's labels are turned around: the search must not notice."""
    world = published
    searching = changed(simple_only, "training", trials=3)

    def trained() -> Trained:
        return train_candidate(world.training(7, searching), "logistic")

    honest = trained()
    _replace_labels(world, world.days[5:8], _poison)
    poisoned = trained()
    assert (poisoned.params, poisoned.folds_log_loss, poisoned.training) == (
        honest.params,
        honest.folds_log_loss,
        honest.training,
    )
    _replace_labels(world, world.days[4:5], _poison)
    assert trained().folds_log_loss != honest.folds_log_loss


@pytest.mark.parametrize("name", ["logistic", "boosting"])
def test_the_same_plan_and_seed_find_the_same(name: str, published: World) -> None:
    world = published
    rows = world.training(7).rows.fit
    candidate = world.use_case.training.candidates[name]
    if name == "boosting":
        candidate = candidate.model_copy(update={"params": {**candidate.params, "max_iter": 10}})
    first, second = (search(world.use_case, candidate, rows) for _ in range(2))
    assert first == second
    pipelines = [fit(world.use_case, candidate, first.params, rows) for _ in range(2)]
    scored = [evaluate_on(p, world.use_case, rows) for p in pipelines]
    assert scored[0] == scored[1]


def test_a_search_stops_at_its_trials_and_at_its_seconds(published: World, use_case: UseCase) -> None:
    rows = published.training(7).rows.fit
    logistic = use_case.training.candidates["logistic"]
    assert search(use_case, logistic, rows).trials == use_case.training.trials
    hurried = changed(use_case, "training", trials=1000, seconds=0.01)
    assert search(hurried, logistic, rows).trials < 5
    fixed = logistic.model_copy(update={"search": {}})
    found = search(use_case, fixed, rows)
    assert (found.params, found.trials) == ({}, 1)


def test_a_version_carries_what_serves_judges_and_rebuilds_it(one_champion: World) -> None:
    world = one_champion
    meta = world.workspace.registry.load("parcels", 1).meta
    assert tuple(meta["features"]) == world.use_case.features.names
    assert meta["trained_through"] == world.days[7].key
    assert meta["partitions"] == [d.key for d in world.days[:8]]
    assert set(meta["versions"]) == {"parcels/features", "parcels/labels"}
    assert meta["seed"] == world.use_case.training.seed
    assert len(meta["lock"]) == 16


def test_where_there_is_no_git_the_commit_is_told_or_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in the image: every candidate would crash on its first line otherwise."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_commit() == "unknown"
    monkeypatch.setenv("TRAINYARD_COMMIT", "4d6c3f0")
    assert provenance.git_commit() == "4d6c3f0"


def test_the_search_is_over_as_many_folds_as_are_declared(
    published: World, simple_only: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def folded(dates: Any, folds: int) -> Any:
        seen.append(folds)
        return time_folds(dates, 2)

    monkeypatch.setattr("pipelines.training.search.time_folds", folded)
    use_case = changed(simple_only, "training", folds=4)
    search(use_case, use_case.training.candidates["logistic"], published.training(7).rows.fit)
    assert seen == [4]
