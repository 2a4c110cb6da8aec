"""Disturbed input: does a model's action survive noise, missing values and categories that it never saw?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.gates.evidence import Stability
from pipelines.use_case import UseCase

_ROWS, _NOISE, _MISSING = 2000, 0.01, 0.1
UNSEEN = "never seen before"


def disturb(use_case: UseCase, predict: Callable[[Any], Any], rows: Any, seed: int = 0) -> Stability:
    """Share of actions that change, on a seeded sample of at most 2,000 of `rows`; a crash is an answer too."""
    sample = rows.sample(min(_ROWS, len(rows)), random_state=seed)
    random = np.random.default_rng(seed)
    acts = np.asarray(predict(sample)) >= use_case.scoring.threshold
    flips: dict[str, float] = {}
    for name, change in {"noise": _noisy, "missing": _gaps, "unseen": _unseen}.items():
        try:
            probability = np.asarray(predict(change(use_case, sample, random)), dtype=float)
        except Exception as error:  # whatever it is, a model that it stops cannot serve
            return Stability(len(sample), problem=f"{name} values crash it ({type(error).__name__}: {error})"[:500])
        if not np.isfinite(probability).all():
            return Stability(len(sample), problem=f"{name} values make it answer no number")
        flips[name] = float(((probability >= use_case.scoring.threshold) != acts).mean())
    return Stability(len(sample), flips["noise"], flips["missing"], flips["unseen"])


def _noisy(use_case: UseCase, rows: Any, random: np.random.Generator) -> Any:
    """Normal noise of a hundredth of each number's spread."""
    numeric = rows[list(use_case.numeric)].astype(float)
    noise = random.normal(0, _NOISE, numeric.shape) * numeric.std(ddof=0).fillna(0).to_numpy()
    return rows.assign(**(numeric + noise))


def _gaps(use_case: UseCase, rows: Any, random: np.random.Generator) -> Any:
    """One value in ten gone, numbers and categories alike."""
    names = list(use_case.features.names)
    holes = random.random((len(rows), len(names))) < _MISSING
    numeric = {name: rows[name].astype(float) for name in use_case.numeric}
    return rows.assign(**numeric).assign(**{n: lambda r, n=n, i=i: r[n].mask(holes[:, i]) for i, n in enumerate(names)})


def _unseen(use_case: UseCase, rows: Any, random: np.random.Generator) -> Any:
    return rows.assign(**dict.fromkeys(use_case.features.categorical, UNSEEN))
