"""Promotion and rollback: what may become champion, from when on, and what scoring makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import skops.io

from pipelines.errors import PermanentError
from pipelines.gates import Evaluation, Judged, evaluate_candidates
from pipelines.promotion import Proposal, Registered, keep, promote, register, retire, rollback
from pipelines.results import Verdict
from pipelines.scoring import score
from pipelines.training import train_candidate
from pipelines.use_case import UseCase
from pipelines.workspace import CHALLENGER, CHAMPION, Decision, Kind, StageRun, open_workspace
from pipelines.workspace.model import MODEL_FILE, digest_of_model
from pipelines.workspace.tags import DIGEST_TAG
from tests import synthetic
from tests.conftest import AFTER, World, changed


@pytest.fixture
def newest(simple_only: UseCase) -> UseCase:
    return changed(simple_only, "training", max_history=timedelta(days=6))


def judged(world: World, use_case: UseCase) -> Judged:
    """A challenger of the last day that passes."""
    training = world.training(13, use_case)
    return Judged(training, evaluate_candidates(training, [train_candidate(training, "logistic")], AFTER))


def proposed(judged: Judged, registered: Registered | None = None) -> Proposal:
    return Proposal(judged.training, judged.evaluation, registered or register(judged))


def other(judged: Judged, evaluation: Evaluation | None = None, use_case: UseCase | None = None, **plan: Any) -> Judged:
    """The same with another evaluation, another configuration, or another plan."""
    training = replace(
        judged.training, use_case=use_case or judged.training.use_case, plan=replace(judged.training.plan, **plan)
    )
    return Judged(training, evaluation or judged.evaluation)


def champion(world: World) -> tuple[int, str] | None:
    found = world.workspace.ledger.champion("parcels")
    return (found.version, found.effective_from) if found else None


def test_a_model_that_passed_serves_from_the_next_partition_on(one_champion: World, newest: UseCase) -> None:
    world = one_champion
    proposal = proposed(judged(world, newest))
    assert (proposal.version, proposal.registered.refitted) == (2, True)
    assert world.workspace.registry.alias("parcels", CHALLENGER) == 2
    assert champion(world) == (1, world.days[8].key)
    done = promote(proposal)
    assert (done.decision, done.champion) == (Kind.PROMOTED, 2)
    assert champion(world) == (2, world.days[13].next.key)
    assert world.workspace.registry.alias("parcels", CHAMPION) == 2
    last = world.workspace.ledger.decisions("parcels")[-1]
    assert (last.effect, last.effect_unit, last.partition) == (proposal.evaluation.worth, "USD", proposal.training.key)
    assert [v["gate"] for v in last.evidence["verdicts"]] == [v.gate for v in proposal.evaluation.verdicts]


def test_a_late_promotion_takes_no_partition_from_the_one_that_served_it(one_champion: World, newest: UseCase) -> None:
    """The answer took two days: the days that v1 has served meanwhile stay its own."""
    world = one_champion
    proposal = proposed(judged(world, newest))
    meanwhile = [world.days[13].next, world.days[13].next.next]
    for day in meanwhile:
        synthetic.publish(world.workspace, world.use_case, day, flip=True)
        assert score(StageRun(world.workspace, world.use_case, day)).model_version == 1
    promote(proposal)
    assert champion(world) == (2, meanwhile[-1].next.key)
    assert [score(StageRun(world.workspace, world.use_case, day)).model_version for day in meanwhile] == [1, 1]


def test_the_refit_has_seen_the_holdout_and_without_it_the_judged_model_serves(one_champion: World, newest: UseCase) -> None:
    world = one_champion
    found = judged(world, newest)
    judged_uri = found.evaluation.chosen.model_uri
    registered = register(other(found, use_case=changed(newest, "training", refit=False)))
    assert (registered.model_uri, registered.refitted) == (judged_uri, False)
    refitted = register(found)
    assert refitted.model_uri != judged_uri
    one, another = (
        world.workspace.registry.load("parcels", r.version).pipeline["estimator"].coef_ for r in (registered, refitted)
    )
    assert (one != another).any()


def failing(evaluated: Evaluation, how: str) -> Evaluation:
    verdict = Verdict("quality", False, "AUC too low.")
    if how == "no verdicts":
        return replace(evaluated, verdicts=())
    if how == "says no":
        return replace(evaluated, passed=False)
    return replace(evaluated, passed=how == "claims to have passed", verdicts=(*evaluated.verdicts[1:], verdict))


HOWS = ["failed a gate", "claims to have passed", "says no", "no verdicts"]


def test_a_failed_evaluation_is_neither_registered_nor_promoted(one_champion: World, newest: UseCase) -> None:
    world = one_champion
    found = judged(world, newest)
    for how in HOWS:
        with pytest.raises(PermanentError, match="did not pass its gates"):
            register(other(found, failing(found.evaluation, how)))
        with pytest.raises(PermanentError, match="did not pass its gates"):
            promote(proposed(other(found, failing(found.evaluation, how)), Registered(1, "uri", True)), "somebody")
    assert len(world.workspace.registry.versions("parcels")) == 1
    assert champion(world) == (1, world.days[8].key)


def test_keeping_the_champion_is_recorded_with_the_gates_words(one_champion: World, newest: UseCase) -> None:
    world = one_champion
    found = judged(world, newest)
    kept = keep(other(found, replace(found.evaluation, passed=False, why="logistic failed quality: AUC too low.")))
    assert (kept.decision, kept.champion) == (Kind.KEPT, 1)
    assert world.workspace.ledger.decisions("parcels")[-1].why == "v1 stays. logistic failed quality: AUC too low."
    assert champion(world) == (1, world.days[8].key)
    assert world.workspace.registry.alias("parcels", CHAMPION) == 1


def test_where_approval_is_required_somebody_has_to_give_it(one_champion: World, newest: UseCase) -> None:
    world, strict = one_champion, newest.model_copy(update={"approval": "required"})
    proposal = proposed(judged(world, strict))
    for nobody in (None, "", " "):
        with pytest.raises(PermanentError, match="approval is required and nobody gave it"):
            promote(proposal, nobody)
    assert champion(world) == (1, world.days[8].key)
    assert world.workspace.registry.alias("parcels", CHAMPION) == 1
    promote(proposal, "ada")
    assert world.workspace.ledger.decisions("parcels")[-1].actor == "ada"


def test_a_challenger_judged_against_an_outdated_champion_is_refused(two_champions: World, newest: UseCase) -> None:
    world = two_champions
    found = judged(world, newest)
    outdated = other(found, replace(found.evaluation, passed=True, verdicts=PASSED), champion=1)
    with pytest.raises(PermanentError, match="decided against champion v1, but the champion is v2 by now"):
        promote(proposed(outdated, Registered(1, "x", True)))
    assert champion(world) == (2, world.days[13].next.key)
    assert world.workspace.registry.alias("parcels", CHAMPION) == 2


PASSED = (Verdict("quality", True, "good"),)


def test_a_promotion_may_not_take_effect_before_the_last_one(two_champions: World, newest: UseCase) -> None:
    world = two_champions
    found = judged(world, newest)
    older = other(found, replace(found.evaluation, passed=True, verdicts=PASSED), partition=world.days[9].key)
    with pytest.raises(PermanentError, match="before the champion"):
        promote(proposed(older, Registered(1, "x", True)))


def test_a_task_that_is_run_again_promotes_once(one_champion: World, newest: UseCase) -> None:
    world = one_champion
    proposal = proposed(judged(world, newest))
    first = promote(proposal)
    assert promote(proposal) == first
    promoted = [d for d in world.workspace.ledger.decisions("parcels") if d.kind == Kind.PROMOTED]
    assert [d.model_version for d in promoted] == [1, 2]


def test_rollback_lets_the_previous_champion_score_the_next_partition(two_champions: World) -> None:
    world, next_day = two_champions, synthetic.days(two_champions.use_case, 16)[14:]
    for day in next_day:
        synthetic.publish(world.workspace, world.use_case, day, flip=True)
    assert score(StageRun(world.workspace, world.use_case, next_day[0])).model_version == 2
    done = rollback(world.workspace, world.use_case, None, "late parcels are missed", "ada")
    assert (done.decision, done.champion) == (Kind.ROLLED_BACK, 1)
    assert "v2 gives way to v1: late parcels are missed" in done.why
    assert world.workspace.registry.alias("parcels", CHAMPION) == 1
    assert score(StageRun(world.workspace, world.use_case, next_day[1])).model_version == 1
    # What is scored already stays told by the champion of that time.
    assert score(StageRun(world.workspace, world.use_case, next_day[0])).model_version == 2


def test_rolling_back_twice_comes_back(two_champions: World) -> None:
    world = two_champions
    rollback(world.workspace, world.use_case, None, "first", "ada")
    assert rollback(world.workspace, world.use_case, None, "second thoughts", "ada").champion == 2
    assert champion(world) == (2, world.days[13].next.key)


def test_a_rollback_needs_a_reason_and_another_version(two_champions: World) -> None:
    world = two_champions
    before = len(world.workspace.ledger.decisions("parcels"))
    for to, reason, words in [
        (None, " ", "needs a reason"),
        (2, "why not", "v2 is the champion already"),
        (99, "why not", "v99 was never champion; roll back to one of v1"),
    ]:
        with pytest.raises(PermanentError, match=words):
            rollback(world.workspace, world.use_case, to, reason, "ada")
    assert len(world.workspace.ledger.decisions("parcels")) == before


def test_a_version_that_was_never_champion_is_not_let_in_by_a_rollback(two_champions: World, newest: UseCase) -> None:
    """Registered, but its promotion was never approved."""
    world = two_champions
    uri = world.workspace.registry.version("parcels", 1).tags.model_uri
    waiting = int(world.workspace.registry.mlflow.register_model(uri, "parcels").version)
    with pytest.raises(PermanentError, match=f"v{waiting} was never champion"):
        rollback(world.workspace, world.use_case, waiting, "let it in", "ada")
    assert champion(world) == (2, world.days[13].next.key)


def test_the_first_champion_has_nothing_to_go_back_to(one_champion: World, published: World) -> None:
    with pytest.raises(PermanentError, match="v1 is the first champion"):
        rollback(one_champion.workspace, one_champion.use_case, None, "reason", "ada")


def test_without_a_champion_there_is_no_rollback(published: World) -> None:
    with pytest.raises(PermanentError, match="no champion to roll back from"):
        rollback(published.workspace, published.use_case, None, "reason", "ada")


def test_a_rollback_to_a_model_that_does_not_load_changes_nothing(
    two_champions: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = two_champions
    world.workspace.registry.client.delete_model_version("parcels", "1")
    with pytest.raises(PermanentError, match="no model v1 in the registry"):
        rollback(world.workspace, world.use_case, None, "reason", "ada")
    assert champion(world) == (2, world.days[13].next.key)


def test_a_promotion_that_is_run_again_after_it_was_replaced_is_refused(one_champion: World, newest: UseCase) -> None:
    """Planted: the task of an older promotion is cleared. Neither the alias nor the ledger's champion follows it."""
    world = one_champion
    proposal = proposed(judged(world, newest))
    promote(proposal)
    assert promote(proposal).champion == 2
    rollback(world.at("later"), newest, 1, "complaints", "test")
    with pytest.raises(PermanentError, match="was promoted before, but the champion is another by now"):
        promote(proposal)
    assert world.workspace.registry.alias("parcels", CHAMPION) == 1
    last = world.workspace.ledger.decisions("parcels")[-1]
    assert (last.kind, last.actor) == (Kind.KEPT, "fence")


def test_a_retired_champion_serves_what_it_served_and_nothing_after(two_champions: World) -> None:
    world = two_champions
    retire(world.workspace, world.use_case, "it is wrong", "ada")
    ledger = world.workspace.ledger
    assert ledger.champion("parcels") is None
    assert world.workspace.registry.alias("parcels", CHAMPION) is None
    before = ledger.champion("parcels", as_of=world.days[9].key)
    assert before
    assert before.version == 1
    assert ledger.champion("parcels", as_of=world.days[13].next.key) is None
    with pytest.raises(PermanentError, match="no champion to retire"):
        retire(world.workspace, world.use_case, "again", "ada")


def forge(world: World, version: int) -> None:
    """Planted: who can write to MLflow puts another model in a version's place, and its digest beside it."""
    registry = world.workspace.registry
    file = Path(registry.mlflow.artifacts.download_artifacts(f"models:/parcels/{version}")) / MODEL_FILE
    pipeline = registry.load("parcels", version).pipeline
    pipeline.steps[-1][1].coef_ *= -1
    skops.io.dump(pipeline, file)
    registry.client.set_model_version_tag("parcels", str(version), DIGEST_TAG, digest_of_model(file.parent))


def test_a_champion_that_was_forged_in_file_and_tag_serves_nobody(two_champions: World) -> None:
    world, day = two_champions, two_champions.days[13].next
    synthetic.publish(world.workspace, world.use_case, day, flip=True)
    forge(world, 2)
    with pytest.raises(PermanentError, match=r"parcels v2: is not the model that was promoted \(promoted/2024-03-14/second"):
        score(StageRun(world.workspace, world.use_case, day))
    assert not world.workspace.lake.partitions("parcels/predictions")
    rollback(world.workspace, world.use_case, 1, "v2 was forged", "ada")
    assert score(StageRun(world.workspace, world.use_case, day)).model_version == 1
    with pytest.raises(PermanentError, match="parcels v2: is not the model that was promoted"):
        rollback(world.workspace, world.use_case, 2, "back again", "eve")


def test_what_was_forged_after_it_was_registered_does_not_become_the_digest(one_champion: World, newest: UseCase) -> None:
    """The ledger gets the digest of what the gates saw and the approvers were asked about."""
    world, day = one_champion, one_champion.days[13].next
    proposal = proposed(judged(world, newest))
    forge(world, 2)
    promote(proposal)
    synthetic.publish(world.workspace, newest, day)
    with pytest.raises(PermanentError, match="parcels v2: is not the model that was promoted"):
        score(StageRun(world.workspace, newest, day))


def test_a_promotion_from_before_digests_were_kept_loads(one_champion: World) -> None:
    world = one_champion
    first = world.workspace.ledger.champion_moves("parcels")[0]
    assert first.evidence["digest"] == world.workspace.registry.version("parcels", 1).tags.digest
    world.workspace.ledger.vouch("parcels", 1, str(first.evidence["digest"]))
    with pytest.raises(PermanentError, match="is not the model that was promoted"):
        world.workspace.ledger.vouch("parcels", 1, "0" * 64)
    old = Decision("promoted/old", "letters", Kind.PROMOTED, "2024-03-01", "better", "gates", "r", {}, 1, "2024-03-02")
    world.workspace.ledger.move_champion(old, None)
    world.workspace.ledger.vouch("letters", 1, "0" * 64)


def test_the_workspace_of_the_commands_and_tasks_asks_the_ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path))
    workspace = open_workspace()
    assert workspace.registry.vouch == workspace.ledger.vouch
