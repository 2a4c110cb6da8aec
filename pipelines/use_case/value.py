"""Section `value:` what a prediction is worth, and what acting on predictions was worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pipelines.use_case.section import Section


class Value(Section):
    """What a prediction is worth, in `unit` per row, once its outcome is known."""

    unit: str = "USD"
    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float = 0.0


def money(label: ArrayLike, probability: ArrayLike, value: Value, threshold: float) -> float:
    """What acting from `threshold` on was worth, against doing nothing, in `value.unit`."""
    act = np.asarray(probability) >= threshold
    positive = np.asarray(label) == 1
    gained = (act & positive).sum() * value.true_positive + (act & ~positive).sum() * value.false_positive
    missed = (~act & positive).sum() * value.false_negative + (~act & ~positive).sum() * value.true_negative
    nothing = positive.sum() * value.false_negative + (~positive).sum() * value.true_negative
    return float(gained + missed - nothing)
