"""Defects that the gate `after_promotion` alone stops; and the real steps, in a fresh process, on a model of the registry."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from pipelines.errors import TransientError
from pipelines.gates import Challenger
from pipelines.gates.after_promotion import Tried, measure
from pipelines.use_case import features_table, labels_table
from tests.conftest import AFTER, World
from tests.gates.planted import away, breaks, failed, measured

STEPS = ("pipelines.scoring:rehearse", "pipelines.monitoring:rehearse")
DEFECTS = {
    "nothing was tried": measured(after_promotion=None),
    "no steps were passed in": measured(after_promotion=Tried()),
    "monitoring would crash": measured(after_promotion=Tried(STEPS, {STEPS[1]: "TypeError: boolean"})),
    "no process answered": measured(after_promotion=Tried(STEPS, {"all": "it did not answer within 300 seconds"})),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["after_promotion"]


def rows_of(world: World) -> pd.DataFrame:
    lake, day = world.workspace.lake, [world.days[5].key, world.days[6].key, world.days[7].key]
    features, labels = (lake.read(t(world.use_case), day).to_pandas() for t in (features_table, labels_table))
    found: pd.DataFrame = features.merge(labels[["shipment_id", "label"]], on="shipment_id")
    return found


def tried(world: World, rows: pd.DataFrame, steps: Any = AFTER, uri: str = "models:/parcels/1") -> Tried:
    return measure(Challenger(world.training(7), uri, lambda r: r, rows, rows["label"].to_numpy(), steps))


def test_the_real_steps_work_on_a_real_champion(one_champion: World) -> None:
    assert tried(one_champion, rows_of(one_champion)) == Tried((*STEPS, "pipelines.promotion:rehearse"), {})


def test_a_step_that_breaks_is_named_and_the_others_are_tried(one_champion: World) -> None:
    found = tried(one_champion, rows_of(one_champion), (breaks, AFTER[0]))
    address = "tests.gates.planted:breaks"
    assert found.problems == {address: "RuntimeError: v1 cannot be shown: http://***@host"}
    assert found.steps == (address, STEPS[0])


def test_what_does_not_answer_is_tried_again_and_no_verdict(one_champion: World) -> None:
    with pytest.raises(TransientError, match="the store does not answer"):
        tried(one_champion, rows_of(one_champion), (away,))


def test_a_model_that_does_not_load_is_a_problem_of_all(one_champion: World) -> None:
    found = tried(one_champion, rows_of(one_champion), uri="models:/parcels/99")
    assert "99" in found.problems["all"]


def test_rows_that_no_step_can_take_are_found_before_the_promotion(one_champion: World) -> None:
    """Planted: a number that came as text."""
    rows = rows_of(one_champion)
    found = tried(one_champion, rows.assign(distance="far"))
    assert set(found.problems) == {*STEPS, "pipelines.promotion:rehearse"}
    assert "far" in found.problems[STEPS[0]]
