"""Defects that the gate `slices` alone stops."""

from __future__ import annotations

import numpy as np
import pytest

from tests.gates.planted import ROWS, bad_in, champion_knows, defect, failed, sure_of_one_slice

DEFECTS = {
    "one outcome in a large slice, and wrong there": sure_of_one_slice(),
    "useless in one slice": bad_in("east", np.random.default_rng(5).random(ROWS) * 0.2 + 0.4, simple=np.full(ROWS, 0.5)),
    "worse than the champion in one slice": champion_knows("east"),
    "segment missing": defect(segments={"depot": None}),
    "required slice missing": defect(segments={"depot": np.resize(("north", "east"), ROWS)}),
    "required slice too small": defect(segments={"depot": np.resize(("north",) * 19 + ("south",), ROWS)}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["slices"]
