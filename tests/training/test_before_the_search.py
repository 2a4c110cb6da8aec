"""What cannot end well is refused before the search; and the search has rows of enough days."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from pipelines.errors import PermanentError
from pipelines.training import train_candidate
from pipelines.training.candidates import fit, try_out
from pipelines.training.search import newest_rows, search, time_folds
from pipelines.use_case import Candidate, UseCase
from tests.conftest import World, changed


def candidate(estimator: str, **more: Any) -> Candidate:
    return Candidate.model_validate({"estimator": f"sklearn.{estimator}", "simple": True, **more})


REFUSED = {
    "cannot be kept": (candidate("neighbors.KNeighborsClassifier"), "types outside the allow-list"),
    "no probabilities": (candidate("linear_model.RidgeClassifier"), "gives no probabilities"),
    "none either": (candidate("svm.LinearSVC"), "gives no probabilities"),
    "does not take this": (candidate("linear_model.LogisticRegression", params={"solver": "magic"}), "does not work on"),
    "does not know it": (candidate("linear_model.LogisticRegression", params={"depth": 3}), "does not work on"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_an_estimator_that_cannot_serve_is_refused_before_the_search(
    why: str, published: World, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared, says = REFUSED[why]

    def searched(*_: Any) -> None:
        raise AssertionError("the search was begun")

    monkeypatch.setattr("pipelines.training.candidates.search", searched)
    training = published.training(7, changed(use_case, "training", candidates={"odd": declared}))
    with pytest.raises(PermanentError, match=f"candidate 'odd' .*{says}|{says}"):
        train_candidate(training, "odd")


@pytest.mark.parametrize(
    "declared",
    [
        candidate("linear_model.LogisticRegression"),
        candidate("ensemble.HistGradientBoostingClassifier", encoding="ordinal"),
        candidate("ensemble.RandomForestClassifier", params={"n_estimators": 5}),
        candidate("linear_model.RidgeClassifier", calibrate="sigmoid"),
    ],
    ids=lambda c: c.estimator.rpartition(".")[2],
)
def test_what_can_serve_is_tried_and_let_through(
    declared: Candidate, published: World, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def watched(*arguments: Any) -> Any:
        tried.append(fit(*arguments))
        return tried[-1]

    monkeypatch.setattr("pipelines.training.candidates.fit", watched)
    rows = published.training(7).rows.fit
    try_out(use_case, "good", declared, rows)
    (pipeline,) = tried
    assert pipeline.predict_proba(rows[list(use_case.features.names)]).shape == (len(rows), 2)


def test_few_rows_of_many_a_day_are_a_sample_within_the_days(published: World, use_case: UseCase) -> None:
    """1,500 rows a day and 1,000 to search on: the newest alone would be one day, too few for two folds."""
    rows = published.training(13).rows.fit
    crowded = pd.concat([rows] * 12, ignore_index=True).sort_values(["ship_date", "shipment_id"], ignore_index=True)
    hasty = changed(use_case, "training", search_rows=1000)
    assert crowded.tail(1000)["ship_date"].nunique() == 1
    found = newest_rows(crowded, hasty)
    assert len(found) <= 1000
    assert found["ship_date"].nunique() == 2 * hasty.training.folds
    assert found["ship_date"].is_monotonic_increasing
    sizes = found.groupby("ship_date").size()
    assert sizes.min() > 0.8 * sizes.max()
    assert found["ship_date"].max() == crowded["ship_date"].max()
    assert len(time_folds(found["ship_date"], hasty.training.folds)) == hasty.training.folds
    pd.testing.assert_frame_equal(newest_rows(crowded, hasty), found)
    simple = use_case.training.candidates["logistic"]
    assert search(changed(hasty, "training", trials=1), simple, crowded).trials == 1


def test_where_the_newest_rows_are_days_enough_they_are_taken_as_they_are(published: World, use_case: UseCase) -> None:
    rows = published.training(13).rows.fit
    pd.testing.assert_frame_equal(newest_rows(rows, use_case), rows)
    pd.testing.assert_frame_equal(newest_rows(rows, changed(use_case, "training", search_rows=1000)), rows.tail(1000))
