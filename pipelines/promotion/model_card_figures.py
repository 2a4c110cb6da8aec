"""The numbers of a model card: intervals over whole days, calibration, importance of the features, what the data holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.gates import MIN_DAYS, day_bootstrap
from pipelines.metrics import losses
from pipelines.use_case import UseCase

CONFIDENCE = 0.95
_RESAMPLES, _BINS = 2000, 10
IMPORTANCE_ROWS, IMPORTANCE_REPEATS = 2000, 2

Array = NDArray[Any]


def intervals(label: Array, probability: Array, day: Array) -> dict[str, tuple[float, float] | None]:
    """The interval of each score over resampled whole days; None where there are too few days to tell."""
    if len(np.unique(day)) < MIN_DAYS:
        return {"auc": None, "log_loss": None, "calibration_error": None}
    _, low, high = day_bootstrap(losses(label, probability), day, CONFIDENCE)
    return {
        "auc": _auc_interval(label, probability, day),
        "log_loss": (low, high),
        "calibration_error": _calibration_interval(label, probability, day),
    }


def _draws(days: int, seed: int = 0) -> Array:
    """How often each day is in each resample, one row per resample; the same draws as `day_bootstrap`."""
    drawn = np.random.default_rng(seed).integers(0, days, (_RESAMPLES, days))
    return np.array([np.bincount(row, minlength=days) for row in drawn], dtype=float)


def _between(values: Array) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _auc_interval(label: Array, probability: Array, day: Array) -> tuple[float, float] | None:
    """Percentiles of the AUC over resampled days, from the number of rightly ordered pairs between each two days.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 8 (blocks of dependent data).
    """
    if len(np.unique(label)) < 2:
        return None
    _, index = np.unique(day, return_inverse=True)
    count, positive = int(index.max()) + 1, label == 1
    positives, negatives = (np.bincount(index[rows], minlength=count) for rows in (positive, ~positive))
    won = np.zeros((count, count))
    for each in range(count):
        below = np.sort(probability[~positive & (index == each)])
        ranks = [np.searchsorted(below, probability[positive], side=side) for side in ("left", "right")]
        won[:, each] = np.bincount(index[positive], weights=(ranks[0] + ranks[1]) / 2, minlength=count)
    weights = _draws(count)
    pairs = (weights @ positives) * (weights @ negatives)
    ordered = np.einsum("ri,ij,rj->r", weights, won, weights, optimize=True)
    return _between(np.divide(ordered, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))


def _calibration_interval(label: Array, probability: Array, day: Array) -> tuple[float, float]:
    """Percentiles of the calibration error over resampled days, in the bins of all rows.

    Resampling can only add to an error that is a sum of distances, so the interval is stretched to hold the error itself.
    """
    _, index = np.unique(day, return_inverse=True)
    parts, count = bins(probability), int(index.max()) + 1
    gaps = [np.bincount(index[p], weights=probability[p] - label[p], minlength=count) for p in parts]
    weights = _draws(count)
    rows = weights @ np.bincount(index, minlength=count)
    low, high = _between(np.abs(weights @ np.array(gaps).T).sum(axis=1) / rows)
    value = float(sum(abs(gap.sum()) for gap in gaps) / len(label))
    return min(low, value), max(high, value)


def bins(probability: Array) -> list[Array]:
    """Positions of the rows in bins of equal size by probability, as the calibration error has them."""
    parts = np.array_split(np.argsort(probability, kind="stable"), _BINS)
    return [part for part in parts if len(part)]


def calibration(label: Array, probability: Array) -> list[dict[str, Any]]:
    """Mean prediction and share that came true, per bin."""
    return [
        {"rows": len(part), "predicted": float(probability[part].mean()), "observed": float(label[part].mean())}
        for part in bins(probability)
    ]


def importances(use_case: UseCase, pipeline: Any, rows: Any) -> dict[str, Any]:
    """By how much log loss rises when one feature's values are shuffled, on a seeded sample; most important first.

    Source: Breiman, "Random Forests", 2001, section 10.
    """
    from sklearn.inspection import permutation_importance

    names, seed = list(use_case.features.names), use_case.training.seed
    few = rows.sample(min(len(rows), IMPORTANCE_ROWS), random_state=seed)
    found = permutation_importance(
        pipeline, few[names], few["label"], scoring=_score, n_repeats=IMPORTANCE_REPEATS, random_state=seed
    )
    each = [
        {"feature": name, "mean": float(drops.mean()), "low": float(drops.min()), "high": float(drops.max())}
        for name, drops in zip(names, found.importances, strict=True)
    ]
    return {
        "rows": len(few),
        "repeats": IMPORTANCE_REPEATS,
        "features": sorted(each, key=lambda e: -e["mean"]),  # type: ignore[operator]
    }


def _score(pipeline: Any, rows: Any, label: Any) -> float:
    """Defined for one class only, too, which scikit-learn's own is not."""
    return -float(losses(label.to_numpy(), pipeline.predict_proba(rows)[:, 1]).mean())


def statistics(use_case: UseCase, rows: Any) -> dict[str, Any]:
    """Rows, days, share of positive labels, and the share of missing values of the features."""
    dates = rows[use_case.features.date].astype(str)
    missing = rows[list(use_case.features.names)].isna().mean()
    return {
        "rows": len(rows),
        "days": int(dates.nunique()),
        "first_day": dates.min(),
        "last_day": dates.max(),
        "positive_share": float(rows["label"].mean()),
        "missing": {name: float(share) for name, share in missing[missing > 0].sort_values(ascending=False).items()},
        "complete_features": int((missing == 0).sum()),
    }
