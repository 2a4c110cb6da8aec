"""Estimators: a scikit-learn pipeline per candidate, its search space, and the scores that models are judged by."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config import UseCase
from pipelines.settings import Candidate

_EDGE = 1e-6
_CALIBRATION_FOLDS = 3


def make_pipeline(use_case: UseCase, candidate: Candidate, params: dict[str, Any], seed: int) -> Any:
    """Preprocessing and estimator in one pipeline, so that serving cannot differ from training."""
    from sklearn.pipeline import Pipeline

    module, _, name = candidate.estimator.rpartition(".")
    estimator = getattr(importlib.import_module(module), name)(**{**candidate.params, **params})
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=seed)
    return Pipeline([("columns", _columns(use_case, candidate)), ("estimator", _calibrated(estimator, candidate))])


def _calibrated(estimator: Any, candidate: Candidate) -> Any:
    """The estimator, its probabilities calibrated on newer rows than each copy was fitted on; rows come in order of time."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import TimeSeriesSplit

    if candidate.calibrate is None:
        return estimator
    return CalibratedClassifierCV(estimator, method=candidate.calibrate, cv=TimeSeriesSplit(_CALIBRATION_FOLDS))


def _columns(use_case: UseCase, candidate: Candidate) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    numeric, categorical = list(use_case.numeric), list(use_case.features.categorical)
    # A column without any value in the training rows stays a column, so that the model's shape is the declared one.
    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    if candidate.encoding == "ordinal":
        encode: Any = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
        return ColumnTransformer([("numeric", impute, numeric), ("categorical", encode, categorical)])
    scale = Pipeline([("impute", impute), ("scale", StandardScaler())])
    encode = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=50, sparse_output=False)
    return ColumnTransformer([("numeric", scale, numeric), ("categorical", encode, categorical)])


def suggest(trial: Any, candidate: Candidate) -> dict[str, Any]:
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


def scores(label: NDArray[Any], probability: NDArray[Any]) -> dict[str, float | int | None]:
    """AUC, log loss, calibration error and shares. None where a score is not defined, as with one class only."""
    from sklearn.metrics import log_loss, roc_auc_score

    label, probability = np.asarray(label), np.asarray(probability, dtype=float)
    found: dict[str, float | int | None] = {"rows": len(label), "auc": None, "log_loss": None, "calibration_error": None}
    found |= {"positive_share": None, "mean_prediction": None}
    if len(label) == 0 or not np.isfinite(probability).all():
        return found
    found["positive_share"], found["mean_prediction"] = float(label.mean()), float(probability.mean())
    found["log_loss"] = float(log_loss(label, clip(probability), labels=[0, 1]))
    found["calibration_error"] = calibration_error(label, probability)
    if len(np.unique(label)) == 2:
        found["auc"] = float(roc_auc_score(label, probability))
    return found


def clip(probability: NDArray[Any]) -> NDArray[Any]:
    clipped: NDArray[Any] = np.clip(np.asarray(probability, dtype=float), _EDGE, 1 - _EDGE)
    return clipped


def losses(label: NDArray[Any], probability: NDArray[Any]) -> NDArray[Any]:
    """Log loss of each row."""
    p = clip(probability)
    found: NDArray[Any] = -(label * np.log(p) + (1 - label) * np.log(1 - p))
    return found


def calibration_error(label: NDArray[Any], probability: NDArray[Any], bins: int = 10) -> float:
    """Expected calibration error over bins of equal size: the weighted mean of |predicted - observed| share.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015.
    """
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(p) * abs(probability[p].mean() - label[p].mean()) for p in parts) / len(order))
