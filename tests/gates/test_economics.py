"""Defects that the gate `economics` alone stops."""

from __future__ import annotations

import pytest

from tests.gates.planted import failed, matrix

DEFECTS = {
    "wrong sign: a hit costs": matrix(true_positive=-45),
    "wrong sign: a false alarm pays": matrix(false_positive=15),
    "wrong sign: a miss pays": matrix(false_negative=200),
    "wrong sign: peace costs": matrix(true_negative=-100),
    "worth too little": matrix(true_positive=-19, false_positive=-2, true_negative=1),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["economics"]
