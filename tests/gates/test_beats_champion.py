"""Defects that the gate `beats_champion` alone stops."""

from __future__ import annotations

import numpy as np
import pytest

from tests.gates.planted import ROWS, _logit, _sigmoid, defect, failed, good, with_nan

DEFECTS = {
    "worse than the champion": defect(champion=good().challenger, challenger=_sigmoid(0.8 * _logit(good().challenger))),
    "the champion itself": defect(champion=good().challenger),
    "champion not comparable": defect(champion=None, champion_problem="v3 failed: it is gone"),
    "champion with NaN": defect(champion=with_nan(good().champion)),
    "champion of wrong length": defect(champion=good().champion[:-1]),
    "gain on a single day": defect(day=np.full(ROWS, "2024-03-01")),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["beats_champion"]
