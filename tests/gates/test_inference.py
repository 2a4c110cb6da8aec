"""The inference test in a fresh process: same numbers, a signature that fits, and every way in which it can go wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import PermanentError
from pipelines.gates import Challenger, Judged, evaluate_candidates
from pipelines.gates.evidence import Evidence
from pipelines.gates.inference import Inference, judge, measure, signature_problem
from pipelines.promotion import register
from pipelines.training import TrainingRun, train_candidate
from pipelines.use_case import Gates, UseCase, features_table
from tests.conftest import AFTER, World, changed
from tests.gates.planted import failed, measured, served

DEFECTS = {
    "never tried in a fresh process": measured(inference=None),
    "did not load": served(max_difference=None, problem="v9 holds types outside the allow-list"),
    "other scores in a fresh process": served(max_difference=1e-6),
    "too slow": served(latency_ms=251.0),
    "too large": served(memory_mib=2049.0),
    "no rows scored": served(rows=0),
    "no latency known": served(latency_ms=None),
    "latency is no number": served(latency_ms=float("nan")),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["inference"]


def judged(seen: Inference, **limits: float) -> Any:
    none = np.array([])
    evidence = Evidence(none, none, None, none, None, False, False, measured={"inference": seen})
    return judge(evidence, Gates(**limits))


def rows_of(world: World) -> pd.DataFrame:
    rows: pd.DataFrame = world.workspace.lake.read(features_table(world.use_case), [world.days[7].key]).to_pandas()
    return rows


def tried(world: World, rows: pd.DataFrame | None = None, off: float = 0.0, timeout: float = 120.0) -> Inference:
    """The champion in a fresh process, against its own scores here plus `off`."""
    champion = world.workspace.registry.load(world.use_case.name, 1)
    real = rows_of(world)
    return measure(challenger(world, 1, real if rows is None else rows, champion.predict(real) + off), timeout)


def challenger(world: World, version: int, rows: pd.DataFrame, probability: Any) -> Challenger:
    uri = f"models:/{world.use_case.name}/{version}"
    return Challenger(world.training(7), uri, lambda rows: probability, rows, probability)


def test_a_registered_model_gives_the_same_numbers_in_a_fresh_process(one_champion: World) -> None:
    seen = tried(one_champion)
    assert seen.problem is None
    assert (seen.rows, seen.max_difference) == (len(rows_of(one_champion)), 0.0)
    assert judged(seen).passed
    assert "too slow" in judged(seen, max_latency_ms=0.001).sentence
    assert "MiB" in judged(seen, max_memory_mib=1.0).sentence
    assert not judged(seen, max_memory_mib=1.0).passed


def test_other_numbers_than_at_training_are_noticed(one_champion: World) -> None:
    verdict = judged(tried(one_champion, off=1e-6))
    assert not verdict.passed
    assert "other probabilities" in verdict.sentence


def test_rows_with_another_signature_are_refused(one_champion: World) -> None:
    verdict = judged(tried(one_champion, rows=rows_of(one_champion).assign(depot=1.0)))
    assert not verdict.passed
    assert "signature has depot as string" in verdict.sentence


def test_a_process_that_does_not_answer_is_a_no(one_champion: World) -> None:
    verdict = judged(tried(one_champion, timeout=0.05))
    assert not verdict.passed
    assert "did not answer within" in verdict.sentence


def test_a_model_that_does_not_load_is_a_no_with_the_reason(one_champion: World) -> None:
    seen = measure(challenger(one_champion, 99, rows_of(one_champion), np.zeros(1)))
    assert not judged(seen).passed
    assert "99" in str(seen.problem)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: None, "no signature"),
        (lambda s: {**s, "bribe": "double"}, "wants also bribe"),
        (lambda s: {k: v for k, v in s.items() if k != "distance"}, "does not know distance"),
        (lambda s: dict(reversed(s.items())), "order"),
        (lambda s: {**s, "distance": "string"}, "distance as string"),
        (lambda s: {**s, "depot": "double"}, "depot as double"),
    ],
    ids=["none", "wants more", "wants less", "order", "text for number", "number for text"],
)
def test_a_signature_that_does_not_fit_is_named(one_champion: World, change: Any, says: str) -> None:
    names, rows = one_champion.use_case.features.names, rows_of(one_champion)
    signature = one_champion.workspace.registry.load(one_champion.use_case.name, 1).signature
    assert signature is not None
    assert signature_problem(signature, names, rows) is None
    assert says in str(signature_problem(change(signature), names, rows))


def test_nulls_do_not_make_a_signature_unfit() -> None:
    rows = pd.DataFrame({"on": [True, None, False], "text": ["a", None, None]})
    assert signature_problem({"on": "boolean", "text": "string"}, ("on", "text"), rows) is None
    assert signature_problem({"on": "boolean", "text": "any"}, ("on", "text"), rows) is None
    assert signature_problem({"on": "string", "text": "string"}, ("on", "text"), rows) is not None


def test_a_refitted_model_that_would_not_serve_is_not_registered(one_champion: World, use_case: UseCase) -> None:
    """What the gates judged serves well; what was fitted anew is (said to be) too slow."""
    newest = changed(
        use_case, "training", max_history=timedelta(days=6), candidates={"logistic": use_case.training.candidates["logistic"]}
    )
    training = one_champion.training(13, newest)
    evaluated = evaluate_candidates(training, [train_candidate(training, "logistic")], AFTER)
    assert evaluated.passed
    hurried = changed(newest, "gates", max_latency_ms=0.001)
    with pytest.raises(PermanentError, match=r"refitted model is not registered.*too slow"):
        register(Judged(TrainingRun(training.workspace, hurried, training.plan), evaluated))
    assert [int(v.version) for v in one_champion.workspace.registry.versions(use_case.name)] == [1]
    last = one_champion.workspace.ledger.decisions(use_case.name)[-1]
    assert (last.kind, last.actor, "too slow" in last.why) == ("kept", "inference", True)


def test_no_numbers_are_a_no() -> None:
    assert judged(Inference(0)).passed is False
    assert judged(Inference(5, problem="it is gone")).sentence == "In a fresh process: it is gone."
