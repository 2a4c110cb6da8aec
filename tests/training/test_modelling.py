"""The estimators' pipeline and the scores that models are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from pipelines.metrics import calibration_error, losses, scores
from pipelines.results import to_json
from pipelines.training.estimators import make_pipeline, suggest
from pipelines.use_case import Candidate, UseCase
from tests import synthetic

RANGE = {"type": "float", "low": 0.01, "high": 10.0}
ENCODINGS = {
    "one_hot": Candidate(estimator="sklearn.linear_model.LogisticRegression", params={"max_iter": 200}),
    "ordinal": Candidate(
        estimator="sklearn.ensemble.RandomForestClassifier", encoding="ordinal", params={"n_estimators": 5, "n_jobs": 1}
    ),
}


def rows(use_case: UseCase) -> tuple[pd.DataFrame, Any]:
    day = synthetic.days(use_case, 1)[0]
    shipments, deliveries = synthetic.parcels(day, rows=300)
    return synthetic.features(day, shipments)[list(use_case.features.names)], (deliveries.delay >= 15).astype(int)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_pipeline_takes_what_serving_meets(encoding: str, use_case: UseCase) -> None:
    """Unknown categories, nulls where training had none, columns in another order and extra ones."""
    frame, label = rows(use_case)
    pipeline = make_pipeline(use_case, ENCODINGS[encoding], {}, seed=1).fit(frame, label)
    served = frame.assign(depot="unheard-of", distance=np.nan, carrier=None, extra=1)
    assert np.isfinite(pipeline.predict_proba(served[[*reversed(frame.columns), "extra"]])).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_feature_without_any_value_in_training_does_not_stop_it(encoding: str, use_case: UseCase) -> None:
    frame, label = rows(use_case)
    pipeline = make_pipeline(use_case, ENCODINGS[encoding], {}, seed=1).fit(frame.assign(weight=np.nan), label)
    assert np.isfinite(pipeline.predict_proba(frame)).all()


def test_the_declared_encoding_is_used(use_case: UseCase) -> None:
    kinds = {name: str(make_pipeline(use_case, candidate, {}, seed=1)) for name, candidate in ENCODINGS.items()}
    assert "OneHotEncoder" in kinds["one_hot"]
    assert "OrdinalEncoder" in kinds["ordinal"]


def test_the_seed_decides_what_is_random(use_case: UseCase) -> None:
    frame, label = rows(use_case)

    def predicted(seed: int) -> Any:
        return make_pipeline(use_case, ENCODINGS["ordinal"], {}, seed).fit(frame, label).predict_proba(frame)

    assert (predicted(1) == predicted(1)).all()
    assert (predicted(1) != predicted(2)).any()


def test_calibration_mends_probabilities_that_are_too_sure(use_case: UseCase) -> None:
    """Trees grown to the last row are nearly always sure, and often wrong."""
    day, newer = synthetic.days(use_case, 2)
    sure = ENCODINGS["ordinal"].model_copy(update={"params": {"n_estimators": 3, "n_jobs": 1}})

    def error(candidate: Candidate) -> float:
        frames = [synthetic.parcels(d, rows=1500) for d in (day, newer)]
        (x, y), (x_new, y_new) = [(synthetic.features(day, s), (d.delay >= 15).astype(int)) for s, d in frames]
        pipeline = make_pipeline(use_case, candidate, {}, seed=1).fit(x[list(use_case.features.names)], y)
        return calibration_error(y_new.to_numpy(), pipeline.predict_proba(x_new[list(use_case.features.names)])[:, 1])

    plain = error(sure)
    for method in ("sigmoid", "isotonic"):
        assert error(sure.model_copy(update={"calibrate": method})) < 0.6 * plain


def test_calibration_learns_from_newer_rows_than_each_copy_was_fitted_on(use_case: UseCase) -> None:
    frame, label = rows(use_case)
    candidate = ENCODINGS["one_hot"].model_copy(update={"calibrate": "sigmoid"})
    estimator = make_pipeline(use_case, candidate, {}, seed=1).fit(frame, label)["estimator"]
    assert all(before.max() < after.min() for before, after in estimator.cv.split(frame))


def test_found_parameters_override_the_declared_ones(use_case: UseCase) -> None:
    pipeline = make_pipeline(use_case, ENCODINGS["one_hot"], {"max_iter": 7, "C": 0.5}, seed=1)
    assert pipeline["estimator"].get_params()["max_iter"] == 7
    assert pipeline["estimator"].get_params()["C"] == 0.5


def test_a_search_over_orders_of_magnitude_is_one(use_case: UseCase) -> None:
    trial, search = optuna.create_study().ask(), {"C": RANGE, "D": {**RANGE, "log": True}}
    suggest(trial, Candidate.model_validate({**ENCODINGS["one_hot"].model_dump(), "search": search}))
    assert [getattr(trial.distributions[name], "log", None) for name in ("C", "D")] == [False, True]


def test_suggestions_stay_inside_the_search_space() -> None:
    candidate = Candidate.model_validate(
        {
            "estimator": "sklearn.ensemble.RandomForestClassifier",
            "search": {
                "max_depth": {"type": "int", "low": 2, "high": 4},
                "ccp_alpha": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
                "criterion": {"type": "categorical", "choices": ["gini", "entropy"]},
            },
        }
    )
    for number in range(20):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
        found = suggest(study.ask(), candidate)
        assert found["max_depth"] in (2, 3, 4)
        assert 0.001 <= found["ccp_alpha"] <= 0.1
        assert found["criterion"] in ("gini", "entropy")


def test_scores_of_a_known_case() -> None:
    found = scores(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    assert found["auc"] == 0.75
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.6, 0.35, 0.8]).mean())
    assert (found["rows"], found["positive_share"]) == (4, 0.5)


@pytest.mark.parametrize(
    ("label", "probability"),
    [([], []), ([1, 1], [0.5, 0.6]), ([0, 1], [np.nan, 0.5]), ([0, 1], [np.inf, 0.5])],
    ids=["no rows", "one class", "nan", "infinity"],
)
def test_what_is_not_defined_is_none_and_never_nan(label: list[int], probability: list[float]) -> None:
    found = scores(np.array(label), np.array(probability))
    assert found["auc"] is None
    to_json(found)


def test_a_sure_mistake_costs_much_but_not_infinitely() -> None:
    loss = losses(np.array([1, 0]), np.array([0.0, 1.0]))
    assert np.isfinite(loss).all()
    assert (loss > 10).all()


def test_calibration_error_tells_honest_probabilities_from_shifted_ones() -> None:
    random = np.random.default_rng(0)
    truth = random.uniform(0.1, 0.7, 20_000)
    label = (random.random(20_000) < truth).astype(int)
    assert calibration_error(label, truth) < 0.015
    assert calibration_error(label, truth + 0.2) == pytest.approx(0.2, abs=0.015)


def test_calibration_error_of_ties_counts_every_row_once() -> None:
    label = np.array([0, 1] * 50)
    assert calibration_error(label, np.full(100, 0.5)) == pytest.approx(0, abs=0.11)
    assert calibration_error(label, np.full(100, 0.9)) == pytest.approx(0.4, abs=0.11)
