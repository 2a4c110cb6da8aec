"""An input came: is there anything to build now? Asked of the tables; a run that was started too early ends with the reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pipelines import features, ingestion
from pipelines.ingestion import looking
from pipelines.use_case import Partition, UseCase, features_table
from pipelines.workspace import CommitRecord, StageRun, Workspace
from tests import synthetic


@pytest.fixture
def days(use_case: UseCase) -> list[Partition]:
    return synthetic.days(use_case, 4)


def take(workspace: Workspace, use_case: UseCase, day: Partition, *sources: str) -> StageRun:
    """Ingest what these sources sent, shortly after the day that follows began."""
    run = StageRun(workspace, use_case, day)
    for source in sources:
        ingestion.ingest(run, source)
    return run


def built(run: StageRun) -> None:
    """Features as if the job had been run by today's plan."""
    plan = features.plan(run)
    table = features_table(run.use_case)
    for part in run.partitions:
        shipments, _ = synthetic.parcels(part)
        synthetic.publish_features(run.workspace, run.use_case, part, synthetic.features(part, shipments))
        commit = run.lake.published(table, part.key)
        assert commit
        record = replace(commit.record, plan=plan.uri)
        run.lake.publish(table, part.key, run.lake.published_files(table, part.key), record)


@pytest.fixture
def two_days(workspace: Workspace, use_case: UseCase, days: list[Partition]) -> list[StageRun]:
    """All sources of the first day, which is built; plan and reference data of the second."""
    for day in days:
        synthetic.arrive(workspace, day)
    workspace.clock.set(days[1].starts_at("UTC") + timedelta(minutes=5))
    first = take(workspace, use_case, days[0], "shipments", "carriers", "deliveries")
    built(first)
    return [first, take(workspace, use_case, days[1], "shipments")]


def test_each_missing_input_is_named_and_the_last_one_makes_it_ready(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    for day in days:
        synthetic.arrive(workspace, day)
    workspace.clock.set(days[1].starts_at("UTC") + timedelta(minutes=5))
    run = take(workspace, use_case, days[0], "deliveries")
    assert "parcels/shipments 2024-03-01: not published" in str(features.unready(run))
    take(workspace, use_case, days[0], "shipments")
    assert "parcels/carriers was never published" in str(features.unready(run))
    take(workspace, use_case, days[0], "carriers")
    assert features.unready(run) is None


def test_what_is_built_from_these_very_inputs_is_not_built_again(two_days: list[StageRun]) -> None:
    first, _ = two_days
    assert str(features.unready(first)).endswith("they are built from these very inputs already")
    corrected = synthetic.parcels(first.partition)[0].assign(pieces=3)
    synthetic.put(first.workspace, "shipments", first.partition, corrected)
    ingestion.ingest(first, "shipments")
    assert features.unready(first) is None, "its own plan was corrected"


def test_the_plan_of_a_day_comes_before_the_outcomes_of_the_day_before(two_days: list[StageRun]) -> None:
    """Outcomes of day 1 were read after it ended, so day 2 is ready; day 3 waits for those of day 2, whose coming names it."""
    first, second = two_days
    assert features.unready(second) is None
    assert features.affected(first) == [second.key], "it waited for the outcomes of the day before"
    built(second)
    assert features.affected(first) == []
    third = take(first.workspace, first.use_case, second.partition.next, "shipments")
    assert "parcels/deliveries is not published for 2024-03-02" in str(features.unready(third))
    third.workspace.clock.set(third.partition.starts_at("UTC") + timedelta(minutes=5))
    take(first.workspace, first.use_case, second.partition, "deliveries")
    assert "was read too early for 2024-03-01" in str(features.unready(third)), "it was a part, and is complete by now"
    take(first.workspace, first.use_case, first.partition, "deliveries")
    assert features.affected(first) == [third.key]


def test_outcomes_that_are_read_again_once_complete_make_nothing_stale(two_days: list[StageRun]) -> None:
    """What became known after the cut-off was not counted, so it is no correction of what was built."""
    first, second = two_days
    built(second)
    first.workspace.clock.set(first.partition.ends_at("UTC") + timedelta(days=1))
    ingestion.ingest(first, "deliveries")
    assert features.affected(first) == []
    assert features.unready(second) is not None


def test_outcomes_that_were_corrected_name_the_later_day_that_stands_on_them(two_days: list[StageRun]) -> None:
    first, second = two_days
    built(second)
    deliveries = synthetic.parcels(first.partition)[1]
    synthetic.put(first.workspace, "deliveries", first.partition, deliveries.assign(delay=deliveries.delay + 90))
    ingestion.ingest(first, "deliveries")
    assert features.affected(first) == [second.key]
    assert features.unready(second) is None


def test_features_of_which_nobody_knows_what_they_stand_on_are_built_again(two_days: list[StageRun]) -> None:
    first, _ = two_days
    table = features_table(first.use_case)
    first.lake.publish(table, first.key, first.lake.published_files(table, first.key), CommitRecord(run="before"))
    assert features.unready(first) is None


def test_what_came_at_once_is_planned_at_once_as_far_as_all_is_there(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    """Three days after an outage; the outcomes of the last one but one are late, so the last one waits."""
    for day in days:
        synthetic.arrive(workspace, day)
    workspace.clock.set(days[3].starts_at("UTC") + timedelta(minutes=5))
    run = take(workspace, use_case, days[0], "shipments", "carriers", "deliveries")
    for day in days[1:]:
        take(workspace, use_case, day, "shipments")
    take(workspace, use_case, days[1], "deliveries")
    assert features.plan_due(run).period == f"{days[0].key}--{days[2].key}"
    take(workspace, use_case, days[2], "deliveries")
    assert features.plan_due(run).period == f"{days[0].key}--{days[3].key}"
    assert features.plan(run).period == days[0].key, "what a person asks for is what is built"
    built(StageRun(workspace, use_case, days[1]))
    assert features.plan_due(run).period == days[0].key


def test_a_part_that_nobody_sent_again_is_read_again_after_midnight_so_that_the_next_day_does_not_wait_for_ever(
    workspace: Workspace, use_case: UseCase, days: list[Partition], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read at eight in the evening, and all had been delivered by then: the file is the same, and nothing is missing in it."""
    monkeypatch.setattr(looking, "_PAUSE", 0.0)
    for day in days[:2]:
        synthetic.arrive(workspace, day)
    workspace.clock.set(days[0].starts_at("UTC") + timedelta(hours=20))
    take(workspace, use_case, days[0], "shipments", "carriers", "deliveries")
    assert ingestion.look(workspace, use_case, "deliveries") == [days[1].key], "nothing new of the first day, before midnight"
    workspace.clock.set(days[1].starts_at("UTC") + timedelta(minutes=5))
    second = take(workspace, use_case, days[1], "shipments")
    assert "was read too early for 2024-03-01" in str(features.unready(second))
    assert days[0].key in ingestion.look(workspace, use_case, "deliveries")
    take(workspace, use_case, days[0], "deliveries")
    assert features.unready(second) is None
    assert days[0].key not in ingestion.look(workspace, use_case, "deliveries")


def test_what_is_not_sent_in_parts_and_was_read_before_it_was_complete_is_waited_for(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    """Half a file at noon is complete at the start of day 3, as declared: who builds day 3 first would count it."""
    source = use_case.sources["deliveries"].model_copy(update={"in_parts": False})
    once = use_case.model_copy(update={"sources": {**use_case.sources, "deliveries": source}})
    for day in days:
        synthetic.arrive(workspace, day)
    workspace.clock.set(days[0].starts_at("UTC") + timedelta(hours=12))
    first = take(workspace, once, days[0], "shipments", "carriers", "deliveries")
    workspace.clock.set(days[2].starts_at("UTC") + timedelta(minutes=5))
    take(workspace, once, days[1], "shipments")
    third = take(workspace, once, days[2], "shipments")
    assert "was read too early for 2024-03-01" in str(features.unready(third))
    ingestion.ingest(first, "deliveries")
    assert features.unready(third) is None
