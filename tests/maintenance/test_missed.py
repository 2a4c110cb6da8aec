"""What a stage missed while its DAG got no events is found in the tables, and nothing else is."""

from __future__ import annotations

from pipelines import ingestion
from pipelines.commands import stages
from pipelines.labels import publish_labels
from pipelines.maintenance import missed
from pipelines.monitoring import measure_drift, publish_windows
from pipelines.results import to_json
from pipelines.scoring import score
from pipelines.use_case import Grain, Partition, UseCase
from pipelines.workspace import StageRun, Workspace
from tests import synthetic
from tests.conftest import FIRST_TRAINING, World, changed


def run(world: World, number: int) -> StageRun:
    return StageRun(world.workspace, world.use_case, world.days[number])


def test_what_was_built_and_not_served_is_told_to_scoring_from_the_first_champion_on(one_champion: World) -> None:
    world, first = one_champion, FIRST_TRAINING + 1
    served = {first, first + 2}
    for number in served:
        score(run(world, number))
        stages.run_monitoring(run(world, number))
    asked = [day.key for number, day in enumerate(world.days) if number >= first and number not in served]
    assert missed(world.workspace, world.use_case) == {"features": asked}


def test_a_window_that_was_served_and_not_measured_is_told_to_monitoring(one_champion: World) -> None:
    world = one_champion
    world.workspace.clock.set(world.days[-1].ends_at(world.use_case.timezone))
    for number in range(FIRST_TRAINING + 1, 14):
        score(run(world, number))
        if number != FIRST_TRAINING + 2:
            stages.run_monitoring(run(world, number))
    assert missed(world.workspace, world.use_case) == {"predictions": [world.days[FIRST_TRAINING + 2].key]}
    stages.run_monitoring(run(world, FIRST_TRAINING + 2))
    assert missed(world.workspace, world.use_case) == {}


def test_a_window_whose_labels_came_while_nobody_looked_is_told_again(one_champion: World) -> None:
    seen = run(one_champion, FIRST_TRAINING + 1)
    score(seen)
    publish_windows(seen, {seen.key: to_json(measure_drift(seen))}, {seen.key: None})  # as before there were any
    assert missed(one_champion.workspace, one_champion.use_case)["predictions"] == [seen.key]
    stages.run_monitoring(seen)
    assert "predictions" not in missed(one_champion.workspace, one_champion.use_case)


def test_what_has_no_labels_yet_or_is_not_over_is_left_alone(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[-1].next
    world.workspace.clock.set(day.ends_at(world.use_case.timezone))
    rows = synthetic.features(day, synthetic.parcels(day)[0])
    synthetic.publish_features(world.workspace, world.use_case, day, rows)
    today = StageRun(world.workspace, world.use_case, day)
    score(today)
    stages.run_monitoring(today)
    assert "predictions" not in missed(world.workspace, world.use_case)
    by_week = changed(world.use_case, "monitoring", window="week")
    assert Partition.of(day.start, Grain.WEEK).end > day.end
    assert "predictions" not in missed(world.workspace, by_week)


def test_what_came_and_was_neither_built_nor_labelled_is_told_to_both(workspace: Workspace, use_case: UseCase) -> None:
    days = synthetic.days(use_case, 6)
    assert missed(workspace, use_case) == {}
    for day in days:
        synthetic.arrive(workspace, day, rows=20)
        ingestion.ingest_all(StageRun(workspace, use_case, day))
    workspace.clock.set(days[4].ends_at(use_case.timezone))
    found = missed(workspace, use_case)
    assert days[4].key in found["shipments"]
    for day in (later := synthetic.days(use_case, 8)[6:]):
        synthetic.put(workspace, "shipments", day, synthetic.parcels(day, 20)[0])
        ingestion.ingest(StageRun(workspace, use_case, day), "shipments")
    assert later[0].key in missed(workspace, use_case)["shipments"]
    assert later[1].key not in missed(workspace, use_case)["shipments"], "it waits for the outcomes of the day before"
    labelled = found["deliveries"]
    for key in labelled[1:]:
        publish_labels(StageRun(workspace, use_case, use_case.partition(key)))
    assert missed(workspace, use_case)["deliveries"] == labelled[:1]
