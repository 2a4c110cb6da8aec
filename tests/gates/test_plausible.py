"""Defects that the gate `plausible` alone stops."""

from __future__ import annotations

import numpy as np
import pytest

from tests.gates.planted import defect, failed, good

DEFECTS = {
    "label among the features": defect(challenger=np.where(good().label == 1, 0.97, 0.03), training_auc=1.0),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["plausible"]
