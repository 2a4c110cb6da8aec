"""Features are point-in-time correct: what was not known at 00:00 of a row's date changes nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines.use_case import load_use_case
from spark_jobs import build_features as job

ZONE = ZoneInfo("America/New_York")
PLAN: dict[str, Any] = {
    "timezone": "America/New_York",
    "label": {"source": "outcomes", "column": "delay", "operator": ">=", "threshold": 15, "known_at": "arrived_at"},
    "joins": [
        {
            "table": "weather",
            "match": {"origin": "origin"},
            "columns": {"wind": "wind * 2"},
            "reach": {"2013-04": ["2013-04", "2013-04"]},
        }
    ],
    "expressions": {"wind": "wind", "flights_that_day": "count(*) over (partition by day)"},
    "features": {
        "entity": "schedule",
        "key": "id",
        "date": "day",
        "history": [{"name": "all", "by": [], "windows": [1, 7]}, {"name": "origin", "by": ["origin"], "windows": [7]}],
        "prior_weight": 5.0,
    },
}
SHARES = ["all_late_1d", "all_late_7d", "origin_late_7d"]


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """A moment of April 2013 in New York's local time, in UTC without a zone, as Spark's session has it."""
    return datetime(2013, 4, day, hour, minute, tzinfo=ZONE).astimezone(UTC).replace(tzinfo=None)


def flights(rows: list[tuple[str, int, str]]) -> pd.DataFrame:
    return pd.DataFrame([{"id": i, "day": date(2013, 4, d), "origin": o} for i, d, o in rows])


def outcomes(rows: list[tuple[str, float | None, datetime | None]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["id", "delay", "arrived_at"])
    return frame.assign(arrived_at=pd.to_datetime(frame.arrived_at))


def build(spark: SparkSession, schedule: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    weather = spark.createDataFrame(pd.DataFrame({"origin": ["EWR", "JFK"], "wind": [1.0, 2.0], job.PARTITION: "2013-04"}))
    known_frame = spark.createDataFrame(known, "id string, delay double, arrived_at timestamp").withColumn(
        job.PARTITION, F.lit("2013-04")
    )
    entities = spark.createDataFrame(schedule, "id string, day date, origin string").withColumn(job.PARTITION, F.lit("2013-04"))
    known = {"column": "arrived_at", "from": {"2013-04": "2013-04-01"}}
    tables = {
        "weather": job.with_known_day(weather, None, PLAN["timezone"]),
        "outcomes": job.with_known_day(known_frame, known, PLAN["timezone"]),
    }
    found = job.build(tables, entities, entities, PLAN)
    return found.toPandas().set_index("id").sort_index()


SCHEDULE = flights([("a", 1, "EWR"), ("b", 1, "JFK"), ("c", 2, "EWR"), ("d", 3, "EWR"), ("e", 3, "LGA")])
KNOWN = outcomes(
    [("a", 20.0, at(1, 12)), ("b", 0.0, at(1, 13)), ("c", 30.0, at(2, 18)), ("d", 0.0, at(3, 9)), ("e", None, None)]
)


def test_shares_count_what_was_known_at_midnight(spark: SparkSession) -> None:
    found = build(spark, SCHEDULE, KNOWN)
    assert pd.isna(found.loc["a", "all_late_7d"]), "nothing was known before the first day"
    assert found.loc["c", "all_late_1d"] == pytest.approx(0.5)
    assert found.loc["d", "all_late_7d"] == pytest.approx(2 / 3)
    assert found.loc["d", "all_late_1d"] == pytest.approx(1.0)
    # Two late flights of two out of Newark, drawn towards the prior by five: (2 + 5 * 2/3) / (2 + 5).
    assert found.loc["d", "origin_late_7d"] == pytest.approx((2 + 5 * 2 / 3) / 7)
    assert found.loc["e", "origin_late_7d"] == pytest.approx(2 / 3), "no history of its own: the prior"


def test_changing_the_future_changes_no_feature(spark: SparkSession) -> None:
    """Every outcome that became known on or after the day of a flight is turned round: its features stay."""
    before = build(spark, SCHEDULE, KNOWN)
    for day in (1, 2, 3):
        midnight = at(day, 0)
        future = KNOWN.arrived_at >= midnight
        changed = KNOWN.assign(delay=KNOWN.delay.where(~future, 100 - KNOWN.delay))
        after = build(spark, SCHEDULE, changed)
        rows = SCHEDULE[SCHEDULE.day <= date(2013, 4, day)].id
        pd.testing.assert_frame_equal(before.loc[rows], after.loc[rows])


def test_changing_the_past_changes_features(spark: SparkSession) -> None:
    """The test above would pass on features that look at nothing."""
    changed = KNOWN.assign(delay=0.0)
    assert not build(spark, SCHEDULE, KNOWN).loc["d", SHARES].equals(build(spark, SCHEDULE, changed).loc["d", SHARES])


@pytest.mark.parametrize(("arrived", "counts"), [(at(2, 23, 59), True), (at(3, 0), True), (at(3, 0, 1), False)])
def test_a_flight_that_lands_after_midnight_is_not_known_that_day(spark: SparkSession, arrived: datetime, counts: bool) -> None:
    known = outcomes([("a", 0.0, at(1, 12)), ("c", 30.0, arrived)])
    found = build(spark, SCHEDULE, known).loc["d", "all_late_7d"]
    assert found == pytest.approx(0.5 if counts else 0.0)


def test_local_midnight_and_not_utc_decides(spark: SparkSession) -> None:
    """21:00 in New York is the next day in UTC: known at the next local midnight all the same."""
    known = outcomes([("c", 30.0, at(2, 21))])
    assert build(spark, SCHEDULE, known).loc["d", "all_late_1d"] == pytest.approx(1.0)


def test_a_cancelled_flight_is_no_label(spark: SparkSession) -> None:
    known = outcomes([("a", None, None), ("b", 20.0, at(1, 13))])
    assert build(spark, SCHEDULE, known).loc["c", "all_late_1d"] == pytest.approx(1.0)


def test_a_join_without_a_match_keeps_the_row(spark: SparkSession) -> None:
    found = build(spark, SCHEDULE, KNOWN)
    assert len(found) == len(SCHEDULE)
    assert pd.isna(found.loc["e", "wind"])
    assert found.loc["b", "wind"] == 4.0


def test_the_closing_select_is_the_schema(spark: SparkSession) -> None:
    found = build(spark, SCHEDULE, KNOWN).reset_index()
    assert list(found.columns) == ["id", job.PARTITION, "day", "wind", "flights_that_day", *SHARES]


def test_windows_end_on_time(spark: SparkSession) -> None:
    schedule = flights([("old", 1, "EWR"), ("new", 9, "EWR")])
    known = outcomes([("old", 20.0, at(1, 12))])
    assert pd.isna(build(spark, schedule, known).loc["new", "all_late_7d"]), "known on the 2nd, seven days end on the 8th"


def test_pandas_udf_runs_in_this_very_pyspark(spark: SparkSession) -> None:
    """pyspark and pyspark-client own the same folder: unequal versions break here."""
    from importlib.metadata import version

    import pyspark
    from pyspark.sql.functions import pandas_udf

    assert pyspark.__version__ == version("pyspark") == version("pyspark-client")

    @pandas_udf("long")
    def doubled(values: pd.Series) -> pd.Series:
        return values * 2

    assert [r[0] for r in spark.range(3).select(doubled("id")).collect()] == [0, 2, 4]


def test_every_feature_of_the_reference_use_case_is_declared_once() -> None:
    names = load_use_case("flight_delay").features.names
    assert len(names) == len(set(names))
    assert timedelta(days=load_use_case("flight_delay").features.lookback_days) == timedelta(days=28)


def test_a_column_that_came_later_than_a_file_is_null_or_its_default(spark: SparkSession, tmp_path: Path) -> None:
    older, newer = str(tmp_path / "older.parquet"), str(tmp_path / "newer.parquet")
    pd.DataFrame({"id": ["a"], "_row": [2]}).to_parquet(older)
    pd.DataFrame({"id": ["b"], "_row": [2], "fuel": [7.5], "crew": [3]}).to_parquet(newer)
    columns = {
        "id": {"type": "string", "default": None, "nullable": False},
        "fuel": {"type": "double", "default": None, "nullable": True},
        "crew": {"type": "bigint", "default": "2", "nullable": False},
    }
    source = {"files": {"1": [older], "2": [newer]}, "columns": columns}
    both = {r["id"]: (r["fuel"], r["crew"]) for r in job.read(spark, source).collect()}
    assert both == {"a": (None, 2), "b": (7.5, 3)}
    (only_older,) = job.read(spark, source, ["1"]).collect()
    assert (only_older["fuel"], only_older["crew"]) == (None, 2)
