"""The skew check: what was served is computed again; what differs is named and red, unless its inputs were corrected since."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines import features
from pipelines.commands import stages
from pipelines.errors import PermanentError
from pipelines.features import FeaturePlan
from pipelines.maintenance import skew
from pipelines.maintenance.skew import Again, Compared, compare, plan_again
from pipelines.scoring import score
from pipelines.use_case import Partition, feature_definitions, features_table
from pipelines.workspace import CommitRecord, Decision, Kind, StageRun, write_bytes
from tests import synthetic
from tests.conftest import World, changed

TABLE, FEATURES = "parcels/predictions", 8
KEY = "2024-03-09-0007"
Inputs = dict[str, dict[str, str]]  # by table and partition, what its content is


def rows_of(day: Partition) -> pd.DataFrame:
    return synthetic.features(day, synthetic.parcels(day, flip=True)[0], flip=True)


def altered(rows: pd.DataFrame, column: str, value: Any) -> pd.DataFrame:
    """One value of the row KEY is another one."""
    return rows.assign(**{column: rows[column].mask(rows["shipment_id"] == KEY, value)})


def plan_file(world: World, name: str, inputs: Inputs) -> str:
    uri = f"{world.workspace.lake.uri(features_table(world.use_case))}/plans/{name}.json"
    document = {"inputs": {table: {"contents": contents} for table, contents in inputs.items()}}
    write_bytes(uri, json.dumps(document).encode())
    return uri


def serve(world: World, rows: pd.DataFrame | None = None, inputs: Inputs | None = None) -> StageRun:
    """Day 8, as features built it from these inputs, scored."""
    run, spec, table = StageRun(world.workspace, world.use_case, world.days[8]), world.use_case.features, "parcels/features"
    rows = rows_of(run.partition) if rows is None else rows
    arrow = pa.Table.from_pandas(rows[[spec.key, spec.date, *spec.names]], preserve_index=False)
    plan = None if inputs is None else plan_file(world, "served", inputs)
    record = CommitRecord(plan=plan, definitions=feature_definitions(world.use_case))
    run.lake.publish(table, run.key, [run.lake.stage(table, run.key, arrow)], record)
    score(run)
    return run


def built(run: StageRun, rows: pd.DataFrame, inputs: Inputs | None = None) -> Again:
    """What a features job leaves: these rows in a staging area."""
    spec, table = run.use_case.features, features_table(run.use_case)
    area = run.lake.staging_area(table, run.key)
    arrow = pa.Table.from_pandas(rows[[spec.key, spec.date, *spec.names]], preserve_index=False)
    with run.lake.staging(table, f"{area}/part-0.parquet", arrow.schema.remove_metadata()) as writer:
        writer.write_table(arrow.replace_schema_metadata(None))
    world = World(run.workspace, run.use_case, [run.partition])
    return Again(run.key, FeaturePlan(plan_file(world, "again", inputs or {}), area, len(rows), run.key), "")


def check(run: StageRun, again: Again) -> Compared:
    return compare(run.workspace, run.use_case, again)


def told(run: StageRun) -> list[Decision]:
    return [d for d in run.ledger.decisions("parcels") if d.kind == Kind.SKEW]


def test_what_comes_out_alike_is_green_and_leaves_nothing(one_champion: World) -> None:
    """In another order, and another in the last bits."""
    run = serve(one_champion)
    version = run.lake.version("parcels/features")
    rows = rows_of(run.partition).sample(frac=1, random_state=3)
    again = built(run, rows.assign(distance=rows["distance"] * (1 + 1e-16), rating=np.nextafter(rows["rating"], 9)))
    assert check(run, again) == Compared(run.key, synthetic.ROWS, FEATURES)
    assert told(run) == []
    assert run.lake.version("parcels/features") == version


@pytest.mark.parametrize(
    ("column", "value"), [("distance", 7.25), ("weight", None), ("depot", "west"), ("all_parcels_late_3d", 0.123)]
)
def test_a_value_that_was_altered_before_it_was_served_is_named(one_champion: World, column: str, value: Any) -> None:
    rows = rows_of(one_champion.days[8])
    run = serve(one_champion, altered(rows, column, value))
    right = rows.set_index("shipment_id").loc[KEY, column]
    shown = f"{column} of {KEY} was {np.nan if value is None else value} when it was served, and is {right} now"
    for _ in range(2):
        with pytest.raises(PermanentError, match=rf"parcels: {run.key}, served by v1, .*: {shown}\."):
            check(run, built(run, rows))
    (row,) = told(run)
    assert (row.partition, row.model_version, row.evidence["differences"]) == (run.key, 1, 1)
    assert shown in row.why


def test_a_row_that_is_not_there_now_or_was_not_there_then_is_named(one_champion: World) -> None:
    run, rows = serve(one_champion), rows_of(one_champion.days[8])
    with pytest.raises(PermanentError, match=f"the row of {KEY} was there when it was served, and is not now"):
        check(run, built(run, rows[rows["shipment_id"] != KEY]))
    more = pd.concat([rows, rows.head(1).assign(shipment_id="new")])
    with pytest.raises(PermanentError, match="the row of new was not there when it was served, and is there now"):
        check(run, built(run, more))


@pytest.mark.parametrize(("column", "change"), [("probability", lambda p: p + 1e-9), ("act", lambda act: ~act)])
def test_a_prediction_that_the_model_does_not_give_is_named(one_champion: World, column: str, change: Any) -> None:
    run = serve(one_champion)
    rows = run.lake.read(TABLE, [run.key]).drop_columns(["partition"])
    frame = rows.to_pandas()
    frame.loc[frame["shipment_id"] == KEY, column] = change(frame.loc[frame["shipment_id"] == KEY, column])
    staged = run.lake.stage(TABLE, run.key, pa.Table.from_pandas(frame, rows.schema, preserve_index=False))
    run.lake.publish(TABLE, run.key, [staged], CommitRecord())
    with pytest.raises(PermanentError, match=f"{column} of "):
        check(run, built(run, rows_of(run.partition)))
    assert len(told(run)) == 1


def test_another_threshold_since_is_no_skew(one_champion: World) -> None:
    run = serve(one_champion)
    other = replace(run, use_case=changed(run.use_case, "scoring", threshold=0.2))
    assert check(other, built(run, rows_of(run.partition))).differences == 0


# corrected inputs ----------------------------------------------------------------------------------------------------

BEFORE: Inputs = {"shipments": {"2024-03-09": "a"}, "deliveries": {"2024-03-06": "b"}, "carriers": {"snapshot": "c"}}


@pytest.mark.parametrize(
    ("after", "named"),
    [
        ({**BEFORE, "deliveries": {"2024-03-06": "corrected"}}, ("deliveries of 2024-03-06",)),
        ({**BEFORE, "shipments": {"2024-03-09": "replayed"}}, ("shipments of 2024-03-09",)),
        ({**BEFORE, "deliveries": {**BEFORE["deliveries"], "2024-03-07": "came late"}}, ("deliveries of 2024-03-07",)),
        ({**BEFORE, "carriers": {"snapshot": "newer"}}, ("carriers of snapshot",)),
    ],
)
def test_what_differs_as_its_inputs_were_corrected_is_told_as_such(
    one_champion: World, after: Inputs, named: tuple[str, ...]
) -> None:
    run = serve(one_champion, inputs=BEFORE)
    rows = altered(rows_of(run.partition), "distance", 7.25)
    assert check(run, built(run, rows, after)) == Compared(run.key, synthetic.ROWS, FEATURES, 1, named)
    assert told(run) == []


@pytest.mark.parametrize("key", ["2024-03-08", "2024-03-09"])
def test_outcomes_that_were_not_due_then_excuse_nothing(one_champion: World, key: str) -> None:
    """A window that looks into the row's own day, say: outcomes of a day are complete a day after its end."""
    run = serve(one_champion, inputs=BEFORE)
    after = {**BEFORE, "deliveries": {**BEFORE["deliveries"], key: "came when it was due"}}
    rows = rows_of(run.partition)
    assert check(run, built(run, rows, after)).differences == 0
    with pytest.raises(PermanentError, match=f"all_parcels_late_1d of {KEY} was"):
        check(run, built(run, altered(rows, "all_parcels_late_1d", 0.5), after))


def test_a_plan_that_was_of_a_longer_period_excuses_nothing(one_champion: World) -> None:
    """Built in bulk: the plan reached further than the one of the day does."""
    month = {table: {**contents, "2024-03-20": "later"} for table, contents in BEFORE.items()}
    run = serve(one_champion, inputs=month)
    with pytest.raises(PermanentError, match=f"distance of {KEY}"):
        check(run, built(run, altered(rows_of(run.partition), "distance", 7.25), BEFORE))


def test_without_the_plan_of_then_nothing_is_excused(one_champion: World) -> None:
    run = serve(one_champion)
    with pytest.raises(PermanentError, match=f"distance of {KEY}"):
        check(run, built(run, altered(rows_of(run.partition), "distance", 7.25), BEFORE))


def test_a_prediction_that_is_wrong_on_the_same_features_is_not_excused_by_corrections(one_champion: World) -> None:
    run = serve(one_champion, inputs=BEFORE)
    rows = run.lake.read(TABLE, [run.key]).drop_columns(["partition"])
    frame = rows.to_pandas().assign(probability=lambda r: r["probability"] * 0.9)
    staged = run.lake.stage(TABLE, run.key, pa.Table.from_pandas(frame, rows.schema, preserve_index=False))
    run.lake.publish(TABLE, run.key, [staged], CommitRecord())
    with pytest.raises(PermanentError, match="probability of "):
        check(run, built(run, rows_of(run.partition), {**BEFORE, "shipments": {"2024-03-09": "corrected"}}))


# the sample ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Partitions that a features job was planned for; without sources nothing can be."""
    found: list[str] = []

    def plan(run: StageRun) -> FeaturePlan:
        found.append(run.key)
        return FeaturePlan("plan.json", "area", synthetic.ROWS, run.key)

    monkeypatch.setattr(skew, "plan", plan)
    return found


def test_the_newest_and_an_older_one_are_computed_again(one_champion: World, planned: list[str]) -> None:
    world = one_champion
    again = plan_again(world.workspace, world.use_case, "newest")
    assert (again.plan, again.why) == (None, "parcels: nothing was served yet")
    score(StageRun(world.workspace, world.use_case, world.days[8]))
    assert plan_again(world.workspace, world.use_case, "newest").partition == world.days[8].key
    assert plan_again(world.workspace, world.use_case, "older").why == "parcels: nothing older was served yet"
    for day in world.days[9:]:
        score(StageRun(world.workspace, world.use_case, day))
    assert plan_again(world.workspace, world.use_case, "newest").partition == world.days[13].key
    older = [plan_again(world.at(f"run {n}"), world.use_case, "older").partition for n in range(30)]
    assert set(older) == {day.key for day in world.days[8:13]}
    assert older == [plan_again(world.at(f"run {n}"), world.use_case, "older").partition for n in range(30)]
    assert set(planned) == {day.key for day in world.days[8:]}
    with pytest.raises(PermanentError, match="nothing was served yet"):
        compare(world.workspace, world.use_case, again)


def test_what_cannot_be_compared_is_skipped_by_name(one_champion: World, planned: list[str]) -> None:
    world, run = one_champion, serve(one_champion)
    miles = {**world.use_case.features.expressions, "distance": "distance * 0.621"}
    again = plan_again(world.workspace, changed(world.use_case, "features", expressions=miles), "newest")
    assert (again.plan, again.why) == (None, f"parcels {run.key}: distance had another definition then")
    (file,) = run.lake.files("parcels/features", [run.key])
    Path(file.uri).unlink()
    again = plan_again(world.workspace, world.use_case, "newest")
    assert again.why == f"parcels {run.key}: the features that it was served from were swept away"
    rows = run.lake.read(TABLE, [run.key], columns=["shipment_id", "model_version", "probability", "act"])
    staged = run.lake.stage(TABLE, run.key, rows.drop_columns(["partition"]))
    run.lake.publish(TABLE, run.key, [staged], CommitRecord())
    again = plan_again(world.workspace, world.use_case, "newest")
    assert again.why == f"parcels {run.key}: served before it was written down from which features"
    assert planned == []


@pytest.mark.long
def test_from_the_sources_through_spark(one_champion: World) -> None:
    """Ingested, built by the job, served, built again: alike, also once its own outcomes are in. Then the table is altered."""
    world, day = one_champion, one_champion.days[13].next
    run = StageRun(world.workspace, world.use_case, day)
    for each in (world.days[13], day):
        synthetic.arrive(world.workspace, each)
        stages.run_ingestion(StageRun(world.workspace, world.use_case, each))
    stages.run_features(run)
    score(run)
    _, deliveries = synthetic.parcels(day)
    synthetic.put(world.workspace, "deliveries", day, deliveries.assign(delay=deliveries.delay + 5))
    stages.run_ingestion(run)
    again = plan_again(world.workspace, world.use_case, "newest")
    assert again.plan
    features.build(world.workspace, again.plan)
    assert compare(world.workspace, world.use_case, again) == Compared(day.key, synthetic.ROWS, FEATURES)
    (file,) = run.lake.files("parcels/features", [day.key])
    rows = pd.read_parquet(file.uri)
    named = rows["shipment_id"].iloc[5]
    rows.assign(pieces=rows["pieces"].mask(rows["shipment_id"] == named, 99)).to_parquet(file.uri)
    document = json.loads(Path(again.plan.uri).read_text())
    then = run.lake.published("parcels/features", day.key)
    assert then
    Path(str(then.record.plan)).write_text(json.dumps(document))  # as if nothing had been corrected since
    with pytest.raises(PermanentError, match=rf"pieces of {named} was 99 when it was served, and is \d now\."):
        compare(world.workspace, world.use_case, again)
