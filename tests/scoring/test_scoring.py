"""Scoring: by the champion of that time, each row exactly once per model version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.errors import PermanentError, TransientError
from pipelines.results import to_json
from pipelines.scoring.scoring import score
from pipelines.use_case import feature_definitions
from pipelines.workspace import CommitRecord, Decision, Kind, Lake, StageRun
from tests import synthetic
from tests.conftest import World, changed


def predictions(world: World, day: int) -> pd.DataFrame:
    return world.workspace.lake.read("parcels/predictions", [world.days[day].key]).to_pandas()


def test_every_row_of_the_partition_is_predicted_once(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[8]
    done = score(StageRun(world.workspace, world.use_case, day))
    rows = predictions(world, 8)
    features = world.workspace.lake.read("parcels/features", [day.key]).to_pandas()
    assert sorted(rows["shipment_id"]) == sorted(features["shipment_id"])
    assert rows["probability"].between(0, 1).all()
    assert (rows["act"] == (rows["probability"] >= world.use_case.scoring.threshold)).all()
    assert (done.model_version, done.rows) == (1, len(features))
    to_json(done)


def test_the_threshold_decides_who_is_acted_on(one_champion: World) -> None:
    world = one_champion
    score(StageRun(world.workspace, changed(world.use_case, "scoring", threshold=0.0), world.days[8]))
    assert predictions(world, 8)["act"].all()


def test_a_past_partition_is_scored_by_the_champion_of_that_time(two_champions: World) -> None:
    world = two_champions
    assert score(StageRun(world.workspace, world.use_case, world.days[10])).model_version == 1
    after = synthetic.days(world.use_case, 15)[14]
    synthetic.publish(world.workspace, world.use_case, after)
    assert score(StageRun(world.workspace, world.use_case, after)).model_version == 2


def test_a_run_that_publishes_meanwhile_is_not_overwritten(one_champion: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run publishes after this one has read which rows to keep: its rows would be lost without the fence."""
    world, lake, stage = one_champion, one_champion.workspace.lake, one_champion.workspace.lake.stage
    key = world.days[8].key

    def meanwhile(table: str, partition: str, rows: pa.Table) -> str:
        monkeypatch.setattr(lake, "stage", stage)
        other = rows.set_column(1, "model_version", pa.array([7] * rows.num_rows, pa.int64()))
        lake.publish(table, partition, [stage(table, partition, other)], CommitRecord())
        return stage(table, partition, rows)

    monkeypatch.setattr(lake, "stage", meanwhile)
    with pytest.raises(TransientError, match=key):
        score(StageRun(world.workspace, world.use_case, world.days[8]))
    assert set(predictions(world, 8)["model_version"]) == {7}
    assert score(StageRun(world.at("again"), world.use_case, world.days[8])).what_if == (key,)
    assert predictions(world, 8).groupby("model_version")["served"].all().to_dict() == {1: False, 7: True}


def test_without_a_champion_nothing_is_published_and_that_is_recorded_once(published: World) -> None:
    world, day = published, published.days[8]
    for run in ("one", "two"):
        done = score(StageRun(world.at(run), world.use_case, day))
        assert (done.model_version, done.version, done.rows) == (None, None, 0)
    assert world.workspace.lake.partitions("parcels/predictions") == {}
    (row,) = world.workspace.ledger.decisions("parcels")
    assert (row.kind, row.partition) == (Kind.NOT_SCORED, day.key)
    assert "nothing was promoted yet" in row.why


def test_a_partition_before_the_first_champion_is_not_scored(one_champion: World) -> None:
    assert score(StageRun(one_champion.workspace, one_champion.use_case, one_champion.days[7])).model_version is None
    assert one_champion.workspace.lake.partitions("parcels/predictions") == {}


def test_a_feature_that_is_missing_is_named(one_champion: World, tmp_path: Path) -> None:
    world, day, lake = one_champion, one_champion.days[8], Lake(f"{tmp_path}/without_weight")
    rows = world.workspace.lake.read("parcels/features", [day.key]).drop_columns(["partition", "weight"])
    known = {n: d for n, d in feature_definitions(world.use_case).items() if n != "weight"}
    record = CommitRecord(definitions=known)
    lake.publish("parcels/features", day.key, [lake.stage("parcels/features", day.key, rows)], record)
    with pytest.raises(PermanentError, match=r"parcels v1: the rows of .* lack weight, which the model was trained on"):
        score(StageRun(replace(world.workspace, lake=lake), world.use_case, day))
    assert lake.partitions("parcels/predictions") == {}


def test_features_that_are_not_there_are_asked_for(one_champion: World) -> None:
    late = one_champion.use_case.partition("2024-05-01")
    with pytest.raises(PermanentError, match="parcels/features: no rows for 2024-05-01; run the stage"):
        score(StageRun(one_champion.workspace, one_champion.use_case, late))


def test_a_champion_that_does_not_load_scores_nothing(one_champion: World) -> None:
    world = one_champion
    gone = Decision(
        "promoted/by-hand", "parcels", Kind.PROMOTED, world.days[7].key, "by hand", "mallory", "x",
        model_version=9, effective_from=world.days[8].key,
    )  # fmt: skip
    world.workspace.ledger.move_champion(gone, 1)
    with pytest.raises(PermanentError, match="no model v9"):
        score(StageRun(world.workspace, world.use_case, world.days[8]))
    assert world.workspace.lake.partitions("parcels/predictions") == {}
