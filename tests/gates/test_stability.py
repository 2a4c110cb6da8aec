"""Disturbed input: what the models survive, and each defect that they may not have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.gates.evidence import Evidence
from pipelines.gates.stability import UNSEEN, Stability, disturb, judge
from pipelines.use_case import Gates, UseCase, features_table
from tests.conftest import World
from tests.gates.planted import disturbed, failed, measured

DEFECTS = {
    "never disturbed": measured(stability=None),
    "flips with noise": disturbed(noise_flips=0.11),
    "flips with gaps": disturbed(missing_flips=0.51),
    "flips on unseen categories": disturbed(unseen_flips=0.51),
    "crashes on unseen categories": disturbed(unseen_flips=None, problem="unseen values crash it"),
    "flips not known": disturbed(missing_flips=None),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["stability"]


@pytest.fixture
def rows(one_champion: World) -> pd.DataFrame:
    keys = [day.key for day in one_champion.days[:6]]
    found: pd.DataFrame = one_champion.workspace.lake.read(features_table(one_champion.use_case), keys).to_pandas()
    return found


def passes(seen: Stability) -> bool:
    none = np.array([])
    return judge(Evidence(none, none, None, none, None, False, False, measured={"stability": seen}), Gates()).passed


def far(rows: Any) -> Any:
    """A sound model: far is late; no distance is nearly late."""
    return rows["distance"].fillna(400).to_numpy() / 1000


def test_a_sound_model_keeps_most_of_its_actions(use_case: UseCase, rows: pd.DataFrame) -> None:
    seen = disturb(use_case, far, rows)
    assert passes(seen)
    assert seen.noise_flips is not None
    assert seen.noise_flips < 0.02
    assert seen.missing_flips is not None
    assert 0.01 < seen.missing_flips < 0.1
    assert seen.unseen_flips == 0
    assert disturb(use_case, far, rows) == seen


def test_a_real_champion_passes(one_champion: World, rows: pd.DataFrame) -> None:
    model = one_champion.workspace.registry.load(one_champion.use_case.name, 1)
    assert passes(disturb(one_champion.use_case, model.predict, rows))


def _digits(rows: Any) -> Any:
    """Hangs on the last digits of a number, as a model that learnt an identifier by heart."""
    return (rows["distance"].fillna(0).to_numpy() * 1e6 % 2 > 1).astype(float)


def _gaps_decide(rows: Any) -> Any:
    return 1.0 - rows[["distance", "weight", "pieces", "rating", "depot", "carrier"]].notna().all(axis=1).to_numpy()


def _only_known(rows: Any) -> Any:
    if rows["depot"].isin([UNSEEN]).any():
        raise ValueError("Found unknown categories")
    return far(rows)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (_digits, "a little noise"),
        (lambda rows: np.where(rows["carrier"] == UNSEEN, 1.0, 0.0), "unseen categories"),
        (lambda rows: np.where(rows["depot"].isna(), np.nan, 0.5), "no number"),
        (_only_known, "Found unknown categories"),
    ],
    ids=["noise", "unseen flips", "gaps give NaN", "unseen crashes"],
)
def test_a_planted_defect_is_named(use_case: UseCase, rows: pd.DataFrame, model: Any, says: str) -> None:
    seen = disturb(use_case, model, rows)
    none = np.array([])
    verdict = judge(Evidence(none, none, None, none, None, False, False, measured={"stability": seen}), Gates())
    assert not verdict.passed
    assert says in verdict.sentence


def test_a_model_that_hangs_on_gaps_is_stopped_by_a_limit(use_case: UseCase, rows: pd.DataFrame) -> None:
    seen = disturb(use_case, _gaps_decide, rows.fillna({"weight": 1.0}))
    assert seen.missing_flips is not None
    assert seen.missing_flips > 0.4
    assert seen.noise_flips == 0
