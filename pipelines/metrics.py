"""The scores that models are judged by, of a binary label and the probability of the positive one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_EDGE = 1e-6
Floats = NDArray[np.float64]


def scores(label: ArrayLike, probability: ArrayLike) -> dict[str, float | int | None]:
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


def clip(probability: ArrayLike) -> Floats:
    clipped: Floats = np.clip(np.asarray(probability, dtype=float), _EDGE, 1 - _EDGE)
    return clipped


def losses(label: Floats, probability: Floats) -> Floats:
    """Log loss of each row."""
    p = clip(probability)
    found: Floats = -(label * np.log(p) + (1 - label) * np.log(1 - p))
    return found


def calibration_error(label: Floats, probability: Floats, bins: int = 10) -> float:
    """Expected calibration error over bins of equal size: the weighted mean of |predicted - observed| share.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015.
    """
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(p) * abs(probability[p].mean() - label[p].mean()) for p in parts) / len(order))
