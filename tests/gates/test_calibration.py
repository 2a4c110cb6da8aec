"""Defects that the gate `calibration` alone stops."""

from __future__ import annotations

import pytest

from tests.gates.planted import failed, overconfident

DEFECTS = {
    "overconfident": overconfident(),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["calibration"]
