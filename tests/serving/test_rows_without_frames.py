"""The model's steps say of arrays what its pipeline says of a frame; where they would not, frames are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

from pipelines.serving import rows as served_rows
from pipelines.serving.rows import Columns, Rows, probabilities
from pipelines.training.estimators import fit
from pipelines.use_case import Candidate, UseCase
from pipelines.workspace import Model
from tests import synthetic
from tests.conftest import changed
from tests.serving.serving_world import row

ODD = [row(), row(weight=None, rating=None, carrier="ZZ"), row(depot=None), {}, row(distance=1e6, pieces=0)]
CANDIDATES = {
    "logistic": {"estimator": "sklearn.linear_model.LogisticRegression"},
    "calibrated": {"estimator": "sklearn.linear_model.LogisticRegression", "calibrate": "sigmoid"},
    "boosting": {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "encoding": "ordinal"},
    "forest": {"estimator": "sklearn.ensemble.RandomForestClassifier", "encoding": "ordinal", "params": {"n_estimators": 5}},
}


def training_rows(use_case: UseCase) -> pd.DataFrame:
    day = synthetic.days(use_case, 1)[0]
    shipments, _ = synthetic.parcels(day)
    found = synthetic.features(day, shipments)
    return found.assign(label=(found["distance"] > found["distance"].median()).astype(int))


def fitted(use_case: UseCase, how: dict[str, Any]) -> Model:
    return model_of(fit(use_case, Candidate(**how), {}, training_rows(use_case)), use_case)


def model_of(pipeline: Any, use_case: UseCase) -> Model:
    return Model("parcels", 1, pipeline, {"features": list(use_case.features.names)})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("how", CANDIDATES)
@pytest.mark.filterwarnings("error")
def test_each_kind_of_model_says_the_same_without_frames(how: str, use_case: UseCase, caplog: pytest.LogCaptureFixture) -> None:
    model = fitted(use_case, CANDIDATES[how])
    columns = Columns(use_case, model)
    found = probabilities(model, columns, columns.of([row()]))
    rows = columns.of(ODD)
    assert found(rows) == pytest.approx(model.predict(columns.frame(rows)), abs=1e-12, rel=0)
    for place in range(len(ODD)):
        one = rows[[place]]
        assert found(one) == pytest.approx(model.predict(columns.frame(one)), abs=1e-12, rel=0)
    assert not caplog.records


def test_a_model_of_numbers_alone_needs_no_texts(use_case: UseCase, caplog: pytest.LogCaptureFixture) -> None:
    numbers = changed(
        use_case, "features", categorical=(), expressions={"distance": "distance", "weight": "weight"}, history=()
    )
    model = fitted(numbers, CANDIDATES["logistic"])
    columns = Columns(numbers, model)
    rows = columns.of(ODD)
    assert (rows.texts.shape, rows.numbers.shape) == ((5, 0), (5, 2))
    assert probabilities(model, columns, rows)(rows) == pytest.approx(model.predict(columns.frame(rows)), abs=1e-12, rel=0)
    assert not caplog.records


def built_otherwise(model: Model, use_case: UseCase, _: pytest.MonkeyPatch) -> Model:
    return model_of(make_pipeline(*model.pipeline.named_steps.values()), use_case)


def says_otherwise(model: Model, _: UseCase, patch: pytest.MonkeyPatch) -> Model:
    nameless = served_rows._nameless

    def crooked(step: Any) -> Any:
        step = nameless(step)
        if hasattr(step, "statistics_"):
            step.statistics_ = step.statistics_ + 1  # what a missing number becomes
        return step

    patch.setattr(served_rows, "_nameless", crooked)
    return model


@pytest.mark.parametrize("planted", [built_otherwise, says_otherwise], ids=lambda p: p.__name__)
def test_steps_that_say_otherwise_are_not_asked(
    planted: Any, use_case: UseCase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = planted(fitted(use_case, CANDIDATES["boosting"]), use_case, monkeypatch)
    columns = Columns(use_case, model)
    rows: Rows = columns.of(ODD)
    assert np.array_equal(probabilities(model, columns, rows)(rows), model.predict(columns.frame(rows)))
    assert "frames are made for each answer" in caplog.text
