"""Evaluation with real models: who is chosen, what the champion may be judged on, and what a defect does to it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from pipelines.commands import stages
from pipelines.errors import PermanentError
from pipelines.gates import Evaluation, evaluate_candidates
from pipelines.gates.choice import choose, scorer
from pipelines.gates.evaluation import gather
from pipelines.gates.judgement import judge
from pipelines.gates.slices import MOST_KEPT
from pipelines.results import from_json, to_json
from pipelines.training import Trained, TrainingRun, train_candidate
from pipelines.use_case import UseCase, feature_definitions
from pipelines.workspace import CommitRecord, Kind, Model, StageRun
from tests import synthetic
from tests.conftest import AFTER, World, changed


def trained(candidate: str, loss: float) -> Trained:
    return Trained(candidate, "run", "uri", {}, 1, loss, {"auc": 0.8})


@pytest.mark.parametrize(
    ("simple", "complex_", "chosen"),
    [(0.50, 0.40, "boosting"), (0.50, 0.499, "logistic"), (0.50, 0.498, "boosting"), (0.40, 0.50, "logistic")],
)
def test_the_complex_model_has_to_earn_its_place(simple: float, complex_: float, chosen: str, use_case: UseCase) -> None:
    candidates = [trained("boosting", complex_), trained("logistic", simple)]
    assert choose(use_case, candidates).candidate == chosen


def test_a_candidate_without_a_score_is_not_chosen(use_case: UseCase) -> None:
    candidates = [trained("logistic", float("inf")), trained("boosting", 0.4)]
    assert choose(use_case, candidates).candidate == "boosting"
    assert choose(use_case, [trained("boosting", 0.6)]).candidate == "boosting"


def test_a_complex_model_that_does_not_beat_the_simple_one_on_newer_rows_loses_to_it(published: World) -> None:
    """Planted: boosting claims the best folds, but the cause is linear and the days are few."""
    world = published
    training = world.training(7)
    logistic, boosting = (train_candidate(training, name) for name in ("logistic", "boosting"))
    flattered = replace(boosting, folds_log_loss=0.0)
    assert choose(world.use_case, [logistic, flattered]) is flattered
    found = evaluate_candidates(training, [logistic, flattered], AFTER)
    assert found.chosen.candidate == "logistic"
    assert found.passed


def test_a_segment_of_hundreds_of_values_travels_in_part_and_is_kept_whole_in_a_file(
    published: World, simple_only: UseCase
) -> None:
    crowded = changed(simple_only, "features", segments=("distance",))
    training = published.training(7, crowded)
    found = evaluate_candidates(training, [train_candidate(training, "logistic")], AFTER)
    (said,) = [v for v in found.verdicts if v.gate == "slices"]
    values = training.rows.holdout["distance"].nunique()
    assert (len(said.numbers["slices"]), said.numbers["all"]) == (MOST_KEPT, values)  # type: ignore[arg-type]
    assert values > 3 * MOST_KEPT
    assert len(json.dumps(to_json(found))) < 40_000
    mlflow = published.workspace.registry.mlflow
    kept = mlflow.artifacts.load_dict(f"runs:/{found.chosen.run_id}/gates/slices.json")
    assert len(kept["slices"]) == values


def test_all_candidates_crashed_is_an_error_that_names_them(published: World) -> None:
    with pytest.raises(PermanentError, match=r"every candidate crashed \(boosting, logistic\)"):
        evaluate_candidates(published.training(7), [], AFTER)


def judged(world: World, use_case: UseCase, day: int, **plan: Any) -> tuple[TrainingRun, Evaluation]:
    training = world.training(day, use_case, **plan)
    return training, evaluate_candidates(training, [train_candidate(training, "logistic")], AFTER)


def failed(evaluated: Evaluation) -> list[str]:
    return [v.gate for v in evaluated.verdicts if not v.passed]


def test_a_better_model_passes_and_the_evaluation_travels_as_json(one_champion: World, simple_only: UseCase) -> None:
    newest = changed(simple_only, "training", max_history=timedelta(days=6))
    training, found = judged(one_champion, newest, 13)
    assert found.passed
    assert failed(found) == []
    assert training.plan.champion == 1
    assert found.champion_holdout is not None
    assert found.champion_holdout["log_loss"] > found.holdout["log_loss"]
    assert found.champion_holdout["rows"] == found.holdout["rows"]
    assert found.worth is not None
    assert found.worth > 0
    assert from_json(Evaluation, to_json(found)) == found
    assert "passed all" in found.why


def test_a_worse_model_is_not_passed(one_champion: World, simple_only: UseCase) -> None:
    """Days like those that the champion learnt from; the challenger is held back until it says little."""
    world = one_champion
    for day in world.days[8:]:
        synthetic.publish(world.workspace, world.use_case, day)
    timid = simple_only.training.candidates["logistic"].model_copy(update={"params": {"C": 0.001}, "search": {}})
    _, found = judged(world, changed(simple_only, "training", candidates={"logistic": timid}), 13)
    assert "beats_champion" in failed(found)
    assert next(v for v in found.verdicts if v.gate == "beats_champion").numbers["high"] < 0
    assert "that is no gain" in found.why


def test_a_champion_that_the_ledger_names_and_nobody_can_load_fails_the_gate(one_champion: World, simple_only: UseCase) -> None:
    _, found = judged(one_champion, changed(simple_only, "training", max_history=timedelta(days=6)), 13, champion=77)
    assert failed(found) == ["beats_champion"]
    assert "v77 failed: PermanentError: parcels: no model v77" in found.why


def test_a_champion_that_has_seen_the_holdout_is_not_compared(one_champion: World, simple_only: UseCase) -> None:
    """Trained through day 7; the holdout of day 9 begins with day 7."""
    _, found = judged(one_champion, simple_only, 9)
    assert "beats_champion" in failed(found)
    assert "has seen the holdout" in found.why
    assert found.champion_holdout is None


def test_a_champion_from_just_before_the_holdout_is_compared(one_champion: World, simple_only: UseCase) -> None:
    _, found = judged(one_champion, simple_only, 10)
    assert found.champion_holdout is not None
    assert "has seen the holdout" not in found.why


def test_the_champion_does_not_beat_itself(one_champion: World, simple_only: UseCase) -> None:
    world = one_champion
    training = world.training(10, changed(simple_only, "training", max_history=timedelta(days=6)))
    uri = world.workspace.registry.version("parcels", 1).tags.model_uri
    itself = replace(trained("logistic", 0.5), model_uri=uri)
    evidence = gather(training, itself, itself, scorer(training), AFTER)
    assert (evidence.champion == evidence.challenger).all()
    assert "beats_champion" in [v.gate for v in judge(evidence, simple_only.gates) if not v.passed]


def test_a_label_among_the_features_is_suspected(published: World, simple_only: UseCase) -> None:
    """Planted: the delay itself as a feature, in training and holdout alike, so that nothing looks overfitted."""
    import pyarrow as pa

    world = published
    for day in world.days[:8]:
        features = world.workspace.lake.read("parcels/features", [day.key]).to_pandas().drop(columns="partition")
        labels = world.workspace.lake.read("parcels/labels", [day.key]).to_pandas().set_index("shipment_id")["label"]
        leaked = features.assign(weight=features["shipment_id"].map(labels).fillna(0) * 1000.0)
        staged = world.workspace.lake.stage("parcels/features", day.key, pa.Table.from_pandas(leaked, preserve_index=False))
        record = CommitRecord(definitions=feature_definitions(world.use_case))
        world.workspace.lake.publish("parcels/features", day.key, [staged], record)
    _, found = judged(world, simple_only, 7)
    assert failed(found) == ["plausible"]
    assert "look for the label among the features" in found.why


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_model_that_scores_the_wrong_number_of_rows_never_passes(
    count: int, one_champion: World, simple_only: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = one_champion
    training = world.training(13, simple_only)
    one = train_candidate(training, "logistic")
    monkeypatch.setattr(Model, "predict", lambda self, rows: np.full(count, 0.5))
    with pytest.raises((PermanentError, ValueError)):
        evaluate_candidates(training, [one], AFTER)


def test_nan_scores_are_kept_out_with_a_decision_that_can_be_recorded(
    one_champion: World, simple_only: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Model.predict

    def broken(self: Model, rows: Any) -> Any:
        return predict(self, rows) * np.where(np.arange(len(rows)) == 3, np.nan, 1)

    world = one_champion
    monkeypatch.setattr(Model, "predict", broken)
    kept = stages.run_training(
        StageRun(world.workspace, changed(simple_only, "training", max_history=timedelta(days=6)), world.days[13])
    )
    assert (kept.decision, kept.champion) == ("kept", 1)
    assert world.workspace.ledger.decisions("parcels")[-1].kind == Kind.KEPT


def test_the_verdicts_are_on_the_mlflow_run(one_champion: World, simple_only: UseCase) -> None:
    _, found = judged(one_champion, simple_only, 9)
    tags = one_champion.workspace.registry.client.get_run(found.chosen.run_id).data.tags
    assert tags["gates"] == "failed"
    assert {f"gate.{v.gate}" for v in found.verdicts} <= set(tags)
    assert tags["gate.beats_champion"].startswith("FAILED: ")
