"""The scores that models are judged by, of a binary label and the probability of the positive one."""

from __future__ import annotations

from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Residuals:
    """A measure of labelled rows against what the probabilities that were served promise of these very rows.

    `value` is 0 in expectation where they are calibrated, whatever the mix of rows. `rows` (n,) has the mean `value`, to first
    order; `variance` (n,) is what they promise of it; `most` bounds what one row adds.
    """

    value: float
    rows: Floats
    variance: Floats
    most: float


def deviations(label: ArrayLike, probability: ArrayLike) -> dict[str, Residuals]:
    """What the served probabilities promised of rows (n,) of a binary target, against what came: the one place that knows how.

    `excess_loss`: log loss minus its expectation, the entropy of the probabilities. `calibration_gap`: share predicted minus
    share observed. `auc_loss`: the AUC that the probabilities promise minus the one that came, where both classes did. To first
    order all three are sums of residuals with weights in which the outcomes have no part: one kind of interval does for all.
    Source: Dawid, "The well-calibrated Bayesian", 1982; the AUC by the derivative of its ratio of sums.
    """
    y, p = np.asarray(label, dtype=float), clip(probability)
    if len(y) == 0:
        return {}
    weights = {"excess_loss": -np.log(p / (1 - p)), "calibration_gap": -np.ones_like(p)}
    found = {name: _weighted(y, p, weight) for name, weight in weights.items()}
    if 0 < y.sum() < len(y):
        group = np.unique(p, return_inverse=True)[1]
        promised, slope = _promised_auc(p, group)
        found["auc_loss"] = replace(_weighted(y, p, -slope * len(p)), value=promised - _promised_auc(y, group)[0])
    return found


def entropy(probability: ArrayLike) -> Floats:
    """The log loss that a calibrated probability promises of each row."""
    p = clip(probability)
    found: Floats = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    return found


def entropy_variance(probability: ArrayLike) -> Floats:
    """The variance of that log loss, of each row."""
    p = clip(probability)
    found: Floats = np.log(p / (1 - p)) ** 2 * p * (1 - p)
    return found


def _weighted(label: Floats, p: Floats, weight: Floats) -> Residuals:
    rows, most = weight * (label - p), np.abs(weight) * np.maximum(p, 1 - p)
    return Residuals(float(rows.mean()), rows, weight**2 * p * (1 - p), float(most.max()))


def _promised_auc(p: Floats, group: NDArray[np.intp]) -> tuple[float, Floats]:
    """Expected pairs in order over expected pairs, of rows (n,) that come true with `p` and rank by `group`; and its slope by
    each outcome. Of outcomes in place of `p` it is their AUC."""
    positive, negative = np.bincount(group, p), np.bincount(group, 1 - p)
    below = (np.cumsum(negative) - negative / 2)[group] - (1 - p) / 2  # negatives that are ranked lower, without the row
    above = (positive.sum() - np.cumsum(positive) + positive / 2)[group] - p / 2
    pairs = p.sum() * (1 - p).sum() - (p * (1 - p)).sum()
    if pairs <= 0:
        return 0.5, np.zeros_like(p)
    auc = float((p * below).sum() / pairs)
    others = ((1 - p).sum() - (1 - p)) - (p.sum() - p)
    return auc, (below - above - auc * others) / pairs
