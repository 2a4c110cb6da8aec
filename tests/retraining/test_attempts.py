"""From a decision to a training and back: started once, one at a time, tried again when it failed, and never stuck."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from pipelines import monitoring
from pipelines.results import from_json, to_json
from pipelines.retraining import RetrainingDecision, decide, record_failure, record_start
from pipelines.use_case import UseCase
from pipelines.workspace import Decision, Kind, StageRun
from tests.conftest import World, changed
from tests.retraining.test_retraining import drift, performance

NOW = datetime.fromisoformat("2024-03-13T06:00:00+00:00")


@pytest.fixture
def lost(one_champion: World) -> World:
    """Day 10 is monitored, and the champion lost."""
    one_champion.workspace.clock.set(NOW)
    run = StageRun(one_champion.workspace, one_champion.use_case, one_champion.days[10])
    monitoring.publish(run, drift(0.9), performance(auc=0.5))
    return one_champion


def asked(world: World, number: int, use_case: UseCase | None = None) -> RetrainingDecision:
    """Decided in a run of its own; a yes starts a training, as the DAG does."""
    run = StageRun(world.at(f"cron of day {number}"), use_case or world.use_case, world.days[number])
    decision = from_json(RetrainingDecision, to_json(decide(run)))
    if decision.retrain:
        record_start(run, decision)
    return decision


def ends(world: World, training: str | None, kind: Kind) -> None:
    assert training
    day = world.days[11].key
    if kind == Kind.FAILED:
        record_failure(StageRun(world.at(training), world.use_case, world.days[11]))
    else:
        world.workspace.ledger.record(Decision(f"{kind}/{training}", "parcels", kind, day, "because", "gates", training))


def test_a_yes_is_written_when_it_was_started_and_names_its_run(lost: World) -> None:
    decision = asked(lost, 10)
    row = lost.workspace.ledger.decisions("parcels")[-1]
    assert (row.kind, row.partition, row.run) == (Kind.STARTED, lost.days[10].key, f"retraining__{lost.days[10].key}__1")
    assert (row.why, row.evidence["asked_by"]) == (decision.why, "cron of day 10")
    record_start(StageRun(lost.at("a retry"), lost.use_case, lost.days[10]), decision)
    assert [d.kind for d in lost.workspace.ledger.decisions("parcels")].count(Kind.STARTED) == 1


def test_before_it_was_started_a_decision_names_the_same_run_again(lost: World) -> None:
    """Planted: the task that decides dies before the training was started, and runs again."""
    run = StageRun(lost.workspace, lost.use_case, lost.days[10])
    assert decide(run) == decide(run)


@pytest.mark.parametrize("number", [10, 11], ids=["the same decision", "the next decision"])
def test_while_a_training_is_under_way_no_second_one_is_started(lost: World, number: int) -> None:
    first = asked(lost, 10)
    found = asked(lost, number)
    assert (found.retrain, found.cause) == (False, "loss")
    assert f"not now: training {first.training_run} is under way; without an outcome by 2024-03-14 06:00" in found.why


def test_a_training_that_was_under_way_when_the_word_changed_is_known(lost: World) -> None:
    """A ledger from before says `retrained` of a start."""
    first = StageRun(lost.at("cron"), lost.use_case, lost.days[10])
    found = decide(first)
    old = Decision("retrained/1", "parcels", "retrained", found.partition, found.why, "policy", str(found.training_run))
    lost.workspace.ledger.record(old)
    assert "is under way" in decide(StageRun(lost.at("cron 2"), lost.use_case, lost.days[11])).why


@pytest.mark.parametrize("number", [10, 11], ids=["the same decision", "the next decision"])
def test_a_training_that_failed_is_tried_again_in_a_run_of_its_own(lost: World, number: int) -> None:
    """After a pause of a day: what failed counts as an attempt, and is no verdict."""
    first = asked(lost, 10)
    ends(lost, first.training_run, Kind.FAILED)
    assert "failed; the log of its failed task says why" in lost.workspace.ledger.decisions("parcels")[-1].why
    waits = asked(lost, number)
    assert "retraining__2024-03-11__1: The training retraining__2024-03-11__1 failed; the log" in waits.why
    assert "The next is possible from 2024-03-14 06:00 on, after a pause of 1 day." in waits.why
    lost.workspace.clock.set(NOW + timedelta(days=1))
    again = asked(lost, number)
    assert again.retrain
    assert again.training_run == f"retraining__{lost.days[number].key}__{2 if number == 10 else 1}"


def test_a_failure_that_was_written_before_its_start_ends_it_all_the_same(lost: World) -> None:
    """The training fails at its first task, before the task that started it has written that down."""
    run = StageRun(lost.workspace, lost.use_case, lost.days[10])
    first = decide(run)
    ends(lost, first.training_run, Kind.FAILED)
    record_start(run, first)
    lost.workspace.clock.set(NOW + timedelta(days=1))
    assert asked(lost, 11).retrain


@pytest.mark.parametrize("verdict", [Kind.KEPT, Kind.PROMOTED])
def test_after_a_verdict_its_windows_are_decided(lost: World, verdict: Kind) -> None:
    first = asked(lost, 10)
    ends(lost, first.training_run, verdict)
    for number in (10, 11):
        found = asked(lost, number)
        assert (found.retrain, found.evidence["windows"]) == (False, [])


def test_a_training_that_died_without_a_word_blocks_until_its_deadline(lost: World) -> None:
    """Planted: the machine died under it; no task of it wrote anything."""
    patient = changed(lost.use_case, "retraining", training_deadline=timedelta(hours=5))
    asked(lost, 10, patient)
    for hours, retrain, words in ((4, False, "under way"), (6, False, "it said nothing until its deadline"), (24, True, "")):
        lost.workspace.clock.set(NOW + timedelta(hours=hours))
        found = asked(lost, 11, patient)
        assert (found.retrain, words in found.why) == (retrain, True), found.why


def test_one_that_waits_for_an_answer_blocks_as_long_as_it_may_be_answered(lost: World) -> None:
    """Also one that was started by hand, of which the question is the first that the ledger hears."""
    strict = lost.use_case.model_copy(update={"approval": "required", "approval_deadline": timedelta(days=3)})
    question = Decision("asked/x", "parcels", Kind.ASKED, lost.days[10].key, "who?", "training", "by hand", model_version=2)
    lost.workspace.ledger.record(question)
    for days, retrain in ((0, False), (3, False), (5, True)):
        lost.workspace.clock.set(NOW + timedelta(days=days))
        assert decide(StageRun(lost.workspace, strict, lost.days[11])).retrain is retrain, days
    lost.workspace.clock.set(NOW)
    no = Decision("kept/x", "parcels", Kind.KEPT, lost.days[10].key, "no answer", "nobody", "by hand")
    lost.workspace.ledger.record(no)
    assert decide(StageRun(lost.workspace, strict, lost.days[11])).retrain
    lost.workspace.ledger.record(replace(question, id="asked/again"))
    assert not decide(StageRun(lost.workspace, strict, lost.days[11])).retrain


def test_a_loss_that_a_brake_held_up_is_not_forgotten(lost: World) -> None:
    """Nothing new is monitored when the brake is gone: what was seen before it is decided then."""
    braked = changed(lost.use_case, "retraining", cooldown=timedelta(days=3))
    assert "the cooldown is 3" in asked(lost, 10, braked).why
    assert asked(lost, 11, braked).retrain


def test_an_age_is_asked_again_after_a_pause_that_is_no_longer_than_the_age(one_champion: World) -> None:
    world = one_champion
    aging = changed(world.use_case, "retraining", max_age=timedelta(days=3), backoff=timedelta(days=2))
    started = []
    for day in range(12):
        world.workspace.clock.set(NOW + timedelta(days=day))
        found = asked(world, 10, aging)
        assert found.cause == "age"
        if found.retrain:
            started.append(day)
            ends(world, found.training_run, Kind.KEPT)
    assert started == [0, 2, 5, 8], "the budget's fourth is the last"
