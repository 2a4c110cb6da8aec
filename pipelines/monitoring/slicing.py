"""Faults of one slice, which rows of all slices would hide: a value of a segment that is gone, nulls where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.monitoring.distances import CHANCE, Part

if TYPE_CHECKING:
    from pandas import DataFrame

_ROWS = 50  # of a slice, that a sample is expected to have
_MOST = 40  # slices, the largest


def slice_faults(
    reference: DataFrame, current: DataFrame, names: Sequence[str], segments: Sequence[str], parts: Sequence[Part]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """By slice: the reference's share of what is gone; by feature, the change of the share without a value, beyond chance.

    Chance is told from change as in `distances.measure`, corrected over slices and features.
    """
    from scipy.stats import norm

    slices = [(by, value) for by in segments for value in reference[by].value_counts().index[:_MOST]]
    quantile = float(norm.isf(CHANCE / max(len(slices) * len(names), 1)))
    before, now = (frame[list(names)].isna().to_numpy() for frame in (reference, current))
    gone: dict[str, float] = {}
    nulls: dict[str, dict[str, float]] = {}
    for by, value in slices:
        then, mine = ((frame[by] == value).fillna(False).to_numpy(dtype=bool) for frame in (reference, current))
        if then.mean() * len(current) < _ROWS:
            continue
        if not mine.any():
            gone[f"{by} {value}"] = float(then.mean())
        if mine.sum() >= _ROWS:
            noise = [_share(before, then, block) - _share(before, then, rest) for block, rest in parts]
            change = now[mine].mean(axis=0) - before[then].mean(axis=0)
            beyond = change > quantile * np.nanstd(noise, axis=0)
            nulls[f"{by} {value}"] = {n: float(c) for n, c, is_real in zip(names, change, beyond, strict=True) if is_real}
    return gone, {name: found for name, found in nulls.items() if found}


def _share(nulls: np.ndarray, mine: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """NaN where a part has no row of the slice."""
    chosen = rows[mine[rows]]
    return nulls[chosen].mean(axis=0) if len(chosen) else np.full(nulls.shape[1], np.nan)
