"""Stages as one call: a candidate that crashes loses, the others go on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from pipelines.commands import stages
from pipelines.commands.stages import STAGES
from pipelines.errors import PermanentError, TransientError
from pipelines.use_case import UseCase
from pipelines.workspace import Kind, Registry, StageRun
from tests.conftest import World, changed


def crashing(use_case: UseCase, *names: str) -> UseCase:
    """The use case with candidates whose parameters scikit-learn refuses."""
    candidates = dict(use_case.training.candidates)
    for name in names:
        candidates[name] = candidates[name].model_copy(update={"params": {"max_iter": -1}})
    return changed(use_case, "training", candidates=candidates)


def test_a_stage_is_one_word_everywhere() -> None:
    assert list(STAGES) == ["ingestion", "features", "labels", "training", "experiments", "scoring", "monitoring", "retraining"]


def test_a_crashed_candidate_loses_and_the_others_go_on(published: World) -> None:
    world = published
    done = stages.run_training(StageRun(world.workspace, crashing(world.use_case, "boosting"), world.days[7]))
    assert (done.decision, done.champion) == (Kind.PROMOTED, 1)
    assert "logistic passed" in done.why
    assert "Crashed and so out: boosting." in done.why


def test_a_complex_model_whose_simple_rival_crashed_is_kept_out(published: World) -> None:
    world = published
    done = stages.run_training(StageRun(world.workspace, crashing(world.use_case, "logistic"), world.days[7]))
    assert (done.decision, done.champion) == (Kind.KEPT, None)
    assert "has nothing to beat" in done.why


def test_a_registry_that_does_not_answer_is_no_crash_of_a_candidate(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is away while one of two is logged: nothing is decided, and the training may be run again."""
    world, log = one_champion, Registry.log_model

    def away(self: Registry, pipeline: Any, *rest: Any) -> str:
        if "Logistic" not in str(pipeline):
            raise TransientError("MLflow: connection refused")
        return log(self, pipeline, *rest)

    monkeypatch.setattr(Registry, "log_model", away)
    before, newest = (
        world.workspace.ledger.decisions("parcels"),
        changed(world.use_case, "training", max_history=timedelta(days=6)),
    )
    with pytest.raises(TransientError, match="connection refused"):
        stages.run_training(StageRun(world.workspace, newest, world.days[13]))
    assert world.workspace.ledger.decisions("parcels") == before


def test_when_all_candidates_crash_the_champion_stays(one_champion: World) -> None:
    world = one_champion
    before, newest = (
        world.workspace.ledger.decisions("parcels"),
        changed(world.use_case, "training", max_history=timedelta(days=6)),
    )
    with pytest.raises(PermanentError, match=r"every candidate crashed \(boosting, logistic\)"):
        stages.run_training(StageRun(world.workspace, crashing(newest, "logistic", "boosting"), world.days[13]))
    assert world.workspace.ledger.decisions("parcels") == before


def test_where_approval_is_required_the_command_line_does_not_promote(published: World, simple_only: UseCase) -> None:
    world = published
    with pytest.raises(PermanentError, match="approval is required"):
        stages.run_training(StageRun(world.workspace, simple_only.model_copy(update={"approval": "required"}), world.days[7]))
    assert world.workspace.ledger.champion("parcels") is None
