"""Monitoring: drift as a distance from the champion's own training rows, quality once outcomes are in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.commands import stages
from pipelines.monitoring import (
    Monitored,
    Verdict,
    drift,
    drift_page,
    judge_window,
    measure_drift,
    measure_performance,
    publish_measured,
)
from pipelines.monitoring.observations import latest
from pipelines.pages import read_report
from pipelines.results import to_json
from pipelines.scoring import score
from pipelines.use_case import Partition
from pipelines.workspace import Decision, Kind, Model, StageRun
from tests import synthetic
from tests.conftest import World, changed


def scored(world: World, change: Callable[[pd.DataFrame], pd.DataFrame] | None = None, day: int = 8) -> Partition:
    """A day with features like those of training, changed or not, scored. Its labels are as published before."""
    partition = world.days[day]
    shipments, _ = synthetic.parcels(partition, rows=400)
    rows = synthetic.features(partition, shipments)
    training = synthetic.features(partition, shipments)
    rows = rows.assign(**{c: np.resize(_past(world, c), len(training)) for c in ("all_parcels_late_1d", "all_parcels_late_3d")})
    synthetic.publish_features(world.workspace, world.use_case, partition, change(rows) if change else rows)
    score(StageRun(world.workspace, world.use_case, partition))
    return partition


def _past(world: World, column: str) -> Any:
    """A history feature as it was in training: every day has one value, so one day alone would always look drifted."""
    rows = world.workspace.lake.read("parcels/features", [d.key for d in world.days[:8]]).to_pandas()
    return rows[column].sample(frac=1, random_state=0).to_numpy()


def test_the_same_distribution_has_not_drifted(one_champion: World) -> None:
    found = measure_drift(StageRun(one_champion.workspace, one_champion.use_case, scored(one_champion)))
    assert found is not None
    assert (found.drifted, found.drifted_share) == ((), 0)
    assert found.prediction_drift < one_champion.use_case.monitoring.max_prediction_drift
    assert set(found.distances) == {*one_champion.use_case.features.names, "probability"}


def test_a_shift_is_found_where_it_is_and_in_the_predictions(one_champion: World) -> None:
    world = one_champion
    day = scored(world, lambda rows: rows.assign(distance=rows["distance"] + 400, depot="north"))
    found = measure_drift(StageRun(world.workspace, world.use_case, day))
    assert found is not None
    assert found.drifted == ("depot", "distance")
    assert found.drifted_share == pytest.approx(2 / 6)
    assert found.moving == ("all_parcels_late_1d", "all_parcels_late_3d"), "of eight features; these must move"
    assert found.prediction_drift > world.use_case.monitoring.max_prediction_drift
    to_json(found)


def test_the_reference_is_what_the_champion_was_trained_on(one_champion: World) -> None:
    """Its days were corrected since: by the rows of now, every distance would have moved."""
    world = one_champion
    run = StageRun(world.workspace, world.use_case, scored(world))
    before = measure_drift(run)
    for day in world.days[:8]:
        shipments, _ = synthetic.parcels(day, drift=5000)
        synthetic.publish_features(world.workspace, world.use_case, day, synthetic.features(day, shipments))
    assert measure_drift(run) == before


@pytest.mark.parametrize("column", ["weight", "carrier"])
def test_a_column_without_any_value_has_drifted_and_does_not_crash_the_report(column: str, one_champion: World) -> None:
    world = one_champion
    nothing = pd.array([None] * 400, dtype="string" if column == "carrier" else "float64")
    found = measure_drift(
        StageRun(world.workspace, world.use_case, scored(world, lambda rows: rows.assign(**{column: nothing})))
    )
    assert found is not None
    assert column in found.drifted
    assert found.nulls[column] > 0.9
    to_json(found)


def test_a_constant_column_and_an_unheard_of_category_give_finite_distances(one_champion: World) -> None:
    world = one_champion
    found = measure_drift(
        StageRun(world.workspace, world.use_case, scored(world, lambda rows: rows.assign(pieces=1, carrier="ZZ")))
    )
    assert found is not None
    assert "carrier" in found.drifted
    assert np.isfinite(list(found.distances.values())).all()


def test_how_far_a_feature_may_move_and_how_many_rows_are_looked_at_is_declared(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world: World = one_champion
    seen: list[int] = []
    few = changed(world.use_case, "monitoring", sample_rows=100)
    scored(world, lambda rows: rows.assign(distance=rows.distance + 60))  # a fifth of its spread; the limit is 0.3
    asked = Model.predict

    def predict(self: Model, rows: Any) -> Any:
        seen.append(len(rows))
        return asked(self, rows)

    monkeypatch.setattr(Model, "predict", predict)
    stricter = changed(world.use_case, "monitoring", max_drift_distance=0.1)
    for use_case, expected in ((few, ()), (world.use_case, ()), (stricter, ("distance",))):
        found = measure_drift(StageRun(world.workspace, use_case, world.days[8]))
        assert found
        assert found.drifted == expected
    assert seen[:2] == [8 * synthetic.ROWS, 100], "of the training rows, at most ten times as many, and of the window"


def test_the_report_is_a_page_in_the_reports_folder(one_champion: World) -> None:
    world = one_champion
    found = measure_drift(StageRun(world.workspace, world.use_case, scored(world)))
    assert found is not None
    page = Path(world.workspace.environment.reports) / found.report
    assert "<html" in page.read_text()[:2000].lower()
    assert page.stat().st_size < 10**6, "its library, 3.6 MB, is kept once for all pages"
    assert len(list((page.parent / "shared").iterdir())) == 2
    whole = read_report(world.workspace, "parcels", "drift", page.name).decode()
    assert drift_page.without_library(whole)[0] == page.read_text()
    assert " src=" not in whole.replace("img src=", ""), "it asks for nothing"
    assert len(whole) > 3 * 10**6


def test_what_was_served_is_measured_once_whatever_is_tried_later(one_champion: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world, day = one_champion, scored(one_champion)
    first = stages.run_monitoring(StageRun(world.workspace, world.use_case, day))
    scored(world, lambda rows: rows.assign(distance=rows.distance + 900))  # built anew: a what-if
    monkeypatch.setattr(drift, "draw", lambda *a: pytest.fail("measured again"))
    assert stages.run_monitoring(StageRun(world.workspace, world.use_case, day)) == first


def test_drift_and_performance_are_of_what_was_served(one_champion: World) -> None:
    """Built anew, far away, before anything was measured."""
    world, day = one_champion, scored(one_champion)
    run = StageRun(world.workspace, world.use_case, day)
    before = measure_drift(run), measure_performance(run)
    scored(world, lambda rows: rows.assign(distance=rows.distance + 900))
    assert (measure_drift(run), measure_performance(run)) == before
    assert before[0] is not None
    assert before[0].drifted == ()


def test_before_any_scoring_there_is_no_drift_and_no_performance(one_champion: World, published: World) -> None:
    for world in (one_champion, published):
        assert measure_drift(StageRun(world.workspace, world.use_case, world.days[8])) is None
        assert measure_performance(StageRun(world.workspace, world.use_case, world.days[8])) is None


def test_performance_is_none_until_the_labels_are_in(one_champion: World) -> None:
    world, late = one_champion, synthetic.days(one_champion.use_case, 15)[14]
    shipments, _ = synthetic.parcels(late)
    synthetic.publish_features(world.workspace, world.use_case, late, synthetic.features(late, shipments))
    score(StageRun(world.workspace, world.use_case, late))
    assert measure_performance(StageRun(world.workspace, world.use_case, late)) is None
    synthetic.publish(world.workspace, world.use_case, late)
    found = measure_performance(StageRun(world.workspace, world.use_case, late))
    assert found is not None
    assert found.auc is not None
    assert found.auc > 0.65


def test_performance_counts_the_rows_with_an_outcome(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[8]
    score(StageRun(world.workspace, world.use_case, day))
    found = measure_performance(StageRun(world.workspace, world.use_case, day))
    assert found is not None
    assert found.rows == synthetic.ROWS
    assert found.labels == world.workspace.lake.partitions("parcels/labels")[day.key] < synthetic.ROWS
    assert found.auc is not None
    assert found.auc < 0.5  # the cause of the label was turned around that day
    assert found.worth is not None
    assert found.worth < 0


def test_performance_is_of_the_version_that_served_though_another_is_champion_by_the_ledger(one_champion: World) -> None:
    """A promotion that was too late for the partition by a hair."""
    world, day = one_champion, one_champion.days[8]
    score(StageRun(world.workspace, world.use_case, day))
    late = Decision("late", "parcels", Kind.PROMOTED, day.key, "", "x", "x", model_version=2, effective_from=day.key)
    world.workspace.ledger.move_champion(late, 1)
    found = measure_performance(StageRun(world.workspace, world.use_case, day))
    assert found is not None
    assert found.model_version == 1


def test_a_measure_that_is_not_there_yet_does_not_erase_one_that_is(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[8]
    score(StageRun(world.workspace, world.use_case, day))
    seen = measure_performance(StageRun(world.workspace, world.use_case, day))
    assert seen is not None
    publish_measured(StageRun(world.workspace, world.use_case, day), None, asdict(seen))
    state = publish_measured(StageRun(world.workspace, world.use_case, day), None, None)
    assert state.performance == seen
    assert latest(world.workspace, world.use_case) == {day.key: state}


def test_what_was_published_is_read_back_in_order(one_champion: World) -> None:
    world = one_champion
    for number in (9, 8):
        score(StageRun(world.workspace, world.use_case, world.days[number]))
        publish_measured(
            StageRun(world.workspace, world.use_case, world.days[number]), None,
            asdict(measure_performance(StageRun(world.workspace, world.use_case, world.days[number]))),  # type: ignore[call-overload]
        )  # fmt: skip
    found = latest(world.workspace, world.use_case)
    assert list(found) == [world.days[8].key, world.days[9].key]
    assert all(m.model_version == 1 and m.performance and m.drift is None for m in found.values())


def _a_quarter_without_weight(depot: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        mine = np.flatnonzero(rows["depot"] == depot)[::4]
        return rows.assign(weight=rows["weight"].where(~np.isin(np.arange(len(rows)), mine)))

    return change


@pytest.mark.parametrize(
    ("change", "drivers", "words"),
    [
        (lambda rows: rows.assign(rating=np.nan), ("carriers", "rating"), "carriers: rows without a value: rating +100%"),
        (lambda rows: rows.assign(distance=rows["distance"] * 1.609), ("shipments", "distance"), "another unit, it seems"),
        (lambda rows: rows.assign(depot="west"), ("volume",), "depot 100%"),
        (lambda rows: rows[rows["depot"] != "north"], ("volume", "depot north"), "depot north: not a row, of usually 3"),
        (_a_quarter_without_weight("north"), ("shipments", "weight", "depot north"), "value where depot north: weight +2"),
    ],
)
def test_a_fault_names_the_table_that_it_comes_from(
    one_champion: World, change: Callable[[pd.DataFrame], pd.DataFrame], drivers: tuple[str, ...], words: str
) -> None:
    world = one_champion
    run = StageRun(world.workspace, world.use_case, scored(world, change))
    seen = Monitored(run.key, 1, measure_drift(run), measure_performance(run))
    found = judge_window(world.use_case.monitoring, seen, [])
    assert found.verdict is Verdict.DATA_FAULT
    assert found.drivers[: len(drivers)] == drivers
    assert words in found.why


def test_as_many_nulls_all_over_are_no_fault_of_a_slice(one_champion: World) -> None:
    """Eight in a hundred rows, of which a slice has a quarter of its own or eight in a hundred."""
    everywhere = scored(one_champion, lambda rows: rows.assign(weight=rows["weight"].where(np.arange(len(rows)) % 12 > 0)))
    found = measure_drift(StageRun(one_champion.workspace, one_champion.use_case, everywhere))
    assert found
    assert all(change < 0.2 for changes in found.slice_nulls.values() for change in changes.values())
    assert not found.slices_gone


def test_what_was_served_is_estimated_before_its_outcomes_and_the_estimate_is_checked(one_champion: World) -> None:
    """From day 8 on the label's cause is turned around: the estimate cannot know, and what came says by how much it was off."""
    world = one_champion
    run = StageRun(world.workspace, world.use_case, scored(world))
    found, seen = measure_drift(run), measure_performance(run)
    assert found
    assert found.estimated_log_loss
    assert found.estimate_error
    assert (found.rows, found.partitions) == (400, 1)
    before = judge_window(world.use_case.monitoring, Monitored(run.key, 1, found, None), [])
    assert "it has no outcomes yet" in before.why
    assert f"a log loss of {found.estimated_log_loss:.3f} ± {found.estimate_error:.3f} was estimated." in before.why
    assert seen
    assert seen.log_loss
    after = judge_window(world.use_case.monitoring, Monitored(run.key, 1, found, seen), [])
    assert f"it came {seen.log_loss - found.estimated_log_loss:+.3f} from it" in after.why
    assert {s.segment for s in seen.slices["excess_loss"]} == {"depot east", "depot north", "depot south"}
    assert sum(s.rows for s in seen.slices["excess_loss"]) == seen.labels
