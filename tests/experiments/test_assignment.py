"""A unit keeps its variant while weights stand, and a change of weights moves as few units as it can."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.experiments.assignment import SLOTS, first, given_up, moved, shares, slot, variants_of
from pipelines.use_case import ROOT

NAMES = ("champion", "a", "b", "c", "d")
PARTS = st.lists(st.integers(0, 1000), min_size=2, max_size=5).filter(any)


def weights(parts: list[int]) -> dict[str, float]:
    return {name: part / sum(parts) for name, part in zip(NAMES, parts, strict=False)}


def unrolled(owners: list[tuple[str, int]]) -> np.ndarray:
    return np.repeat([v for v, _ in owners], [n for _, n in owners])


@given(st.lists(PARTS, min_size=2, max_size=6))
def test_weights_are_kept_to_a_slot_and_each_change_moves_only_the_difference(changes: list[list[int]]) -> None:
    owners = first(weights(changes[0]))
    for parts in changes[1:]:
        after = moved(owners, weights(parts))
        wanted, before, now = weights(parts), shares(owners), shares(after)
        assert sum(n for _, n in after) == SLOTS
        assert all(abs(now.get(name, 0) - share) <= 1 / SLOTS for name, share in wanted.items())
        difference = sum(abs(now.get(name, 0) - before.get(name, 0)) for name in NAMES) / 2
        assert (unrolled(owners) != unrolled(after)).mean() == pytest.approx(difference)
        owners = after


def test_a_slot_is_the_same_in_every_process_and_uniform() -> None:
    code = "from pipelines.experiments.assignment import slot; print(slot('salt', 'N123'))"
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert int(other) == slot("salt", "N123") == 2239
    counts = np.bincount([slot("salt", f"unit {i}") // 1000 for i in range(50_000)], minlength=10)
    assert abs(counts - 5000).max() < 4 * np.sqrt(5000)


def test_another_salt_is_another_lot() -> None:
    units = [f"unit {i}" for i in range(2000)]
    one, other = (variants_of(salt, units, [("champion", 5000), ("a", 5000)]) for salt in ("one", "other"))
    assert 0.45 < (one == other).mean() < 0.55


def test_what_is_given_up_goes_to_the_champion() -> None:
    owners = given_up([("champion", 4000), ("a", 3000), ("b", 3000)], {"a"}, "champion")
    assert shares(owners) == {"champion": 0.7, "b": 0.3}
