"""One rule chooses the files and the rows that features stand on: planned, built by the very job and published.

Each situation is one in which files chosen by the date of the event, or rows counted instead of hours, gave a wrong value.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pyspark.sql import SparkSession

from pipelines import features
from pipelines.commands import stages
from pipelines.errors import PermanentError
from pipelines.features import inputs
from pipelines.training import TrainingRun, plan_training
from pipelines.use_case import Partition, UseCase, feature_definitions, features_table, read_use_case, source_table
from pipelines.workspace import CommitRecord, Lake, StageRun, Workspace
from spark_jobs import build_features as job
from tests import synthetic
from tests.conftest import USE_CASES

FIRST = date(2024, 3, 1)
SIX_HOURS = "over (partition by depot order by hour range between interval {0} hours preceding and {1})"
WEATHER: dict[str, Any] = {
    "sources": {"uri": "{landing}/parcels/weather/{partition}.csv.gz", "time_column": "day", "forecast": True},
    "contract": {
        "key": ["depot", "hour"],
        "columns": {
            "depot": {"type": "string"},
            "day": {"type": "date"},
            "hour": {"type": "timestamp"},
            "rain": {"type": "number"},
        },
    },
    "join": {
        "table": "weather",
        "match": {"depot": "depot", "hour": "date_trunc('hour', sent_at)"},
        "lookback": "P1D",
        "columns": {
            "rain_6h": f"sum(rain) {SIX_HOURS.format(5, 'current row')}",
            "rain_change": f"rain - first(rain) {SIX_HOURS.format(6, 'interval 6 hours preceding')}",
        },
    },
}


def document() -> dict[str, Any]:
    """`parcels` without the joins and expressions that need more columns."""
    found = yaml.safe_load((USE_CASES / "parcels.yaml").read_text())
    columns = {name: found["contract"]["shipments"]["columns"][name] for name in ("shipment_id", "ship_date", "depot")}
    found["contract"]["shipments"] = {"key": ["shipment_id"], "columns": {**columns, "sent_at": {"type": "timestamp"}}}
    found["features"] |= {"joins": [], "expressions": {"depot": "depot"}, "categorical": ["depot"]}
    return found


def read(document: dict[str, Any], folder: Path) -> UseCase:
    (folder / "parcels.yaml").write_text(yaml.safe_dump(document))
    return read_use_case(folder / "parcels.yaml")


@pytest.fixture
def parcels(tmp_path: Path) -> UseCase:
    return read(document(), tmp_path)


@pytest.fixture
def rainy(tmp_path: Path) -> UseCase:
    return read(rainy_document(), tmp_path)


def rainy_document(lookback: str = "P1D") -> dict[str, Any]:
    """With the weather of each hour at the depot, and windows over six hours of it."""
    found = document()
    for section in ("sources", "contract"):
        found[section]["weather"] = WEATHER[section]
    found["features"] |= {
        "joins": [WEATHER["join"] | {"lookback": lookback}],
        "expressions": {"depot": "depot", **{c: c for c in WEATHER["join"]["columns"]}},
    }
    return found


def day(use_case: UseCase, number: int) -> Partition:
    """Day 1 is the first."""
    return use_case.partition((FIRST + timedelta(days=number - 1)).isoformat())


def put(workspace: Workspace, use_case: UseCase, source: str, partition: Partition, rows: list[dict[str, Any]]) -> None:
    """Publish the rows of a source as ingestion would."""
    table = source_table(use_case, source)
    moment = pa.timestamp("us", "UTC")
    kinds = {"sent_at": moment, "left_at": moment, "delivered_at": moment, "hour": moment, "day": pa.date32()}
    arrow = pa.Table.from_pylist(rows)
    for number, name in enumerate(arrow.column_names):
        if name in kinds:
            arrow = arrow.set_column(number, name, arrow[name].cast(kinds[name]))
    record = CommitRecord(run="test", read_at=workspace.clock.now().isoformat())
    workspace.lake.publish(table, partition.key, [workspace.lake.stage(table, partition.key, arrow)], record)


def chosen_files(run: StageRun) -> dict[str, inputs.Files]:
    return inputs.chosen_files(run, inputs.latest_outcomes(run))


def at(number: int, hour: int = 12) -> pd.Timestamp:
    return pd.Timestamp(FIRST, tz="UTC") + pd.Timedelta(days=number - 1, hours=hour)


def sent(
    workspace: Workspace, use_case: UseCase, number: int, *parcels: tuple[str, float, pd.Timestamp], hour: int = 1
) -> None:
    """Parcels of one day: name, minutes late, and when that became known."""
    partition = day(use_case, number)
    identity = [{"shipment_id": name, "ship_date": partition.start} for name, _, _ in parcels]
    put(workspace, use_case, "shipments", partition, [{**i, "depot": "north", "sent_at": at(number, hour)} for i in identity])
    known = [
        {**i, "left_at": at(number, hour), "delivered_at": moment, "delay": delay}
        for i, (_, delay, moment) in zip(identity, parcels, strict=True)
    ]
    put(workspace, use_case, "deliveries", partition, known)


def build(spark: SparkSession, run: StageRun) -> pd.DataFrame:
    """Plan, job and publication of a run; its features by parcel."""
    planned = features.plan(run)
    plan = json.loads(Path(planned.uri).read_text())
    tables = job.tables_of(spark, plan)
    job.run(spark, plan, tables, job.read(spark, plan["inputs"]["shipments"], list(plan["rows"])))
    features.publish(run, planned)
    return run.lake.read(features_table(run.use_case), plan["rows"]).to_pandas().set_index("shipment_id")


def shares(workspace: Workspace, use_case: UseCase, spark: SparkSession, number: int) -> tuple[float, float]:
    found = build(spark, StageRun(workspace, use_case, day(use_case, number))).iloc[0]
    return found["all_parcels_late_1d"], found["all_parcels_late_3d"]


def test_what_took_long_to_become_known_counts_when_it_did(workspace: Workspace, parcels: UseCase, spark: SparkSession) -> None:
    """Shipped on day 1 and delivered late on day 5 at noon: typically it is the bad cases that take long."""
    sent(workspace, parcels, 1, ("slow", 90.0, at(5)))
    for number in (2, 3, 4, 5):
        sent(workspace, parcels, number, (f"fast {number}", 0.0, at(number)))
    sent(workspace, parcels, 6, ("new", 0.0, at(6)))
    assert shares(workspace, parcels, spark, 6) == (1 / 2, 1 / 4)


def when_complete(use_case: UseCase, source: str = "deliveries") -> UseCase:
    """The use case with a source that is sent once, when it is complete."""
    told = use_case.model_dump(mode="json")
    told["sources"][source]["in_parts"] = False
    return UseCase.model_validate(told)


def test_what_is_not_sent_in_parts_counts_when_it_is_complete(
    workspace: Workspace, parcels: UseCase, spark: SparkSession
) -> None:
    """Deliveries of day 3 are there from the start of day 5 on: on day 4 nobody can have counted them, late as it may be."""
    once = when_complete(parcels)
    for number, late in ((1, 90.0), (2, 0.0), (3, 90.0), (4, 0.0), (5, 0.0)):
        sent(workspace, once, number, (f"parcel {number}", late, at(number)))
    assert sorted(chosen_files(StageRun(workspace, once, day(once, 4)))["deliveries"]) == [day(once, n).key for n in (1, 2)]
    assert [shares(workspace, once, spark, number) for number in (4, 5)] == [(0.0, 1 / 2), (1.0, 2 / 3)]
    assert [shares(workspace, parcels, spark, number) for number in (4, 5)] == [(1.0, 2 / 3), (0.0, 1 / 3)]


def test_files_are_chosen_by_when_they_were_complete(workspace: Workspace, parcels: UseCase) -> None:
    """Delivered on day 1, but counted from the start of day 3 on: within three days of day 5, not of day 6."""
    for number in range(1, 7):
        sent(workspace, parcels, number, (f"parcel {number}", 0.0, at(number)))
    oldest = [
        min(chosen_files(StageRun(workspace, one, day(one, 5)))["deliveries"]) for one in (when_complete(parcels), parcels)
    ]
    assert oldest == [day(parcels, 1).key, day(parcels, 2).key]
    assert min(chosen_files(StageRun(workspace, when_complete(parcels), day(parcels, 6)))["deliveries"]) == day(parcels, 2).key


def test_what_became_known_long_ago_is_not_read(workspace: Workspace, parcels: UseCase) -> None:
    """By Delta's own log: history grows for years. A file that does not say is read."""
    for number in range(1, 8):
        sent(workspace, parcels, number, (f"parcel {number}", 0.0, at(number)))
    chosen = chosen_files(StageRun(workspace, parcels, day(parcels, 7)))
    wanted = [day(parcels, n).key for n in (4, 5, 6, 7)]
    assert (sorted(chosen["deliveries"]), sorted(chosen["shipments"])) == (wanted[:3], wanted)
    sent(workspace, parcels, 1, ("lost", 0.0, None))  # type: ignore[arg-type]
    assert min(chosen_files(StageRun(workspace, parcels, day(parcels, 7)))["deliveries"]) == day(parcels, 1).key


def test_a_key_that_is_sent_again_is_another_event(workspace: Workspace, parcels: UseCase, spark: SparkSession) -> None:
    for number in (1, 2):
        sent(workspace, parcels, number, ("again", 90.0, at(number)), (f"other {number}", 0.0, at(number)))
    sent(workspace, parcels, 3, ("new", 0.0, at(3)))
    assert shares(workspace, parcels, spark, 3)[1] == 2 / 4


def test_a_key_that_is_sent_again_is_trained_on_with_its_own_outcome(workspace: Workspace, use_case: UseCase) -> None:
    days = synthetic.days(use_case, 6)
    for one in days:
        synthetic.publish(workspace, use_case, one)
    tables = {}
    for table, other in ((features_table(use_case), "distance"), (f"{use_case.name}/labels", "label")):
        rows = workspace.lake.read(table, [days[1].key]).drop_columns(["partition"]).to_pandas()
        old = workspace.lake.read(table, [days[0].key]).to_pandas().iloc[0]
        rows.loc[0, "shipment_id"] = old["shipment_id"]
        tables[other] = (old[other], rows.loc[0, other])
        arrow = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
        record = CommitRecord(run="test", definitions=feature_definitions(use_case))
        workspace.lake.publish(table, days[1].key, [workspace.lake.stage(table, days[1].key, arrow)], record)
        key = old["shipment_id"]
    training = TrainingRun(workspace, use_case, plan_training(StageRun(workspace, use_case, days[5])))
    rows = training.rows.all
    both = rows[rows.shipment_id == key].sort_values("partition")
    assert [tuple(both[name]) for name in ("distance", "label")] == list(tables.values())


def rain(workspace: Workspace, use_case: UseCase, number: int, hours: range, amount: Callable[[int], float]) -> None:
    partition = day(use_case, number)
    rows = [{"depot": "north", "day": partition.start, "hour": at(number, h), "rain": amount(h)} for h in hours]
    put(workspace, use_case, "weather", partition, rows)


@pytest.mark.parametrize("lookback", ["P1D", "PT6H"])
def test_windows_reach_over_midnight(lookback: str, workspace: Workspace, tmp_path: Path, spark: SparkSession) -> None:
    rainy = read(rainy_document(lookback), tmp_path)
    for number in (1, 2):
        sent(workspace, rainy, number, (f"parcel {number}", 0.0, at(number)))
        rain(workspace, rainy, number, range(24), lambda hour: 1.0)
    found = build(spark, StageRun(workspace, rainy, day(rainy, 2))).iloc[0]
    assert (found["rain_6h"], found["rain_change"]) == (6.0, 0.0)


def test_six_hours_are_not_six_rows(workspace: Workspace, rainy: UseCase, spark: SparkSession) -> None:
    """The station was silent from 20:00 to 23:00, and it rains as many millimetres as the hour says."""
    for number, hours in ((1, range(20)), (2, range(24))):
        sent(workspace, rainy, number, (f"parcel {number}", 0.0, at(number)))
        rain(workspace, rainy, number, hours, float)
    found = build(spark, StageRun(workspace, rainy, day(rainy, 2))).iloc[0]
    assert found["rain_6h"] == 0 + 1, "20:00 to 23:00 are missing, 00:00 and 01:00 are there"
    assert found["rain_change"] == 1 - 19


@pytest.mark.parametrize(
    ("column", "lookback", "says"),
    [
        ("sum(rain) over (order by hour rows between 5 preceding and current row)", "P1D", "counts rows, which are no hours"),
        ("rain - LAG(rain, 6) over (order by hour)", "P1D", "counts rows, which are no hours"),
        (f"sum(rain) {SIX_HOURS.format(5, 'current row').replace('hours', 'month')}", "P1D", "say how far a window reaches"),
        (f"sum(rain) {SIX_HOURS.format(5, 'current row')}", "PT0S", "reaches 5:00:00 back, but lookback is 0:00:00"),
    ],
)
def test_a_window_that_would_count_rows_or_be_cut_off_is_refused(column: str, lookback: str, says: str, tmp_path: Path) -> None:
    found = document()
    for section in ("sources", "contract"):
        found[section]["weather"] = WEATHER[section]
    found["features"] |= {"joins": [{**WEATHER["join"], "lookback": lookback, "columns": {"rain_6h": column}}]}
    with pytest.raises(PermanentError, match=says):
        read(found, tmp_path)


def test_what_is_observed_is_joined_once_it_was_known(workspace: Workspace, tmp_path: Path, spark: SparkSession) -> None:
    """The depot's count of a day is known when the day has ended, and here one day later: its morning cannot use it."""
    found = document()
    source = {"uri": "{landing}/{partition}.csv", "time_column": "day", "available_after": "P1D"}
    found["sources"]["load"], found["contract"]["load"] = source, WEATHER["contract"] | {"key": ["depot", "day"]}
    joins = [
        {
            "table": "load",
            "match": {"depot": "depot", "day": f"date_sub(ship_date, {back})"},
            "lookback": "P3D",
            "columns": {f"load_{back}": "rain"},
        }
        for back in (1, 2)
    ]
    found["features"] |= {
        "joins": joins,
        "expressions": {"depot": "depot", "load_1": "load_1", "load_2": "coalesce(load_1, load_2)"},
    }
    use_case = read(found, tmp_path)
    for number in (1, 2, 3, 4):
        sent(workspace, use_case, number, (f"parcel {number}", 0.0, at(number)))
        put(
            workspace,
            use_case,
            "load",
            day(use_case, number),
            [{"depot": "north", "day": day(use_case, number).start, "hour": at(number), "rain": float(number)}],
        )
    run = StageRun(workspace, use_case, day(use_case, 4))
    planned = features.plan(run)
    plan = json.loads(Path(planned.uri).read_text())
    rows = (
        job.build(
            job.tables_of(spark, plan),
            job.read(spark, plan["inputs"]["shipments"], [run.key]),
            job.read(spark, plan["inputs"]["shipments"]),
            plan,
        )
        .toPandas()
        .iloc[0]
    )
    assert pd.isna(rows["load_1"])
    assert rows["load_2"] == 2.0


def test_what_has_no_day_is_never_known(workspace: Workspace, tmp_path: Path, spark: SparkSession) -> None:
    found = document()
    contract = WEATHER["contract"] | {"key": ["depot"]}
    contract["columns"] = contract["columns"] | {"day": {"type": "date", "nullable": True}}
    found["sources"]["load"], found["contract"]["load"] = {"uri": "{landing}/{partition}.csv", "time_column": "day"}, contract
    found["features"] |= {
        "joins": [{"table": "load", "match": {"depot": "depot"}, "columns": {"load": "rain"}}],
        "expressions": {"depot": "depot", "load": "load"},
    }
    use_case = read(found, tmp_path)
    sent(workspace, use_case, 1, ("parcel", 0.0, at(1)))
    put(workspace, use_case, "load", day(use_case, 1), [{"depot": "north", "day": None, "hour": at(1), "rain": 5.0}])
    run = StageRun(workspace, use_case, day(use_case, 1))
    plan = json.loads(Path(features.plan(run).uri).read_text())
    entities = job.read(spark, plan["inputs"]["shipments"])
    assert job.build(job.tables_of(spark, plan), entities, entities, plan).first()["load"] is None


def test_altering_any_source_after_the_cut_off_changes_no_earlier_feature(
    workspace: Workspace, rainy: UseCase, spark: SparkSession
) -> None:
    """Source by source; the declared forecast is the one exception, and it does change what it is joined to."""
    for number in (1, 2, 3):
        sent(workspace, rainy, number, (f"parcel {number}", 0.0, at(number)))
        rain(workspace, rainy, number, range(24), float)
    run = StageRun(workspace, rainy, day(rainy, 2))
    before = build(spark, run)
    rain(workspace, rainy, 3, range(24), lambda hour: 99.0)
    sent(workspace, rainy, 3, ("other", 90.0, at(3)))
    deliveries = [
        {"shipment_id": "parcel 2", "ship_date": run.partition.start, "left_at": at(2), "delivered_at": at(2), "delay": 90.0}
    ]
    put(workspace, rainy, "deliveries", run.partition, deliveries)
    pd.testing.assert_frame_equal(build(spark, run), before)
    rain(workspace, rainy, 2, range(24), lambda hour: 99.0)
    changed_columns = [name for name in before if build_differs(before, build(spark, run), name)]
    assert [name for name, source in rainy.sources.items() if source.forecast] == ["weather"]
    assert changed_columns == ["rain_6h", "rain_change"]


def build_differs(before: pd.DataFrame, after: pd.DataFrame, name: str) -> bool:
    return not before[name].equals(after[name])


AHEAD = "sum(rain) over (order by hour range between interval 1 hour preceding and interval 1 hour following)"
LABEL_JOIN = {"table": "deliveries", "match": {"shipment_id": "shipment_id"}, "columns": {"late": "delay"}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (LABEL_JOIN, "holds the label itself"),
        ({"columns": {"most": "max(rain) over (partition by depot)"}}, "most: its window holds rows of later days"),
        ({"columns": {"most": f"sum(rain) {SIX_HOURS.format(5, 'current row')}"}}, "most: its window holds rows of later days"),
        (
            {"columns": {"back": f"sum(rain) {SIX_HOURS.format(5, 'current row').replace('hour ', 'day desc ')}"}},
            "back looks ahead",
        ),
        ({"columns": {"next": AHEAD}}, "next looks ahead"),
    ],
)
def test_a_join_that_would_see_the_future_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    found = document()
    for section in ("sources", "contract"):
        found[section]["weather"] = WEATHER[section]
    found["sources"]["weather"] = {**WEATHER["sources"], "forecast": False}
    found["features"] |= {"joins": [{**WEATHER["join"], **change}]}
    with pytest.raises(PermanentError, match=says):
        read(found, tmp_path)


# gaps ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "gap"), [("shipments", 3), ("deliveries", 3), ("weather", 4)])
def test_a_gap_stops_the_run_with_its_name(source: str, gap: int, workspace: Workspace, rainy: UseCase) -> None:
    for number in (1, 2, 3, 4, 5):
        sent(workspace, rainy, number, (f"parcel {number}", 0.0, at(number)))
        rain(workspace, rainy, number, range(24), float)
    key = day(rainy, gap).key
    workspace.lake.delta(source_table(rainy, source)).delete(f"partition = '{key}'")
    run = StageRun(workspace, rainy, day(rainy, 5))
    with pytest.raises(PermanentError, match=f"parcels/{source} is not published for {key}, which the features reach back to"):
        features.plan(run)
    told = rainy.model_dump(mode="json")
    tolerant = UseCase.model_validate({**told, "features": {**told["features"], "max_missing_share": 0.5}})
    plan = json.loads(Path(features.plan(StageRun(workspace, tolerant, run.partition)).uri).read_text())
    assert key not in plan["inputs"][source]["files"]


def test_nothing_is_missing_before_the_first_partition_nor_of_outcomes_that_are_not_due(
    workspace: Workspace, parcels: UseCase
) -> None:
    """Outcomes are complete one day after the day's end: those of yesterday are not due this midnight, but for a part."""
    for number in (1, 2, 3, 4):
        sent(workspace, parcels, number, (f"parcel {number}", 0.0, at(number)))
    workspace.lake.delta("parcels/deliveries").delete(f"partition >= '{day(parcels, 2).key}'")
    chosen = chosen_files(StageRun(workspace, parcels, day(parcels, 3)))
    assert list(chosen["deliveries"]) == [day(parcels, 1).key]
    says = "parcels/deliveries is not published for 2024-03-02, which the features reach back to"
    assert says in features.missing(StageRun(workspace, parcels, day(parcels, 3)))[0]
    once = when_complete(parcels)
    assert features.missing(StageRun(workspace, once, day(once, 3))) == []
    assert features.missing(StageRun(workspace, once, day(once, 1))) == []
    assert "for 2024-03-02" in features.missing(StageRun(workspace, once, day(once, 4)))[0]


def test_where_no_outcome_was_ever_published_they_are_due_all_the_same(workspace: Workspace, parcels: UseCase) -> None:
    """Else the first predictions would be made without what the rule says was known, and nobody would be told."""
    for number in (1, 2):
        partition = day(parcels, number)
        rows = [{"shipment_id": "a", "ship_date": partition.start, "depot": "north", "sent_at": at(number)}]
        put(workspace, parcels, "shipments", partition, rows)
    assert features.missing(StageRun(workspace, parcels, day(parcels, 1))) == []
    assert "parcels/deliveries is not published for 2024-03-01" in features.missing(StageRun(workspace, parcels, partition))[0]


def read_again(workspace: Workspace, use_case: UseCase, number: int, read_at: pd.Timestamp) -> None:
    table, key = "parcels/deliveries", day(use_case, number).key
    staged = [file.uri.removeprefix(f"{workspace.lake.uri(table)}/") for file in workspace.lake.files(table, [key])]
    workspace.lake.publish(table, key, staged, CommitRecord(run="test", read_at=read_at.isoformat()))


@pytest.mark.parametrize(
    ("read_at", "ready"), [(at(2, 23), False), (at(3, 0), True), (at(9), True)], ids=["before", "at the cut-off", "after"]
)
def test_what_is_sent_in_parts_has_to_be_read_since(
    read_at: pd.Timestamp, ready: bool, workspace: Workspace, parcels: UseCase
) -> None:
    for number in (1, 2, 3, 4):
        sent(workspace, parcels, number, (f"parcel {number}", 0.0, at(number)))
    read_again(workspace, parcels, 1, at(3, 0))  # complete: what comes after that is a correction
    read_again(workspace, parcels, 2, read_at)
    told = features.missing(StageRun(workspace, parcels, day(parcels, 3)))
    assert told == [] if ready else "parcels/deliveries was read too early for 2024-03-02: what became known" in told[0]
    assert len(features.missing(StageRun(workspace, parcels, day(parcels, 4)))) == (read_at != at(9))
    assert features.missing(StageRun(workspace, when_complete(parcels), day(parcels, 3))) == []


def test_reference_data_that_never_came_is_missing(workspace: Workspace, use_case: UseCase) -> None:
    partition = day(use_case, 1)
    put(workspace, use_case, "shipments", partition, [{"shipment_id": "a", "ship_date": partition.start}])
    says = ["parcels/carriers was never published; run ingestion for it first"]
    assert features.missing(StageRun(workspace, use_case, partition)) == says


def test_features_need_no_outcome_of_their_own_day(workspace: Workspace, parcels: UseCase, spark: SparkSession) -> None:
    """Predict first, learn later: nothing of the deliveries has ever been published."""
    partition = day(parcels, 1)
    rows = [{"shipment_id": "a", "ship_date": partition.start, "depot": "north", "sent_at": at(1)}]
    put(workspace, parcels, "shipments", partition, rows)
    found = build(spark, StageRun(workspace, parcels, partition))
    assert pd.isna(found.loc["a", "all_parcels_late_1d"])


# corrections ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def three_days(workspace: Workspace, parcels: UseCase, spark: SparkSession) -> list[StageRun]:
    """Three days, of which the second and third have features."""
    runs = [StageRun(workspace, parcels, day(parcels, number)) for number in (1, 2, 3)]
    for number in (1, 2, 3):
        sent(workspace, parcels, number, (f"parcel {number}", 0.0, at(number)))
    for run in runs[1:]:
        build(spark, run)
    return runs


def test_what_stands_on_a_corrected_day_is_built_again(three_days: list[StageRun], spark: SparkSession) -> None:
    first, second, third = three_days
    assert features.outdated(first) == []
    sent(first.workspace, first.use_case, 1, ("parcel 1", 90.0, at(1)))
    assert features.outdated(first) == [second.key, third.key]
    assert build(spark, second).iloc[0]["all_parcels_late_1d"] == 1.0
    assert features.outdated(first) == [third.key]
    build(spark, third)
    assert features.outdated(first) == []
    assert first.ledger.decisions("parcels") == []


def test_the_same_content_once_more_is_no_correction(workspace: Workspace, parcels: UseCase, spark: SparkSession) -> None:
    first, second = (StageRun(workspace, parcels, day(parcels, number)) for number in (1, 2))
    for number in (1, 2):
        sent(workspace, parcels, number, (f"parcel {number}", 0.0, at(number)))
    table, key = "parcels/deliveries", first.key
    again = CommitRecord(run="test", source_digest="abc", contract="def")
    for _ in range(2):
        rows = workspace.lake.read(table, [key]).drop_columns(["partition"])
        workspace.lake.publish(table, key, [workspace.lake.stage(table, key, rows)], again)
        if second.key not in workspace.lake.partitions("parcels/features"):
            build(spark, second)
    assert features.outdated(first) == []


def test_a_day_on_which_nothing_became_known_stops_nothing(workspace: Workspace, parcels: UseCase, spark: SparkSession) -> None:
    for number, known in ((1, 1), (2, 3), (3, 3)):
        sent(workspace, parcels, number, (f"parcel {number}", 0.0, at(known)))
    one, three = shares(workspace, parcels, spark, 3)
    assert pd.isna(one)
    assert three == 0.0


def test_one_table_may_be_both_entity_and_outcomes(workspace: Workspace, tmp_path: Path) -> None:
    found = document()
    found["label"]["source"] = "shipments"
    found["contract"]["shipments"]["columns"] |= found["contract"]["deliveries"]["columns"]
    found["features"]["history"] = []
    use_case = read(found, tmp_path)
    sent(workspace, use_case, 1, ("a", 0.0, at(1)))
    rows = [{"shipment_id": "a", "ship_date": FIRST, "delivered_at": at(1), "delay": 0.0}]
    put(workspace, use_case, "shipments", day(use_case, 1), rows)
    chosen = chosen_files(StageRun(workspace, use_case, day(use_case, 1)))
    assert list(chosen["shipments"]) == [day(use_case, 1).key]


def test_a_day_is_no_moment_at_which_an_outcome_became_known(tmp_path: Path) -> None:
    found = document()
    found["label"]["known_at"] = "ship_date"
    with pytest.raises(PermanentError, match=r"label\.known_at: 'ship_date' is a date, which does not say at what time"):
        read(found, tmp_path)


def test_a_corrected_file_is_found_by_ingestion_and_the_same_file_is_none(
    workspace: Workspace, use_case: UseCase, spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Landed, audited and published as ever; what the DAG announces is what the command line says."""
    first, second = (StageRun(workspace, use_case, one) for one in synthetic.days(use_case, 2))
    for run in (first, second):
        synthetic.arrive(workspace, run.partition, rows=40)
        stages.run_ingestion(run)
    build(spark, second)
    stages.run_ingestion(first)
    assert (features.outdated(first), caplog.text.count("run features for it again")) == ([], 0)
    _, deliveries = synthetic.parcels(first.partition, rows=40)
    synthetic.put(workspace, "deliveries", first.partition, deliveries.assign(delay=deliveries.delay + 90))
    stages.run_ingestion(first)
    assert f"features of {second.key} stand on what parcels {first.key} was before" in caplog.text
    build(spark, second)
    assert features.outdated(first) == []


def test_features_whose_plan_is_gone_are_built_again_and_stop_nothing(three_days: list[StageRun]) -> None:
    """The lake was copied, say: what they stood on is not known any more; of what was served nothing is said then."""
    first, second, third = three_days
    for run in (second, third):
        commit = first.lake.published("parcels/features", run.key)
        assert commit
        Path(str(commit.record.plan)).unlink()
    rows = pa.table({"shipment_id": ["parcel 2"], "model_version": [1]})
    first.lake.publish(
        "parcels/predictions", second.key, [first.lake.stage("parcels/predictions", second.key, rows)], CommitRecord()
    )
    assert features.outdated(first) == [third.key]
    assert first.ledger.decisions("parcels") == []


def test_what_was_served_stays_and_is_told(three_days: list[StageRun]) -> None:
    first, second, third = three_days
    table, rows = "parcels/predictions", pa.table({"shipment_id": ["parcel 2"], "model_version": [1]})
    first.lake.publish(table, second.key, [first.lake.stage(table, second.key, rows)], CommitRecord(run="test"))
    sent(first.workspace, first.use_case, 1, ("parcel 1", 90.0, at(1)))
    assert features.outdated(first) == [third.key]
    (told,) = first.ledger.decisions("parcels")
    assert (told.kind, told.partition) == ("stale", second.key)
    assert "deliveries, shipments of 2024-03-01 as it was before" in told.why
    assert features.outdated(first) == [third.key]
    assert len(first.ledger.decisions("parcels")) == 1


def test_a_part_that_was_read_again_is_no_correction_of_what_counted_less(
    three_days: list[StageRun],
) -> None:
    """Day 2 counted what was known of day 1 by then; what came in since is for day 3, which has to be built again."""
    first, second, third = three_days
    identity = {"ship_date": first.partition.start, "left_at": at(1, 1)}
    rows = [{**identity, "shipment_id": "parcel 1", "delivered_at": at(1), "delay": 0.0}]
    rows += [{**identity, "shipment_id": "slow", "delivered_at": at(2, 20), "delay": 90.0}]
    put(first.workspace, first.use_case, "deliveries", first.partition, rows)
    assert features.outdated(first) == [third.key]
    rows[0] |= {"delay": 99.0}
    put(first.workspace, first.use_case, "deliveries", first.partition, rows)
    assert features.outdated(first) == [second.key, third.key]


def test_a_correction_of_what_is_out_of_reach_changes_nothing(three_days: list[StageRun], spark: SparkSession) -> None:
    first, *_ = three_days
    for number in (4, 5, 6, 7):
        sent(first.workspace, first.use_case, number, (f"parcel {number}", 0.0, at(number)))
    build(spark, StageRun(first.workspace, first.use_case, day(first.use_case, 7)))
    sent(first.workspace, first.use_case, 1, ("parcel 1", 90.0, at(1)))
    assert day(first.use_case, 7).key not in features.outdated(first)


@pytest.mark.parametrize("days", [3, 9])
def test_the_lake_is_asked_as_often_for_many_later_partitions(
    days: int, workspace: Workspace, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in synthetic.days(use_case, days):
        synthetic.publish(workspace, use_case, one)
    first, asked = StageRun(workspace, use_case, day(use_case, 1)), []
    sent(workspace, use_case, 1, ("a", 0.0, at(1)))
    for name in ("delta", "commits"):
        call = getattr(Lake, name)
        monkeypatch.setattr(Lake, name, lambda *given, call=call, **named: asked.append(given[1]) or call(*given, **named))
    assert features.outdated(first) == [day(use_case, number).key for number in range(2, min(days, 4) + 1)]
    assert len(asked) == 10


# several partitions --------------------------------------------------------------------------------------------------


def test_a_longer_period_is_one_run(workspace: Workspace, parcels: UseCase, spark: SparkSession) -> None:
    """Equal to its days: tests/spark_jobs/test_bulk.py."""
    for number in range(1, 11):
        sent(workspace, parcels, number, (f"parcel {number}", 90.0 * (number % 2), at(number)))
    week = StageRun(workspace, parcels, parcels.period("2024-W10"))
    found = build(spark, week)
    assert found["all_parcels_late_1d"].tolist() == [float(number % 2) for number in range(3, 10)]
    assert workspace.lake.partitions("parcels/features") == {p.key: 1 for p in week.partitions}
    (commit,) = {
        c.version: c for c in workspace.lake.published_each("parcels/features", [p.key for p in week.partitions]).values()
    }.values()
    assert commit.record.keys == tuple(p.key for p in week.partitions)
    assert features.outdated(StageRun(workspace, parcels, day(parcels, 2))) == []
    sent(workspace, parcels, 2, ("parcel 2", 90.0, at(2)))
    sent(workspace, parcels, 9, ("parcel 9", 0.0, at(9)))
    corrected = [StageRun(workspace, parcels, parcels.period(key)) for key in ("2024-03-02", "2024-03-09", "2024-W10")]
    stale = [[f"2024-03-{number:02d}" for number in numbers] for numbers in ((4, 5), (10,), (10,))]
    assert [features.outdated(run) for run in corrected] == stale


def test_a_part_of_the_period_that_is_missing_is_named(workspace: Workspace, parcels: UseCase) -> None:
    for number in (4, 5, 6, 7, 8, 10):
        sent(workspace, parcels, number, (f"parcel {number}", 0.0, at(number)))
    week = StageRun(workspace, parcels, parcels.period("2024-W10"))
    assert features.missing(week) == ["parcels/shipments 2024-03-09: not published; run ingestion for it first"]


# the job itself ------------------------------------------------------------------------------------------------------


def test_a_killed_build_is_retried_in_its_own_folder(workspace: Workspace, parcels: UseCase, spark: SparkSession) -> None:
    """The retry has the same plan: what the killed one left there is replaced, not added to."""
    sent(workspace, parcels, 1, ("a", 0.0, at(1)))
    run = StageRun(workspace, parcels, day(parcels, 1))
    planned = features.plan(run)
    plan = json.loads(Path(planned.uri).read_text())
    left = Path(plan["output"])
    left.mkdir(parents=True)
    pd.DataFrame({"shipment_id": ["half"]}).to_parquet(left / "part-00000-killed.snappy.parquet")
    tables = job.tables_of(spark, plan)
    job.run(spark, plan, tables, job.read(spark, plan["inputs"]["shipments"], [run.key]))
    assert features.publish(run, planned).rows == 1


def test_the_job_fixes_the_time_zone_itself(workspace: Workspace, parcels: UseCase, spark: SparkSession) -> None:
    """A session of another zone would move every midnight."""
    sent(workspace, parcels, 1, ("a", 90.0, at(1, 20)))
    sent(workspace, parcels, 2, ("b", 0.0, at(2)))
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    try:
        assert shares(workspace, parcels, job.settled(spark), 2)[0] == 1.0
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")


def test_partitions_are_read_from_where_files_lie(workspace: Workspace, parcels: UseCase, spark: SparkSession) -> None:
    sent(workspace, parcels, 1, ("a", 0.0, at(1)))
    sent(workspace, parcels, 2, ("b", 0.0, at(2)))
    plan = json.loads(Path(features.plan(StageRun(workspace, parcels, day(parcels, 2))).uri).read_text())
    found = job.read(spark, plan["inputs"]["shipments"]).select("shipment_id", job.PARTITION).collect()
    assert {tuple(row) for row in found} == {("a", "2024-03-01"), ("b", "2024-03-02")}
