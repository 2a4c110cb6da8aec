"""Distances between a reference and current rows, and what they are where nothing has changed.

Columns are numbers: values as they are, categories as codes, NaN where there is none. The formulas are Evidently's
(`wasserstein` normed by the reference's spread, `jensenshannon`); here they cost a millisecond, so that the noise can be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pandas import DataFrame

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]
Part = tuple[NDArray[np.intp], NDArray[np.intp]]  # rows of a block, and of the rest
_DRAWS = 20
CHANCE = 0.05  # of one feature among all that is beyond its noise where nothing has changed
_LEAST_FACTOR = 1.5  # miles and kilometres, the closest of the usual units, are 1.6 apart
_NONE = -1e15
_FOLDS, _TOLD = 3, 2000  # of the classifier, and the rows of each side that it sees


@dataclass(frozen=True)
class Moved:
    """How far one column is from the reference, beyond the noise: `distance`, and whether chance explains it.

    `nulls` is the change of the share without a value where chance does not explain it; `unseen` the share of values that the
    reference does not know; `factor` what the values were multiplied by, where that alone explains the distance.
    """

    distance: float
    noise: float
    real: bool
    nulls: float = 0.0
    unseen: float = 0.0
    factor: float | None = None


@dataclass(frozen=True)
class Noise:
    """What blocks of a reference are from the rest: distances, and changes of the share without a value, (draws,) each."""

    distances: Floats
    nulls: Floats


def encoded(
    reference: DataFrame, current: DataFrame, names: Sequence[str], categorical: Sequence[str]
) -> tuple[Columns, Columns]:
    """Both sides as columns of numbers; a category has the same code on both."""
    import pandas as pd

    found: tuple[dict[str, Floats], dict[str, Floats]] = {}, {}
    for name in names:
        both = pd.concat([reference[name], current[name]], ignore_index=True)
        if name in categorical:
            codes = pd.factorize(both.astype("string"))[0].astype(float)
            values = np.where(codes < 0, np.nan, codes)
        else:
            values = both.astype("float64").replace([np.inf, -np.inf], np.nan).to_numpy()
        found[0][name], found[1][name] = values[: len(reference)], values[len(reference) :]
    return found


def distance(reference: Floats, current: Floats, categorical: bool) -> float:
    """1 where one side has no value at all, 0 where neither has."""
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import wasserstein_distance

    reference, current = reference[~np.isnan(reference)], current[~np.isnan(current)]
    if not len(reference) or not len(current):
        return float(len(reference) != len(current))
    if not categorical:
        return float(wasserstein_distance(reference, current) / max(float(np.std(reference)), 0.001))
    size = int(max(reference.max(), current.max())) + 1
    shares = [np.bincount(side.astype(int), minlength=size) / len(side) for side in (reference, current)]
    return float(np.nan_to_num(jensenshannon(*shares)))  # of equal shares, rounding may leave the root of less than nothing


def blocks(partitions: Sequence[str], length: int, size: int, seed: int) -> Iterator[Part]:
    """Rows of the reference (n,) as if they were current, and the others, `size` of each at most, seeded.

    `length` partitions in a row, as long as the window: rows of a day are not independent, and days differ. Where there are no
    two such, rows by lot.
    """
    random, names = np.random.default_rng(seed), np.asarray(partitions)
    keys, number = np.unique(names, return_inverse=True)
    length = min(length, len(keys) // 2)
    for _ in range(_DRAWS):
        inside = (number - random.integers(len(keys))) % len(keys) < length if length else random.random(len(names)) < 1 / 2
        sides = (random.permutation(np.flatnonzero(side))[:size] for side in (inside, ~inside))
        yield next(sides), next(sides)


def noise_of(pool: Columns, categorical: Sequence[str], drawn: Sequence[Part]) -> dict[str, Noise]:
    """By column, over the blocks that were drawn of a reference's pool."""
    found = {}
    for name, values in pool.items():
        is_category = name in categorical
        found[name] = Noise(
            np.array([distance(values[rest], values[block], is_category) for block, rest in drawn]),
            np.array([np.isnan(values[block]).mean() - np.isnan(values[rest]).mean() for block, rest in drawn]),
        )
    return found


def measure(
    noises: Mapping[str, Noise], reference: Columns, current: Columns, categorical: Sequence[str], limit: float
) -> dict[str, Moved]:
    """Every column of `current` against the reference, and against what blocks of the reference are from the rest of it.

    Squares of distances add up, so the noise's is subtracted. Chance is told from change by the noise's normal quantile,
    corrected over columns (Bonferroni).
    """
    from scipy.stats import norm

    quantile = float(norm.isf(CHANCE / max(len(reference), 1)))
    found = {}
    for name, known in reference.items():
        now, is_category = current[name], name in categorical
        noise, null_noise = noises[name].distances, noises[name].nulls
        raw, gone = distance(known, now, is_category), float(np.isnan(now).mean() - np.isnan(known).mean())
        real = raw > noise.mean() + quantile * noise.std()
        found[name] = Moved(
            distance=float(np.sqrt(max(raw**2 - (noise**2).mean(), 0.0))),
            noise=float(np.sqrt((noise**2).mean())),
            real=bool(real),
            nulls=gone if abs(gone) > quantile * null_noise.std() else 0.0,
            unseen=_unseen(known, now) if is_category else 0.0,
            factor=None if is_category or not real else factor(known, now, limit),
        )
    return found


def _unseen(reference: Floats, current: Floats) -> float:
    values = current[~np.isnan(current)]
    return float((~np.isin(values, reference)).mean()) if len(values) else 0.0


def factor(reference: Floats, current: Floats, limit: float) -> float | None:
    """What the values were multiplied by, if that explains what moved: divided by it they are where they were."""
    reference, current = reference[~np.isnan(reference)], current[~np.isnan(current)]
    if not len(reference) or not len(current):
        return None
    before, now = (np.quantile(side, (0.1, 0.25, 0.5, 0.75, 0.9)) for side in (reference, current))
    usable = (np.abs(before) > 0) & (np.abs(now) > 0)
    if usable.sum() < 3:
        return None
    found = float(np.median(now[usable] / before[usable]))
    if found <= 0 or 1 / _LEAST_FACTOR < found < _LEAST_FACTOR:
        return None
    left = distance(reference, current / found, False)
    return found if left <= min(limit, distance(reference, current, False) / 5) else None


def telling_apart(reference: Columns, current: Columns, names: Sequence[str], seed: int) -> float:
    """Cross-validated AUC of a small classifier that tells the current rows from the reference's; 0.5 is not at all.

    Source: Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", 2017.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    sides = [np.column_stack([side[name] for name in names])[:_TOLD] for side in (reference, current)]
    if min(len(side) for side in sides) < 10 * _FOLDS:
        return 0.5
    # To a tree none is as good as a value below all; a column of none at all, as on calm days, its binning does not survive.
    rows, side = np.nan_to_num(np.concatenate(sides), nan=_NONE), np.repeat([0, 1], [len(s) for s in sides])
    model = HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=8, early_stopping=False, random_state=seed)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    return float(cross_val_score(model, rows, side, cv=folds, scoring="roc_auc").mean())
