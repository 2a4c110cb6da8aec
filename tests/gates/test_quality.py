"""Defects that the gate `quality` alone stops."""

from __future__ import annotations

import pytest

from tests.gates.planted import failed, weak

DEFECTS = {
    "weak model": weak(),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["quality"]
