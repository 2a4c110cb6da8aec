"""Statistics that the gates and the model card share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000
MIN_DAYS = 3


def day_bootstrap(difference: NDArray[Any], day: NDArray[Any], confidence: float, seed: int = 0) -> tuple[float, float, float]:
    """Mean difference with its percentile interval over resampled days.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 8 (blocks of dependent data).
    """
    _, index = np.unique(day, return_inverse=True)
    sums, counts = np.bincount(index, weights=difference), np.bincount(index)
    draws = np.random.default_rng(seed).integers(0, len(sums), (_RESAMPLES, len(sums)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(difference.mean()), float(low), float(high)
