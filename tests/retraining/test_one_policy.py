"""One policy through the pipeline's own steps and ledger: refusals, rollbacks, storms, backfills, and what a pause missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from pipelines import monitoring, promotion
from pipelines.commands import stages
from pipelines.errors import PermanentError
from pipelines.gates import Judged, evaluate_candidates
from pipelines.retraining import Gain, RetrainingDecision, decide, record_failure, record_start, resume
from pipelines.training import TrainingRun, plan_training, train_candidate
from pipelines.use_case import Partition, UseCase
from pipelines.use_case.retraining import Budget
from pipelines.workspace import CommitRecord, Decision, Kind, StageRun, VersionTags, Workspace
from tests import synthetic
from tests.conftest import AFTER, World, changed
from tests.retraining.test_retraining import FAULT, drift, performance

ROWS = pa.table({"a": range(200)})
TRAINED = 7


@dataclass(frozen=True)
class Lab:
    """A champion v1 of day 7, and days that are published and monitored as told; the clock goes from morning to morning."""

    workspace: Workspace
    use_case: UseCase
    days: list[Partition]

    def monitored(self, number: int, lost: bool = True) -> StageRun:
        """The day has features and outcomes, and was monitored; its run, the morning after."""
        day = self.days[number]
        for noun in ("features", "labels"):
            staged = self.workspace.lake.stage(f"parcels/{noun}", day.key, ROWS)
            self.workspace.lake.publish(f"parcels/{noun}", day.key, [staged], CommitRecord())
        run = StageRun(self.workspace, self.use_case, day)
        monitoring.publish(run, drift(0.0), performance(auc=0.5 if lost else 0.8))
        return run

    def morning_after(self, number: int) -> None:
        self.workspace.clock.set(self.days[number].ends_at("UTC") + timedelta(hours=6))

    def asked(self, number: int, gain: Gain | None = None, **settings: Any) -> RetrainingDecision:
        """As the DAG asks, the morning after the day: a yes is started, and written down."""
        self.morning_after(number)
        run = StageRun(self.workspace, changed(self.use_case, "retraining", **settings), self.days[number])
        decision = decide(run, gain)
        if decision.retrain:
            record_start(run, decision)
        return decision

    def ends(self, training: str | None, kind: Kind, why: str = "v1 stays. logistic failed quality: AUC too low.") -> None:
        assert training
        if kind == Kind.FAILED:
            record_failure(StageRun(replace(self.workspace, run=training), self.use_case, self.days[9]))
        else:
            self.workspace.ledger.record(Decision(f"{kind}/{training}", "parcels", kind, "2024-03-09", why, "gates", training))

    def starts(self) -> list[str]:
        return [d.run for d in self.workspace.ledger.decisions("parcels") if d.kind == Kind.STARTED]


@pytest.fixture
def lab(workspace: Workspace, use_case: UseCase, monkeypatch: pytest.MonkeyPatch) -> Lab:
    days = synthetic.days(use_case, 40)
    tags: Any = SimpleNamespace(tags=VersionTags(partition=days[TRAINED].key, holdout_auc=0.8))
    monkeypatch.setattr(workspace.registry, "version", lambda *_: tags)
    key, since = days[TRAINED].key, days[TRAINED + 1].key
    first = Decision("promoted/1", "parcels", Kind.PROMOTED, key, "first", "gates", "by hand", {}, 1, since)
    workspace.ledger.move_champion(first, None)
    return Lab(workspace, use_case, days)


@pytest.mark.parametrize("kind", [Kind.KEPT, Kind.FAILED])
def test_what_is_refused_every_day_is_tried_again_after_a_growing_pause(lab: Lab, kind: Kind) -> None:
    """Every day lost; today's order was five trainings in five days."""
    started = {}
    for number in range(11, 24):
        lab.monitored(number)
        found = lab.asked(number)
        if found.retrain:
            started[number] = found.why
            lab.ends(found.training_run, kind)
        else:
            assert "brought no other, the last, retraining__" in found.why
            assert {Kind.KEPT: "logistic failed quality: AUC too low", Kind.FAILED: "failed; the log of"}[kind] in found.why
    assert list(started) == [11, 12, 14, 18]
    assert "Tried again: 3 trainings for this champion brought no other" in started[18]


def test_the_pause_is_not_reset_by_a_restart_and_ends_with_a_new_champion(lab: Lab) -> None:
    lab.monitored(11)
    first = lab.asked(11, backoff=timedelta(days=20))
    lab.ends(first.training_run, Kind.KEPT)
    lab.monitored(12)
    assert "a pause of 20 days" in lab.asked(12, backoff=timedelta(days=20)).why
    key, since = lab.days[12].key, lab.days[13].key
    second = Decision("promoted/2", "parcels", Kind.PROMOTED, key, "better", "gates", "by hand", {}, 1, since)
    lab.workspace.ledger.move_champion(second, 1)
    for number in range(13, 17):
        lab.monitored(number)
    assert lab.asked(16, backoff=timedelta(days=20)).retrain


def test_a_person_ends_the_pause(lab: Lab) -> None:
    lab.monitored(11)
    lab.ends(lab.asked(11, backoff=timedelta(days=20)).training_run, Kind.KEPT)
    lab.monitored(12)
    assert not lab.asked(12, backoff=timedelta(days=20)).retrain
    done = resume(lab.workspace, lab.use_case, "the recipe is another now", "ada")
    assert (done.kind, done.actor) == (Kind.LIFTED, "ada")
    assert "the pause after 1 without a new champion ends: the recipe is another now" in done.why
    assert lab.asked(12, backoff=timedelta(days=20)).retrain
    with pytest.raises(PermanentError, match="needs a reason"):
        resume(lab.workspace, lab.use_case, " ", "ada")


def test_more_to_gain_than_at_the_last_attempt_is_new_evidence(lab: Lab) -> None:
    """What was estimated then is read from the row of the start."""
    gains = [Gain(lab.days[n].key, 400, mean, 0.001, 0.02) for n, mean in ((11, 0.005), (12, 0.006), (13, 0.008))]
    found = []
    for number, gain in zip((11, 12, 13), gains, strict=True):
        lab.monitored(number)
        decision = lab.asked(number, gain, backoff=timedelta(days=20))
        found.append(decision.retrain)
        if decision.retrain:
            lab.ends(decision.training_run, Kind.KEPT)
    assert found == [True, False, True]


def test_a_cooldown_shorter_than_the_holdout_starts_nothing_and_says_when(lab: Lab) -> None:
    """A day after it came, the champion has seen two of the holdout's three days: the gate would find that out."""
    found = {}
    for number in (8, 9, 10):
        lab.monitored(number)
        found[number] = lab.asked(number, cooldown=timedelta(0))
    assert [d.retrain for d in found.values()] == [False, False, True]
    assert "has seen days of the holdout, the newest 3; possible with outcomes through 2024-03-11" in found[9].why
    assert lab.starts() == ["retraining__2024-03-11__1"]


def test_a_storm_of_events_makes_one_training(lab: Lab) -> None:
    """Twenty runs of the decision, for four days, before and after the training was started."""
    for number in (10, 11, 12, 13):
        lab.monitored(number)
    lab.morning_after(13)
    runs = [StageRun(lab.workspace, lab.use_case, lab.days[13])] * 5
    assert {decide(run).training_run for run in runs} == {"retraining__2024-03-14__1"}
    for number in (10, 11, 12, 13) * 4:
        lab.morning_after(13)
        run = StageRun(lab.workspace, lab.use_case, lab.days[number])
        decision = decide(run)
        if decision.retrain:
            record_start(run, decision)
    assert len(lab.starts()) == 1


def test_what_a_paused_dag_missed_is_caught_up_by_the_next_decision(lab: Lab) -> None:
    """Nobody was asked for nine days, and a cron that was paused comes once. One of those days was lost."""
    lab.monitored(10, lost=False)
    lab.asked(10)
    for number in range(11, 20):
        lab.monitored(number, lost=number == 14)
    found = lab.asked(19)
    assert (found.retrain, found.cause) == (True, "loss")
    assert found.why.startswith("2024-03-15, of 9 windows from 2024-03-12 to 2024-03-20: ")
    lab.ends(found.training_run, Kind.KEPT)
    assert "No window up to" in lab.asked(20).why, "and is caught up once"


def test_a_budget_that_is_used_says_when_it_is_free_again(lab: Lab) -> None:
    budget = type(lab.use_case.retraining.budget)(trainings=1, period=timedelta(days=5))
    lab.monitored(11)
    lab.ends(lab.asked(11, budget=budget).training_run, Kind.FAILED)
    for number in (13, 15, 16):
        lab.monitored(number)
        found = lab.asked(number, budget=budget)
        assert found.retrain is (number == 16)
        assert (
            found.retrain
            or "1 trainings were started within 5 days, of 1 in the budget; free again from 2024-03-18" in found.why
        )


def test_a_backfill_counts_for_nothing(one_champion: World) -> None:
    """Six days that were served, monitored and decided are scored and monitored once more, in one pass as a backfill does."""
    world, calm = one_champion, changed(one_champion.use_case, "monitoring", max_auc_loss=0.9, max_calibration_gap=0.9)
    week = calm.period(f"{world.days[8].key}--{world.days[13].key}")
    for partition in (*world.days[8:14], week):
        run = StageRun(world.workspace, calm, partition)
        stages.run_scoring(run)
        stages.run_monitoring(run)
        if partition is not week:
            decided = decide(run)
            assert (decided.retrain, decided.evidence["windows"]) == (False, [partition.key])
    strict = StageRun(world.workspace, world.use_case, world.days[13].next)
    world.workspace.clock.set(strict.partition.ends_at("UTC"))
    found = decide(strict)
    assert (found.retrain, found.evidence["windows"]) == (False, []), "six events more, the same state"


# A person's rollback


def rolled_back(world: World) -> list[Partition]:
    """Ada went back to v1, which has lost two days since; the days from then on."""
    days = synthetic.days(world.use_case, 18)[14:]
    for day in days:
        synthetic.publish(world.workspace, world.use_case, day, flip=True)
    promotion.rollback(world.workspace, world.use_case, None, "v2 misses half of EWR", "ada")
    for day in days[1:3]:
        monitoring.publish(StageRun(world.workspace, world.use_case, day), drift(0.0), performance(auc=0.5))
    world.workspace.clock.set(days[2].ends_at("UTC") + timedelta(hours=6))
    return days


def test_a_rollback_holds_until_a_person_lifts_it(two_champions: World) -> None:
    world, days = two_champions, rolled_back(two_champions)
    run = StageRun(world.workspace, world.use_case, days[2])
    found = decide(run)
    assert (found.retrain, found.cause) == (False, "loss")
    assert "ada rolled back, and that holds what nobody asked for (v2 gives way to v1: v2 misses half of EWR)" in found.why
    sure = Gain(days[2].key, 120, 0.02, 0.01, 0.03)
    declared = changed(world.use_case, "retraining", hold_until_gain=0.005, false_gains=None)
    assert not decide(run, sure).retrain, "not declared"
    assert "The hold of the rollback is over" in decide(replace(run, use_case=declared), sure).why
    assert "the hold of the rollback to v1 ends: the feed is mended" in resume(
        world.workspace, world.use_case, "the feed is mended", "ada"
    ).why  # fmt: skip
    assert decide(run).retrain
    with pytest.raises(PermanentError, match="holds the retraining policy"):
        resume(world.workspace, world.use_case, "twice", "ada")


def proposal(world: World, run: str, day: Partition) -> promotion.Proposal:
    simple = {name: c for name, c in world.use_case.training.candidates.items() if c.simple}
    newest = changed(world.use_case, "training", candidates=simple, trials=1, max_history=timedelta(days=6))
    newest = changed(newest, "gates", min_auc=0.5, max_log_loss=5.0, min_gain_over_simple=0.0, confidence=0.51)
    stage = StageRun(world.at(run), newest, day)
    training = TrainingRun(stage.workspace, newest, plan_training(stage))
    judged = Judged(training, evaluate_candidates(training, [train_candidate(training, "logistic")], AFTER))
    assert judged.evaluation.passed, judged.evaluation.why
    return promotion.Proposal(training, judged.evaluation, promotion.register(judged))


def by_hand(world: World, run: str) -> None:
    """Nothing: a person started it."""


def asked_before(world: World, run: str) -> None:
    """The policy decided before the rollback; its training's turn came after."""
    before = {"champion_since": world.workspace.ledger.decisions("parcels")[0].id}
    world.workspace.ledger.record(Decision("s", "parcels", Kind.STARTED, "2024-03-14", "loss", "policy", run, before))


def asked_knowing(world: World, run: str) -> None:
    """The declared evidence was there: the decision knew of the rollback."""
    held = world.workspace.ledger.champion("parcels")
    assert held
    known = {"champion_since": held.decision}
    world.workspace.ledger.record(Decision("s", "parcels", Kind.STARTED, "2024-03-17", "gain", "policy", run, known))


def approved(world: World, run: str) -> None:
    asked_before(world, run)
    world.workspace.ledger.record(Decision("a", "parcels", Kind.APPROVED, "2024-03-17", "yes", "ada", run))


def lifted(world: World, run: str) -> None:
    asked_before(world, run)
    resume(world.workspace, world.use_case, "mended", "ada")


def test_a_training_under_way_when_the_rollback_came_does_not_promote_unasked(two_champions: World) -> None:
    """One training that passed its gates; who asked for it decides what becomes of it."""
    world, days = two_champions, rolled_back(two_champions)
    found = proposal(world, "retraining__2024-03-15__1", days[2])
    ledger = world.workspace.ledger
    asked_before(world, "retraining__2024-03-15__1")
    with pytest.raises(PermanentError, match=r"ada rolled back \(v2 gives way to v1: v2 misses half of EWR\), and that holds"):
        promotion.promote(found)
    assert ledger.champion("parcels").version == 1
    assert world.workspace.registry.alias("parcels", "champion") == 1
    last = ledger.decisions("parcels")[-1]
    assert (last.kind, last.actor) == (Kind.KEPT, "fence")
    assert "python -m pipelines resume parcels" in last.why
    manual = replace(found, training=replace(found.training, workspace=world.at("manual__1")))
    assert promotion.promote(manual).champion == 3
    assert ledger.champion("parcels").version == 3


@pytest.mark.parametrize(
    ("run", "how", "promotes"),
    [
        ("manual__1", by_hand, True),
        ("retraining__2024-03-15__1", by_hand, False),
        ("retraining__2024-03-15__1", asked_before, False),
        ("retraining__2024-03-17__1", asked_knowing, True),
        ("retraining__2024-03-15__1", approved, True),
        ("retraining__2024-03-15__1", lifted, True),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_after_a_rollback_promotes_what_a_person_asked_for(
    lab: Lab, run: str, how: Callable[[Any, str], None], promotes: bool
) -> None:
    ledger, key, since = lab.workspace.ledger, lab.days[12].key, lab.days[13].key
    for kind, version in ((Kind.PROMOTED, 2), (Kind.ROLLED_BACK, 1)):
        now = ledger.champion("parcels")
        assert now
        ledger.move_champion(Decision(kind, "parcels", kind, key, "why", "ada", "x", {}, version, since), now.version)
    how(lab, run)
    wanted = Decision("promoted/3", "parcels", Kind.PROMOTED, key, "better", "gates", run, {}, 3, lab.days[14].key)
    if promotes:
        assert ledger.move_champion(wanted, 1)
    else:
        with pytest.raises(PermanentError, match="holds what nobody asked for"):
            ledger.move_champion(wanted, 1)


def test_a_second_rollback_holds_as_well_and_one_that_is_undone_by_a_promotion_does_not(lab: Lab) -> None:
    """Whoever is promoted by hand after it is what a person wanted: the policy may act on that one."""
    lab.monitored(11)
    key, since = lab.days[11].key, lab.days[9].key
    for number, (kind, version) in enumerate(((Kind.ROLLED_BACK, 2), (Kind.ROLLED_BACK, 1), (Kind.PROMOTED, 1))):
        now = lab.workspace.ledger.champion("parcels")
        assert now
        move = Decision(f"{kind}/{number}", "parcels", kind, key, "why", "ada", "by hand", {}, version, since)
        lab.workspace.ledger.move_champion(move, now.version)
        held = "holds what nobody asked for" in decide_why(lab, 11)
        assert held is (number == 1), "v2 has served no window that is monitored, v1 has one that is lost"


def decide_why(lab: Lab, number: int) -> str:
    lab.morning_after(number)
    return decide(StageRun(lab.workspace, lab.use_case, lab.days[number])).why


def test_gains_of_the_mornings_before_add_up_until_a_champion_comes(lab: Lab) -> None:
    """Each morning's estimate is too little by itself; its rows, three days, are other rows only on the third."""
    settings = {"gain_memory": 0.7, "false_gains": None, "min_gain": 0.002, "reasons": ("gain",)}
    gain, found = Gain("", 400, 0.0015, -0.003, 0.006), {}
    for number in (11, 12, 14):
        lab.monitored(number, lost=False)
        found[number] = lab.asked(number, replace(gain, window=lab.days[number].key), **settings)
    assert [n for n, decision in found.items() if decision.retrain] == [14], found
    assert "With the windows before, each worth 0.7 of the one after it: +0.0026" in found[14].why
    promoted = Decision(
        "promoted/2", "parcels", Kind.PROMOTED, lab.days[14].key, "better", "gates", "x", {}, 2, lab.days[15].key
    )
    lab.workspace.ledger.move_champion(promoted, 1)
    lab.monitored(17, lost=False)
    assert not lab.asked(17, replace(gain, window=lab.days[17].key), **settings).retrain, "gained against another champion"


def test_what_a_challenger_saved_on_faulty_rows_is_forgotten(lab: Lab) -> None:
    """The fault is mended afterwards, and the champion was right all the time."""
    settings = {"gain_memory": 0.9, "false_gains": None, "min_gain": 0.002, "reasons": ("gain",)}
    gain = Gain("", 400, 0.0005, -0.003, 0.006)
    monitoring.publish(lab.monitored(11, lost=False), FAULT.drift, performance(auc=0.8))
    faulty = lab.asked(11, replace(gain, window=lab.days[11].key, mean=0.5), **settings)
    lab.monitored(11, lost=False)
    lab.monitored(14, lost=False)
    found = lab.asked(14, replace(gain, window=lab.days[14].key), **settings)
    assert (faulty.cause, found.cause, found.retrain) == ("data fault", "healthy", False), found.why


def test_trainings_may_take_so_many_hours_together(lab: Lab) -> None:
    """The first took a day and three hours, by the ledger's clock; what said nothing took until its deadline."""
    settings = {"budget": Budget(trainings=99, period=timedelta(days=30), hours=28), "backoff": timedelta(hours=1)}
    lab.monitored(11)
    first = lab.asked(11, **settings)
    lab.workspace.clock.set(lab.days[12].ends_at("UTC") + timedelta(hours=9))
    lab.ends(first.training_run, Kind.FAILED)
    lab.monitored(13)
    second = lab.asked(13, **settings)
    lab.monitored(16)
    found = lab.asked(16, **settings)
    assert (first.retrain, second.retrain, found.retrain) == (True, True, False)
    assert "trainings took 51.0 hours within 30 days, of 28 in the budget; the oldest is out of it from 2024-04" in found.why
