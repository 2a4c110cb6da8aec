"""Gate: a little noise, missing values and unseen categories neither crash the model nor change most of its actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.gates.evidence import Array, Challenger, Evidence
from pipelines.results import Verdict
from pipelines.use_case import Gates, UseCase

if TYPE_CHECKING:
    import pandas as pd

_ROWS, _NOISE, _MISSING = 2000, 0.01, 0.1
UNSEEN = "never seen before"


@dataclass(frozen=True)
class Stability:
    """Share of rows whose action changes when their values are disturbed; `problem` says what crashed."""

    rows: int = 0
    noise_flips: float | None = None
    missing_flips: float | None = None
    unseen_flips: float | None = None
    problem: str | None = None


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    seen = evidence.measured.get("stability")
    if not isinstance(seen, Stability) or seen.problem:
        why = seen.problem if isinstance(seen, Stability) else "it was not tried"
        return Verdict("stability", False, f"With disturbed input: {why}: counted as no.")
    limits = {
        "a little noise": (seen.noise_flips, settings.max_noise_flips),
        "one value in ten missing": (seen.missing_flips, settings.max_missing_flips),
        "unseen categories": (seen.unseen_flips, settings.max_unseen_flips),
    }
    numbers = {"rows": seen.rows, "noise": seen.noise_flips, "missing": seen.missing_flips, "unseen": seen.unseen_flips}
    bad = [what for what, (flips, most) in limits.items() if flips is None or flips > most]
    changed = ", ".join(f"{what} {'?' if flips is None else f'{flips:.1%}'}" for what, (flips, _) in limits.items())
    word = f"{' and '.join(bad)} would change too many actions" if bad else "Disturbed input changes few actions"
    return Verdict("stability", not bad and seen.rows > 0, f"{word[0].upper()}{word[1:]} (changed by: {changed}).", numbers)


def measure(challenger: Challenger) -> Stability:
    """Disturb the challenger's rows."""
    return disturb(challenger.training.use_case, challenger.predict, challenger.rows)


def disturb(use_case: UseCase, predict: Callable[[pd.DataFrame], Array], rows: pd.DataFrame, seed: int = 0) -> Stability:
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
    return Stability(rows=len(sample), noise_flips=flips["noise"], missing_flips=flips["missing"], unseen_flips=flips["unseen"])


def _noisy(use_case: UseCase, rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Normal noise of a hundredth of each number's spread."""
    numeric = rows[list(use_case.numeric)].astype(float)
    noise = random.normal(0, _NOISE, numeric.shape) * numeric.std(ddof=0).fillna(0).to_numpy()
    return rows.assign(**(numeric + noise))


def _gaps(use_case: UseCase, rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """One value in ten gone, numbers and categories alike."""
    names = list(use_case.features.names)
    holes = random.random((len(rows), len(names))) < _MISSING
    numeric = {name: rows[name].astype(float) for name in use_case.numeric}
    return rows.assign(**numeric).assign(**{n: lambda r, n=n, i=i: r[n].mask(holes[:, i]) for i, n in enumerate(names)})


def _unseen(use_case: UseCase, rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    return rows.assign(**dict.fromkeys(use_case.features.categorical, UNSEEN))
