"""Which unit gets which variant: a stable hash into slots, and slots that change hands as little as they can."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

SLOTS = 10_000
Runs = Sequence[tuple[str, int]]  # in order: a variant, and how many slots in a row it has


def slot(salt: str, unit: str) -> int:
    """From 0 to `SLOTS` - 1, the same everywhere and for ever."""
    return int.from_bytes(hashlib.sha256(f"{salt}\0{unit}".encode()).digest()[:8]) % SLOTS


def variants_of(salt: str, units: Iterable[str], owners: Runs) -> NDArray[np.str_]:
    """Of units (n,) the variant that each is assigned to (n,)."""
    units = list(units)
    places = {unit: slot(salt, unit) for unit in set(units)}
    ends = np.cumsum([count for _, count in owners])  # without all the slots, as an answer has no time for them
    run = np.searchsorted(ends, [places[unit] for unit in units], side="right")
    return np.array([variant for variant, _ in owners], dtype="U64")[run]


def moved(owners: Runs, weights: Mapping[str, float]) -> Runs:
    """The slots by other weights, which sum up to 1: only what a variant has too many of goes to those that have too few."""
    now, wanted = _unrolled(owners), _counts(weights)
    free = np.concatenate([np.flatnonzero(now == v)[wanted.get(v, 0) :] for v in sorted(set(now))])
    for variant, count in wanted.items():
        lacking = max(0, count - int((now == variant).sum()))
        now[free[:lacking]], free = variant, free[lacking:]
    return _rolled(now)


def first(weights: Mapping[str, float]) -> Runs:
    return [(variant, count) for variant, count in _counts(weights).items() if count]


def shares(owners: Runs) -> dict[str, float]:
    """Of each variant that has any slot."""
    found: dict[str, int] = {}
    for variant, count in owners:
        found[variant] = found.get(variant, 0) + count
    return {variant: count / SLOTS for variant, count in found.items()}


def given_up(owners: Runs, variants: Iterable[str], to: str) -> Runs:
    """The slots of these variants are another one's."""
    gone = set(variants)
    return [(to if variant in gone else variant, count) for variant, count in owners]


def _counts(weights: Mapping[str, float]) -> dict[str, int]:
    """Whole slots, all of them: what rounding leaves goes to where it took most."""
    exact = {variant: weight * SLOTS for variant, weight in weights.items()}
    counts = {variant: int(value) for variant, value in exact.items()}
    by_rest = sorted(exact, key=lambda variant: counts[variant] - exact[variant])
    for variant in by_rest[: SLOTS - sum(counts.values())]:
        counts[variant] += 1
    return counts


def _unrolled(owners: Runs) -> NDArray[np.str_]:
    return np.repeat(np.array([variant for variant, _ in owners], dtype="U64"), [count for _, count in owners])


def _rolled(owners: NDArray[np.str_]) -> Runs:
    return [(str(variant), len(list(slots))) for variant, slots in groupby(owners.tolist())]
