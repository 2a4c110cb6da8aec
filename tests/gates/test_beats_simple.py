"""Defects that the gate `beats_simple` alone stops."""

from __future__ import annotations

import pytest

from tests.gates.planted import defect, failed, good

DEFECTS = {
    "no better than the simple model": defect(simple=good().challenger),
    "simple model unknown": defect(simple=None),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["beats_simple"]
