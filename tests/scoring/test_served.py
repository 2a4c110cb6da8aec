"""What was served stays told for ever: scoring again changes nothing, or is kept beside as a what-if. Also in bulk."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.errors import PermanentError, TransientError
from pipelines.results import to_json
from pipelines.scoring.scoring import score
from pipelines.use_case import Partition, UseCase
from pipelines.workspace import CommitRecord, Decision, Kind, Lake, StageRun, first_unscored, served_rows
from tests import synthetic
from tests.conftest import World, changed

TABLE, NOON = "parcels/predictions", datetime(2024, 3, 9, 12, tzinfo=UTC)
OLD = ["made_at", "run", "features_version", "served"]  # columns that tables from before do not have


def run_of(world: World, day: Partition | str, run: str = "test") -> StageRun:
    partition = world.use_case.period(day) if isinstance(day, str) else day
    return StageRun(world.at(run), world.use_case, partition)


def all_rows(world: World, *days: Partition) -> pd.DataFrame:
    return world.workspace.lake.read(TABLE, [day.key for day in days]).to_pandas()


def served(world: World, *days: Partition) -> pd.DataFrame:
    return served_rows(world.workspace, world.use_case, [day.key for day in days])


def moved(world: World, version: int | None, day: Partition, kind: Kind = Kind.PROMOTED) -> None:
    """A move that scoring did not hear of in time, or one by hand."""
    now = world.workspace.ledger.champion("parcels")
    decision = Decision(f"hand/{version}/{day.key}", "parcels", kind, day.key, "", "x", "x", {}, version, day.key)
    world.workspace.ledger.move_champion(decision, now.version if now else None)
    if version:
        world.workspace.registry.set_alias("parcels", "champion", version)


def rebuilt(world: World, day: Partition, **change: float) -> None:
    """The day's features are built anew, with more added to some of them."""
    shipments, _ = synthetic.parcels(day, flip=True)
    rows = synthetic.features(day, shipments, flip=True)
    for name, more in change.items():
        rows[name] += more
    synthetic.publish_features(world.workspace, world.use_case, day, rows)


def from_before(world: World, day: Partition, *versions: int) -> None:
    """The day's predictions as they were published when nothing said which of them was served."""
    rows = all_rows(world, day).drop(columns=["partition", *OLD])
    old = pa.Table.from_pandas(pd.concat([rows.assign(model_version=v) for v in versions]), preserve_index=False)
    staged = world.workspace.lake.stage(TABLE, day.key, old)
    world.workspace.lake.publish(TABLE, day.key, [staged], CommitRecord())


def test_a_prediction_says_when_by_which_run_and_from_what_it_was_made(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[8]
    world.workspace.clock.set(NOON)
    done = score(run_of(world, day, "first"))
    to_json(done)
    rows = all_rows(world, day)
    assert set(rows["made_at"]) == {pd.Timestamp(NOON)}
    assert set(rows["run"]) == {"first"}
    assert set(rows["features_version"]) == {world.workspace.lake.version("parcels/features")}
    assert rows["served"].all()
    assert (done.served, done.what_if) == ((day.key,), ())


def test_scoring_again_changes_nothing(one_champion: World) -> None:
    """Also after the same features were built again, in another order: a killed run that is retried, a repeated event."""
    world, day = one_champion, one_champion.days[8]
    world.workspace.clock.set(NOON)
    first = score(run_of(world, day, "first"))
    before = all_rows(world, day)
    world.workspace.clock.set(NOON + timedelta(days=1))
    shipments, _ = synthetic.parcels(day, flip=True)
    rows = synthetic.features(day, shipments, flip=True).sample(frac=1, random_state=1)
    synthetic.publish_features(world.workspace, world.use_case, day, rows)
    again = score(run_of(world, day, "again"))
    assert (again.version, again.rows, again.served, again.what_if) == (first.version, first.rows, (), ())
    pd.testing.assert_frame_equal(all_rows(world, day), before)


def test_features_that_were_built_anew_are_a_what_if_and_what_was_served_stays(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[8]
    score(run_of(world, day, "first"))
    before = served(world, day)
    for run, more in (("second", 300.0), ("third", 600.0)):  # a later what-if of a version replaces the one before
        rebuilt(world, day, distance=more)
        assert score(run_of(world, day, run)).what_if == (day.key,)
        pd.testing.assert_frame_equal(served(world, day), before)
        rows = all_rows(world, day)
        assert rows.groupby("run").size().to_dict() == {"first": synthetic.ROWS, run: synthetic.ROWS}
    version = world.workspace.lake.version(TABLE)
    assert score(run_of(world, day, "fourth")).what_if == ()
    assert world.workspace.lake.version(TABLE) == version


def test_another_version_is_a_what_if(two_champions: World) -> None:
    """By the ledger v2 serves from day 13 on; v1 has served it before the move came."""
    world, day = two_champions, two_champions.days[13]
    assert score(run_of(world, day)).model_version == 1
    before = served(world, day)
    moves = world.workspace.ledger.champion_moves
    world.workspace.ledger.champion_moves = lambda name: [  # type: ignore[method-assign]
        d if d.model_version == 1 else Decision(**{**vars(d), "effective_from": day.key}) for d in moves(name)
    ]
    for _ in range(2):
        assert score(run_of(world, day)).model_version == 2
        assert all_rows(world, day).groupby("model_version")["served"].all().to_dict() == {1: True, 2: False}
        pd.testing.assert_frame_equal(served(world, day), before)
    assert len(all_rows(world, day)) == 2 * synthetic.ROWS


def test_what_another_threshold_would_have_asked_for_is_a_what_if(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[8]
    score(run_of(world, day))
    before = served(world, day)
    score(StageRun(world.workspace, changed(world.use_case, "scoring", threshold=0.0), day))
    pd.testing.assert_frame_equal(served(world, day), before)
    assert all_rows(world, day).groupby("served")["act"].all().to_dict() == {True: False, False: True}


def test_a_partition_that_is_scored_late_is_served_by_the_champion_of_then(two_champions: World) -> None:
    """v2 serves already when the gap of day 10 is filled; after a rollback v1's day stays v1's, and v2's day v2's."""
    world, gap, after = two_champions, two_champions.days[10], two_champions.days[13].next
    synthetic.publish(world.workspace, world.use_case, after)
    assert score(run_of(world, after)).model_version == 2
    assert score(run_of(world, gap)).served == (gap.key,)
    moved(world, 1, after.next, Kind.ROLLED_BACK)
    assert score(run_of(world, after)).what_if == score(run_of(world, gap)).what_if == ()
    assert served(world, gap, after).groupby("partition")["model_version"].max().to_dict() == {gap.key: 1, after.key: 2}


def test_what_a_retired_champion_served_stays_and_nothing_is_scored_after_it(one_champion: World) -> None:
    world, day, following = one_champion, one_champion.days[8], one_champion.days[9]
    score(run_of(world, day))
    moved(world, None, following, Kind.RETIRED)
    assert score(run_of(world, following)).model_version is None
    assert score(run_of(world, day)).what_if == ()
    assert set(served(world, day)["model_version"]) == {1}


# tables from before --------------------------------------------------------------------------------------------------


def test_of_a_table_from_before_the_champion_of_then_was_served(two_champions: World) -> None:
    world, day = two_champions, two_champions.days[9]
    score(run_of(world, day))
    from_before(world, day, 2, 1)
    rows = served(world, day)
    assert set(rows["model_version"]) == {1}
    assert not rows["shipment_id"].duplicated().any()
    assert rows["made_at"].isna().all()
    assert score(run_of(world, day)).what_if == ()  # the same rows: nothing new
    rebuilt(world, day, distance=300.0)
    assert score(run_of(world, day)).what_if == (day.key,)
    found = all_rows(world, day)
    assert found.groupby(["model_version", "served"]).size().to_dict() == {
        (1, False): synthetic.ROWS, (1, True): synthetic.ROWS, (2, False): synthetic.ROWS,
    }  # fmt: skip
    pd.testing.assert_frame_equal(served(world, day), rows)


def test_of_a_table_from_before_what_no_champion_predicted_was_not_served(two_champions: World) -> None:
    world, day = two_champions, two_champions.days[9]
    score(run_of(world, day))
    from_before(world, day, 2)
    assert served(world, day).empty
    assert score(run_of(world, day)).served == (day.key,)
    assert all_rows(world, day).groupby("model_version")["served"].all().to_dict() == {1: True, 2: False}


def test_a_table_that_never_knew_the_columns_is_read(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[8]
    old = pa.table({"shipment_id": ["a"], "model_version": [1], "probability": [0.5], "act": [True]})
    staged = world.workspace.lake.stage(TABLE, day.key, old)
    world.workspace.lake.publish(TABLE, day.key, [staged], CommitRecord())
    assert "served" not in world.workspace.lake.column_types(TABLE)
    assert served(world, day)["shipment_id"].tolist() == ["a"]
    assert score(run_of(world, day)).what_if == (day.key,)
    assert served(world, day)["shipment_id"].tolist() == ["a"]


# who is faster -------------------------------------------------------------------------------------------------------


def test_a_champion_that_moves_meanwhile_stops_the_scoring(one_champion: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has served the day when the promotion looks, so it takes effect there; the retry scores by the new one."""
    world, day = one_champion, one_champion.days[8]
    load = world.workspace.registry.load

    def promoted_meanwhile(use_case: str, version: int) -> Any:
        monkeypatch.setattr(world.workspace.registry, "load", load)
        effective = first_unscored(world.workspace, world.use_case, day.key)
        moved(world, None, world.use_case.partition(effective), Kind.RETIRED)
        return load(use_case, version)

    monkeypatch.setattr(world.workspace.registry, "load", promoted_meanwhile)
    with pytest.raises(TransientError, match=f"parcels {day.key}: a champion moved while it was scored; run it again"):
        score(run_of(world, day))
    assert world.workspace.lake.partitions(TABLE) == {}
    assert score(run_of(world, day, "retry")).model_version is None


def test_a_promotion_that_is_still_faster_leaves_what_was_served_told(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window that remains: between the last look and the commit. The ledger is late; the table says who served."""
    world, day = one_champion, one_champion.days[8]
    publish = world.workspace.lake.publish_each

    def promoted_meanwhile(*how: Any) -> Any:
        monkeypatch.setattr(world.workspace.lake, "publish_each", publish)
        moved(world, None, day, Kind.RETIRED)
        return publish(*how)

    monkeypatch.setattr(world.workspace.lake, "publish_each", promoted_meanwhile)
    assert score(run_of(world, day)).served == (day.key,)
    assert world.workspace.ledger.champion("parcels", as_of=day.key) is None
    assert set(served(world, day)["model_version"]) == {1}


# in bulk -------------------------------------------------------------------------------------------------------------


def test_a_longer_period_is_scored_as_its_days_would_have_been(two_champions: World) -> None:
    """Days 1 to 8 had no champion, 9 to 14 v1, the rest v2; day 11 was served before, and day 12 as well."""
    world = two_champions
    month = [world.use_case.partition(f"2024-03-{day:02d}") for day in range(1, 32)]
    for day in month[14:]:
        synthetic.publish(world.workspace, world.use_case, day)
    score(run_of(world, month[10], "day"))
    score(run_of(world, month[11], "day"))
    rebuilt(world, month[11], distance=300.0)
    before = served(world, month[10], month[11])
    done = score(run_of(world, "2024-03", "bulk"))
    assert done.model_version == 2
    assert done.rows == 23 * synthetic.ROWS
    assert done.what_if == (month[11].key,)
    assert done.served == tuple(d.key for d in month[8:] if d not in month[10:12])
    pd.testing.assert_frame_equal(served(world, month[10], month[11]), before)
    (row,) = [d for d in world.workspace.ledger.decisions("parcels") if d.kind == Kind.NOT_SCORED]
    assert (row.partition, row.why.split(":")[0]) == ("2024-03", "No model was champion for 2024-03-01 to 2024-03-08")
    again = score(run_of(world, "2024-03", "again"))
    assert (again.served, again.what_if, again.version) == ((), (), done.version)
    assert {d.key: v for d, v in zip(month[8:], [1] * 6 + [2] * 17, strict=True)} == (
        served(world, *month[8:]).groupby("partition")["model_version"].max().to_dict()
    )


def test_bulk_equals_day_by_day_to_the_last_bit(one_champion: World, tmp_path: Path) -> None:
    """The same lake twice: once by the days of a week, once by the week."""
    week = [one_champion.use_case.partition(f"2024-03-{day:02d}") for day in range(11, 18)]
    for day in week[4:]:
        synthetic.publish(one_champion.workspace, one_champion.use_case, day)
    shutil.copytree(one_champion.workspace.lake.root, tmp_path / "other")
    other = replace(one_champion, workspace=replace(one_champion.workspace, lake=Lake(f"{tmp_path}/other")))
    for day in week:
        score(run_of(one_champion, day))
    score(run_of(other, "2024-W11"))
    columns = ["partition", "shipment_id", "model_version", "probability", "act"]
    by_day, in_bulk = served(one_champion, *week)[columns], served(other, *week)[columns]
    assert len(by_day) == 7 * synthetic.ROWS
    pd.testing.assert_frame_equal(by_day, in_bulk, check_exact=True)


def test_a_period_with_a_gap_is_refused_by_name(one_champion: World) -> None:
    """Planted: the features of two of its days are not there."""
    synthetic.publish(one_champion.workspace, one_champion.use_case, one_champion.use_case.partition("2024-03-17"))
    with pytest.raises(PermanentError, match="parcels/features: no rows for 2024-03-15, 2024-03-16; run the stage"):
        score(run_of(one_champion, "2024-W11"))
    assert one_champion.workspace.lake.partitions(TABLE) == {}


# names ---------------------------------------------------------------------------------------------------------------


def keyed_by(use_case: UseCase, name: str) -> dict[str, Any]:
    found = use_case.model_dump(mode="json")
    for table in (found["features"]["entity"], found["label"]["source"]):
        columns = found["contract"][table]["columns"]
        columns[name] = columns.pop("shipment_id")
        found["contract"][table]["key"] = [name]
    found["features"]["key"] = name
    return found


@pytest.mark.parametrize(
    "name",
    [
        "served",
        "Made_At",
        "run",
        "probability",
        "features_version",
        "act",
        "model_version",
        "Answer",
        "row",
        "features_partition",
    ],
)
def test_a_key_by_the_name_of_a_column_of_the_predictions_is_refused(use_case: UseCase, name: str) -> None:
    with pytest.raises(ValueError, match=f"features.key: '{name}' is a column of the predictions or answers"):
        UseCase.model_validate(keyed_by(use_case, name))
    UseCase.model_validate(keyed_by(use_case, "parcel"))
