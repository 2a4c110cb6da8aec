"""Defects that the gate `overfit` alone stops."""

from __future__ import annotations

import pytest

from tests.gates.planted import defect, failed

DEFECTS = {
    "learnt by heart": defect(training_auc=1.0),
    "training score unknown": defect(training_auc=None),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["overfit"]
