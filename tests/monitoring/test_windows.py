"""Windows of monitoring: what is judged at a time may be longer than a partition, and has its own key."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pipelines.commands import stages
from pipelines.monitoring import comparison, drift, latest, measure_drift, measure_drifts, measure_performance, per_window
from pipelines.scoring import score
from pipelines.use_case import Grain, UseCase
from pipelines.workspace import StageRun
from tests import synthetic
from tests.conftest import World, changed


@pytest.fixture
def by_week(one_champion: World) -> World:
    """The champion serves from the Saturday of 2024-W10 on; each week is judged as one."""
    weekly = changed(one_champion.use_case, "monitoring", window=Grain.WEEK)
    return replace(one_champion, use_case=weekly)


def at(world: World, key: str, use_case: UseCase | None = None) -> StageRun:
    use_case = use_case or world.use_case
    return StageRun(world.workspace, use_case, use_case.period(key))


def test_a_window_is_measured_once_it_has_ended_whatever_of_it_was_never_served(by_week: World) -> None:
    """Of this week the first five days had no champion."""
    world = by_week
    saturday, sunday = world.days[8:10]
    world.workspace.clock.set(sunday.ends_at("UTC") - timedelta(seconds=1))
    score(at(world, saturday.key))
    assert stages.run_monitoring(at(world, saturday.key)) == []
    assert latest(world.workspace, world.use_case) == {}
    score(at(world, sunday.key))
    assert stages.run_monitoring(at(world, sunday.key)) == []
    world.workspace.clock.set(sunday.ends_at("UTC"))
    stages.run_monitoring(at(world, sunday.key))
    ((key, found),) = latest(world.workspace, world.use_case).items()
    assert key == "2024-W10"
    assert found.drift
    assert found.performance
    labels = world.workspace.lake.partitions("parcels/labels")
    assert found.performance.rows == 2 * synthetic.ROWS
    assert found.performance.labels == labels[saturday.key] + labels[sunday.key]
    again = stages.run_monitoring(at(world, saturday.key))
    assert again == [found], "measured anew, to the same"


def test_a_window_whose_partitions_are_all_there_is_measured_before_it_ends(by_week: World) -> None:
    world, days = by_week, synthetic.days(by_week.use_case, 17)
    world.workspace.clock.set(days[10].starts_at("UTC"))
    for day in days[10:]:
        assert measure_drift(at(world, "2024-W11")) is None
        shipments, _ = synthetic.parcels(day)
        synthetic.publish_features(world.workspace, world.use_case, day, synthetic.features(day, shipments))
        score(at(world, day.key))
    assert measure_drift(at(world, "2024-W11"))


def test_performance_waits_for_the_last_outcomes_of_its_window(by_week: World) -> None:
    """Planted: the labels of Wednesday are late. Drift does not wait for them."""
    world, days = by_week, synthetic.days(by_week.use_case, 17)
    for day in days[10:]:
        shipments, _ = synthetic.parcels(day)
        synthetic.publish_features(world.workspace, world.use_case, day, synthetic.features(day, shipments))
        score(at(world, day.key))
    assert measure_drift(at(world, "2024-W11"))
    for day in (days[16], days[14], days[15]):
        assert measure_performance(at(world, "2024-W11")) is None
        synthetic.publish_labels(world.workspace, world.use_case, day)
    found = measure_performance(at(world, "2024-W11"))
    assert found
    assert found.rows == 7 * synthetic.ROWS


def test_a_longer_run_reads_once_what_a_version_was_trained_on_and_tells_its_noise_once(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, read, told = one_champion, [], []
    for day in world.days[8:11]:
        score(at(world, day.key))
    rows = drift.training_rows
    monkeypatch.setattr(drift, "training_rows", lambda run, model: read.append(model.version) or rows(run, model))
    noise = comparison.noise_of
    monkeypatch.setattr(comparison, "noise_of", lambda *given: told.append(1) or noise(*given))
    longer = measure_drifts(at(world, f"{world.days[8].key}--{world.days[10].key}"))
    assert (read, told) == ([1], [1])
    assert longer == {day.key: measure_drift(at(world, day.key)) for day in world.days[8:11]}
    assert all(longer.values())
    assert (read, told) == ([1] * 4, [1] * 4)


def test_a_longer_run_measures_each_of_its_windows(by_week: World, one_champion: World) -> None:
    world = by_week
    for day in world.days[8:10]:
        score(at(world, day.key))
    measured = per_window(measure_performance)
    assert list(measured(at(world, "2024-03"))) == ["2024-W09", "2024-W10", "2024-W11", "2024-W12", "2024-W13"]
    found = measured(at(world, "2024-W10", one_champion.use_case))
    assert [key for key, seen in found.items() if seen] == [d.key for d in world.days[8:10]]
