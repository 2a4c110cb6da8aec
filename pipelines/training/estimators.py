"""Estimators: a scikit-learn pipeline per candidate, fitted and scored; and its search space."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pipelines.metrics import scores
from pipelines.use_case import Candidate, UseCase

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

_CALIBRATION_FOLDS = 3


def make_pipeline(use_case: UseCase, candidate: Candidate, params: dict[str, Any], seed: int) -> Pipeline:
    """Preprocessing and estimator in one pipeline, so that serving cannot differ from training."""
    from sklearn.pipeline import Pipeline

    module, _, name = candidate.estimator.rpartition(".")
    estimator = getattr(importlib.import_module(module), name)(**{**candidate.params, **params})
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=seed)
    return Pipeline([("columns", _columns(use_case, candidate)), ("estimator", _calibrated(estimator, candidate))])


def _calibrated(estimator: BaseEstimator, candidate: Candidate) -> BaseEstimator:
    """The estimator, its probabilities calibrated on newer rows than each copy was fitted on; rows come in order of time."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import TimeSeriesSplit

    if candidate.calibrate is None:
        return estimator
    return CalibratedClassifierCV(estimator, method=candidate.calibrate, cv=TimeSeriesSplit(_CALIBRATION_FOLDS))


def _columns(use_case: UseCase, candidate: Candidate) -> ColumnTransformer:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    numeric, categorical = list(use_case.numeric), list(use_case.features.categorical)
    # A column without any value in the training rows stays a column, so that the model's shape is the declared one.
    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    if candidate.encoding == "ordinal":
        ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
        return ColumnTransformer([("numeric", impute, numeric), ("categorical", ordinal, categorical)])
    scale = Pipeline([("impute", impute), ("scale", StandardScaler())])
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=50, sparse_output=False)
    return ColumnTransformer([("numeric", scale, numeric), ("categorical", one_hot, categorical)])


def fit(use_case: UseCase, candidate: Candidate, params: dict[str, Any], rows: pd.DataFrame) -> Pipeline:
    """The candidate's pipeline fitted on `rows`, by one thread: candidates train side by side, and the last bits of a
    sum hang on the number of threads, which a model that is reproduced elsewhere may not."""
    from threadpoolctl import threadpool_limits

    pipeline = make_pipeline(use_case, candidate, params, use_case.training.seed)
    with threadpool_limits(1):
        return pipeline.fit(rows[list(use_case.features.names)], rows["label"])


def evaluate_on(pipeline: Pipeline, use_case: UseCase, rows: pd.DataFrame) -> dict[str, float | int | None]:
    """The pipeline's scores on `rows`."""
    probability = pipeline.predict_proba(rows[list(use_case.features.names)])[:, 1]
    return scores(rows["label"].to_numpy(), probability)


def suggest(trial: optuna.Trial, candidate: Candidate) -> dict[str, Any]:
    """One point of the candidate's search space."""
    found: dict[str, Any] = {}
    for name, search in candidate.search.items():
        if search.type == "categorical":
            found[name] = trial.suggest_categorical(name, list(search.choices))
        elif search.type == "int":
            found[name] = trial.suggest_int(name, int(search.low or 0), int(search.high or 0), log=search.log)
        else:
            found[name] = trial.suggest_float(name, search.low, search.high, log=search.log)
    return found
