"""Section `value:` what a prediction is worth, and what acting on predictions was worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.use_case.section import Section


class Value(Section):
    """What a prediction is worth, in `unit` per row, once its outcome is known."""

    unit: str = "USD"
    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float = 0.0


def worth(label: ArrayLike, act: ArrayLike, value: Value) -> NDArray[np.float64]:
    """What acting, or not, was worth per row, against doing nothing, in `value.unit`."""
    positive, act = np.asarray(label) == 1, np.asarray(act, dtype=bool)
    acted = np.where(positive, value.true_positive, value.false_positive)
    nothing = np.where(positive, value.false_negative, value.true_negative)
    return np.where(act, acted - nothing, 0.0)


def money(label: ArrayLike, probability: ArrayLike, value: Value, threshold: float) -> float:
    """What acting from `threshold` on was worth, against doing nothing, in `value.unit`."""
    return float(worth(label, np.asarray(probability) >= threshold, value).sum())
