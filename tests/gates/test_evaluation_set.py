"""Defects that the gate `evaluation_set` alone stops."""

from __future__ import annotations

import numpy as np
import pytest

from tests.gates.planted import defect, failed, few_rows, good

DEFECTS = {
    "too few rows": few_rows(),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["evaluation_set"]


def test_scores_above_1_are_no_probabilities() -> None:
    above = defect(challenger=np.where(good().label == 1, 1 + good().challenger * 1e-3, good().challenger))
    assert "evaluation_set" in failed(above)
