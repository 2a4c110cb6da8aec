"""Bulk equals live: a week computed day by day, each with what had been ingested by then, and the same week in one run.

Outcomes come in parts, after midnight, late and corrected; keys are sent again; joins and windows could reach too far.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import features
from pipelines.features.inputs import versions_known
from pipelines.use_case import SNAPSHOT, UseCase, features_table
from pipelines.workspace import CommitRecord, StageRun, Workspace
from spark_jobs import build_features as job
from tests.conftest import make_workspace
from tests.spark_jobs.test_inputs import WEATHER, at, build, day, put, rainy_document, read

pytestmark = pytest.mark.long

WEEK, DAYS = "2024-W10", range(4, 11)  # Monday the 4th to Sunday the 10th; three days before it
LOAD = {"uri": "{landing}/{partition}.csv", "time_column": "day", "available_after": "PT6H"}


def document() -> dict[str, Any]:
    """With a forecast, an observation that is known when its day is complete, and whatever could see too much in bulk."""
    found = rainy_document()
    found["sources"]["load"], found["contract"]["load"] = LOAD, WEATHER["contract"] | {"key": ["depot", "day"]}
    weather = found["features"]["joins"][0]
    weather["columns"] = {**weather["columns"], "wettest": "max(rain) over (partition by depot)"}
    tomorrow = {**weather, "match": {**weather["match"], "hour": "date_trunc('hour', sent_at) + interval 1 day"}}
    loads = [
        {
            "table": "load",
            "match": {"depot": "depot", "day": f"date_sub(ship_date, {back})"},
            "lookback": "P2D",
            "columns": {f"load_{back}": "rain"},
        }
        for back in (1, 2, 3)
    ]
    found["features"] |= {
        "joins": [
            {"table": "carriers", "match": {"carrier": "depot"}, "columns": {"rating": "rating"}},
            weather,
            {**tomorrow, "lookback": "PT0S", "columns": {"tomorrow": "rain"}},
            *loads,
        ],
        "expressions": {
            "depot": "depot",
            "rating": "rating",
            **{name: name for name in weather["columns"]},
            "tomorrow": "coalesce(tomorrow, -1)",
            "load": "coalesce(load_1, load_2, -1)",
            "out_of_reach": "coalesce(load_3, -1)",
            "parcels_that_day": "count(*) over ()",
            "of_the_depot": "row_number() over (partition by depot order by shipment_id)",
        },
        "history": [{"name": "all_parcels", "windows": [1, 3]}, {"name": "depot", "by": ["depot"], "windows": [2]}],
    }
    return found


def outcome(use_case: UseCase, number: int, name: str, minutes: float, known: pd.Timestamp) -> dict[str, Any]:
    identity = {"shipment_id": name, "ship_date": day(use_case, number).start}
    return {**identity, "left_at": at(number, 6), "delivered_at": known, "delay": minutes}


def outcomes(use_case: UseCase, number: int, now: pd.Timestamp) -> list[dict[str, Any]]:
    """What the file of a day says of it by now."""
    rows = [
        # That of day 8 is said to have been known before its day began, when nobody had been sent it.
        outcome(use_case, number, "again", 90.0 * (number % 2), at(number - (number == 8))),
        outcome(use_case, number, f"night {number}", 30.0, at(number + 1, 1)),
        outcome(use_case, number, f"late {number}", 90.0, at(number + 2 + number % 3)),
        # Said to be on time; that of day 5 is corrected on day 9, after what it counts in from day 6 to 8 was built.
        outcome(use_case, number, f"wrong {number}", 90.0 * (number == 5 and now >= at(8)), at(number, 18)),
    ]
    return [row for row in rows if row["delivered_at"] <= now]


def rate(workspace: Workspace, use_case: UseCase, rating: float, moment: pd.Timestamp) -> None:
    """Reference data, as it was read at a moment."""
    workspace.clock.set(moment.to_pydatetime())
    snapshot = dataclasses.replace(day(use_case, 1), key=SNAPSHOT)
    put(workspace, use_case, "carriers", snapshot, [{"carrier": depot, "rating": rating} for depot in ("north", "south")])


def arrive(workspace: Workspace, use_case: UseCase, number: int) -> None:
    """What is there at the start of a day: its plan and forecast, and of the days before whatever is new."""
    now, partition = at(number, 0) + timedelta(minutes=5), day(use_case, number)
    if number in (1, 7):
        rate(workspace, use_case, float(number), at(number, 0) - timedelta(hours=2) if number > 1 else now)
    workspace.clock.set(now.to_pydatetime())
    names = ["again", *(f"{kind} {number}" for kind in ("night", "late", "wrong"))]
    sent = {"ship_date": partition.start, "sent_at": at(number, 2)}
    depots = ["north", "south"]
    rows = [{"shipment_id": name, **sent, "depot": depots[i % 2]} for i, name in enumerate(names)]
    put(workspace, use_case, "shipments", partition, rows)
    hours = [(depot, hour) for depot in depots for hour in range(24)]
    rain = [{"depot": d, "day": partition.start, "hour": at(number, h), "rain": float(number * h)} for d, h in hours]
    put(workspace, use_case, "weather", partition, rain)
    if number > 2:  # the day before yesterday is complete
        complete = day(use_case, number - 2)
        load = [{"depot": d, "day": complete.start, "hour": at(number - 2), "rain": number - 2.0} for d in depots]
        put(workspace, use_case, "load", complete, load)
    for past in range(1, number):
        before, rows = outcomes(use_case, past, now - timedelta(days=1)), outcomes(use_case, past, now)
        if rows != before or past == number - 1:
            put(workspace, use_case, "deliveries", day(use_case, past), rows)


def live(workspace: Workspace, use_case: UseCase, spark: SparkSession) -> list[str]:
    """Day by day; what a correction made outdated is built again, and returned."""
    again: list[str] = []
    for number in range(1, max(DAYS) + 1):
        arrive(workspace, use_case, number)
        runs = {day(use_case, n).key: StageRun(workspace, use_case, day(use_case, n)) for n in range(1, number + 1)}
        stale = {key for run in runs.values() for key in features.outdated(run)}
        again += sorted(stale)
        for key in sorted(stale | ({day(use_case, number).key} if number in DAYS else set())):
            build(spark, runs[key])
    return again


def published(workspace: Workspace, use_case: UseCase) -> pd.DataFrame:
    rows = workspace.lake.read(features_table(use_case)).to_pandas()
    return rows.set_index(["partition", "shipment_id"]).sort_index()


def differences(live: pd.DataFrame, bulk: pd.DataFrame) -> list[str]:
    assert list(live.index) == list(bulk.index)
    return [name for name in live if not live[name].equals(bulk[name])]


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> tuple[StageRun, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("week")
    use_case, workspace = read(document(), folder), make_workspace(folder)
    again = live(workspace, use_case, spark)
    # What was read in parts, or became known late, makes nothing stale that was right with what was known then.
    assert again == [day(use_case, number).key for number in (6, 7, 8)]
    rows = published(workspace, use_case)
    return StageRun(workspace, use_case, use_case.period(WEEK)), rows


def test_bulk_equals_live(week: tuple[StageRun, pd.DataFrame], spark: SparkSession) -> None:
    run, rows = week
    table = features_table(run.use_case)
    before = run.lake.version(table)
    build(spark, run)
    assert differences(rows, published(run.workspace, run.use_case)) == []
    assert len(rows) == 4 * len(DAYS)
    assert run.lake.version(table) == before + 1, "one transaction"
    keys = [day(run.use_case, number).key for number in DAYS]
    commits = run.lake.published_each(table, keys)
    assert {(key, c.version) for key, c in commits.items()} == {(key, before + 1) for key in keys}
    assert [
        key
        for past in range(1, 11)
        for key in features.outdated(StageRun(run.workspace, run.use_case, day(run.use_case, past)))
    ] == []


def test_the_week_holds_what_could_go_wrong(week: tuple[StageRun, pd.DataFrame]) -> None:
    """The test above would pass on features that never change."""
    _, rows = week
    by_day = rows.groupby("partition").first()
    for name in ("all_parcels_late_1d", "all_parcels_late_3d", "depot_late_2d", "load", "rain_6h", "wettest"):
        assert by_day[name].nunique() > 2, name
    assert list(by_day["rating"]) == [1.0] * 3 + [7.0] * 4, "corrected on the evening of day 6"
    assert set(rows["tomorrow"]) == set(rows["out_of_reach"]) == {-1.0}
    assert set(rows["parcels_that_day"]) == {4}


def test_reference_data_is_that_of_then(workspace: Workspace, tmp_path: Path) -> None:
    """Corrected later, it changes no past partition that is built again; one that was put back is as if it had not been."""
    use_case = read(document(), tmp_path)
    chosen = [StageRun(workspace, use_case, use_case.period(key)) for key in ("2024-03-02", "2024-03-08", WEEK)]
    rate(workspace, use_case, 1.0, at(3))
    first = workspace.lake.version("parcels/carriers")
    assert [set(versions_known(run, "carriers").values()) for run in chosen] == [{first}] * 3, "nothing older is there"
    rate(workspace, use_case, 2.0, at(8, 0))
    assert versions_known(chosen[0], "carriers") == {"2024-03-02": first}
    assert versions_known(chosen[1], "carriers") == {"2024-03-08": first + 1}
    keys = [p.key for p in chosen[2].partitions]
    assert versions_known(chosen[2], "carriers") == {key: first + (key >= "2024-03-08") for key in keys}
    workspace.lake.restore("parcels/carriers", first, CommitRecord(run="test"))
    assert [set(versions_known(run, "carriers").values()) for run in chosen] == [{first}] * 3


def a_day_early(with_known_day: Callable[..., DataFrame]) -> Callable[..., DataFrame]:
    def leaking(*arguments: Any) -> DataFrame:
        return with_known_day(*arguments).withColumn(job.KNOWN_DAY, F.date_sub(job.KNOWN_DAY, 1))

    return leaking


def test_a_planted_leak_is_named(
    week: tuple[StageRun, pd.DataFrame], spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The windows hold the row's own day: live there was nothing of it yet, in bulk there is."""
    run, rows = week
    monkeypatch.setattr(job, "with_known_day", a_day_early(job.with_known_day))
    build(spark, run)
    named = differences(rows, published(run.workspace, run.use_case))
    assert named == ["load", "all_parcels_late_1d", "all_parcels_late_3d", "depot_late_2d"]
