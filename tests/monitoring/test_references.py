"""Further references: the first champion's training rows, and the same window a year ago."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipelines.commands import stages
from pipelines.errors import PermanentError
from pipelines.monitoring import Drift, measure_drift, references
from pipelines.scoring import score
from pipelines.use_case import Grain, Partition
from pipelines.workspace import StageRun
from tests import synthetic
from tests.conftest import World, changed, simple_of

FAR = 400.0  # km


def measured(world: World, day: Partition, drift: float) -> Drift:
    shipments, _ = synthetic.parcels(day, rows=400, drift=drift)
    synthetic.publish_features(world.workspace, world.use_case, day, synthetic.features(day, shipments))
    score(StageRun(world.workspace, world.use_case, day))
    found = measure_drift(StageRun(world.workspace, world.use_case, day))
    assert found
    return found


@pytest.fixture
def moved(one_champion: World) -> World:
    """All parcels go further from day 14 on, and v2 learnt from six such days only."""
    world, newest = one_champion, changed(simple_of(one_champion.use_case), "training", max_history=timedelta(days=6))
    days = synthetic.days(world.use_case, 20)
    for day in days[14:]:
        synthetic.publish(world.workspace, world.use_case, day, drift=FAR)
    assert stages.run_training(StageRun(world.at("second"), newest, days[19])).decision == "promoted"
    return world


def test_what_a_later_champion_has_learnt_is_still_told_against_the_first_one_s_rows(
    moved: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, first, second = synthetic.days(moved.use_case, 22)
    found = measured(moved, first, FAR)
    assert found.model_version == 2
    assert "distance" not in found.drifted
    assert found.baseline
    assert found.baseline.about == "the training rows of the first champion, v1"
    assert found.baseline.drifted == ("distance",)
    assert found.baseline.prediction_drift > moved.use_case.monitoring.max_prediction_drift

    def gone(*how: object) -> None:
        raise PermanentError("parcels v1: deleted")

    monkeypatch.setattr(references, "_first", gone)
    without = measured(moved, second, FAR)
    assert without.baseline
    assert without.baseline.missing == "parcels v1: deleted"
    assert "distance" not in without.drifted, "measured all the same"


def test_the_window_a_year_ago_is_compared_where_there_are_features_of_it(one_champion: World) -> None:
    world = one_champion
    far, near, alone = world.days[8:11]
    for day, drift in ((far, FAR), (near, 0.0)):
        then = references.a_year_before(day)
        shipments, _ = synthetic.parcels(then, rows=400, drift=drift)
        synthetic.publish_features(world.workspace, world.use_case, then, synthetic.features(then, shipments))
    as_then, not_as_then, without = (measured(world, day, FAR) for day in (far, near, alone))
    assert "distance" in as_then.drifted
    assert as_then.season
    assert as_then.season.about == "a year ago, 2023-03-11"
    assert (as_then.season.drifted, as_then.season.prediction_drift) == ((), 0.0)
    assert not_as_then.season
    assert not_as_then.season.drifted == ("distance",)
    assert without.season is None
    assert as_then.baseline is None, "the first champion serves"


@pytest.mark.parametrize(
    ("key", "before", "grain"),
    [("2024-02-29", "2023-03-02", Grain.DAY), ("2020-W53", "2020-W01", Grain.WEEK), ("2024-02", "2023-02", Grain.MONTH)],
)
def test_a_year_before_is_a_window_as_long(key: str, before: str, grain: Grain) -> None:
    assert references.a_year_before(Partition.parse_period(key, grain)).key == before
