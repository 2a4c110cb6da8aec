"""Partitions: keys, half-open intervals, and the local midnight that they start at."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from pipelines.errors import PermanentError
from pipelines.use_case.partitions import Grain, Partition, span

KEYS = {Grain.DAY: "2013-04-08", Grain.WEEK: "2013-W15", Grain.MONTH: "2013-04"}
ENDS = {Grain.DAY: date(2013, 4, 9), Grain.WEEK: date(2013, 4, 15), Grain.MONTH: date(2013, 5, 1)}


@pytest.mark.parametrize("grain", Grain)
def test_a_key_names_a_half_open_interval(grain: Grain) -> None:
    partition = Partition.parse(KEYS[grain], grain)
    assert (partition.key, partition.end) == (KEYS[grain], ENDS[grain])
    assert Partition.of(partition.end - timedelta(days=1), grain) == partition
    assert Partition.of(partition.end, grain) == partition.next


@pytest.mark.parametrize("grain", Grain)
def test_partitions_leave_no_gap_over_two_years(grain: Grain) -> None:
    first, last = Partition.of(date(2012, 1, 1), grain), Partition.of(date(2014, 1, 1), grain)
    found = span(first, last)
    assert all(one.end == two.start and two.previous == one for one, two in pairwise(found))
    assert [p.key for p in found] == sorted(p.key for p in found)
    assert all(Partition.parse(p.key, grain) == p for p in found)


@pytest.mark.parametrize(
    ("key", "grain"),
    [
        ("2013-4", Grain.MONTH), ("2013-13", Grain.MONTH), ("2013-04-08", Grain.MONTH), ("2013-04\n", Grain.MONTH),
        ("2013-02-29", Grain.DAY), ("2013-04", Grain.DAY), ("2013-W54", Grain.WEEK), ("", Grain.DAY), (None, Grain.DAY),
    ],
)  # fmt: skip
def test_a_wrong_key_is_refused_with_an_example(key: str, grain: Grain) -> None:
    with pytest.raises(PermanentError, match=f"is no {grain} partition.*write it like {KEYS[grain]}"):
        Partition.parse(key, grain)


def test_a_week_belongs_to_the_year_of_its_thursday() -> None:
    assert Partition.of(date(2012, 12, 31), Grain.WEEK).key == "2013-W01"
    assert Partition.of(date(2016, 1, 3), Grain.WEEK).key == "2015-W53"


def test_a_partition_starts_at_local_midnight_also_when_the_clocks_change() -> None:
    march = Partition.parse("2013-03", Grain.MONTH)
    assert march.starts_at("America/New_York").astimezone(UTC) == datetime(2013, 3, 1, 5, tzinfo=UTC)
    assert march.ends_at("America/New_York").astimezone(UTC) == datetime(2013, 4, 1, 4, tzinfo=UTC)


def test_back_to_reaches_as_many_days_as_asked_and_no_partition_more() -> None:
    march = Partition.parse("2013-03", Grain.MONTH)
    assert [p.key for p in march.back_to(0)] == ["2013-03"]
    assert [p.key for p in march.back_to(28)] == ["2013-02", "2013-03"]
    assert [p.key for p in march.back_to(29)] == ["2013-01", "2013-02", "2013-03"]


@pytest.mark.parametrize(
    ("key", "grain", "count", "first", "last"),
    [
        ("2013-04", Grain.DAY, 30, "2013-04-01", "2013-04-30"),
        ("2013-W15", Grain.DAY, 7, "2013-04-08", "2013-04-14"),
        ("2013-04-08", Grain.DAY, 1, "2013-04-08", "2013-04-08"),
        ("2013-W15", Grain.WEEK, 1, "2013-W15", "2013-W15"),
        ("2013-04", Grain.MONTH, 1, "2013-04", "2013-04"),
        ("2013-12-01--2013-12-26", Grain.DAY, 26, "2013-12-01", "2013-12-26"),
        ("2013-01--2013-03", Grain.DAY, 90, "2013-01-01", "2013-03-31"),
        ("2013-01--2013-03", Grain.MONTH, 3, "2013-01", "2013-03"),
    ],
)
def test_a_period_is_made_of_whole_partitions(key: str, grain: Grain, count: int, first: str, last: str) -> None:
    period = Partition.parse_period(key, grain)
    found = period.within(grain)
    assert (period.key, len(found), found[0].key, found[-1].key) == (key, count, first, last)
    assert (found[0].start, found[-1].end) == (period.start, period.end)


@pytest.mark.parametrize(("key", "grain"), [
    ("2013-04", Grain.WEEK), ("2013-04-08", Grain.MONTH), ("2013", Grain.DAY), ("2013-04--", Grain.MONTH),
    ("2013-04--2013-05--2013-06", Grain.MONTH),
])  # fmt: skip
def test_what_is_not_made_of_whole_partitions_is_no_period(key: str, grain: Grain) -> None:
    with pytest.raises(PermanentError, match="write it like"):
        Partition.parse_period(key, grain)


def test_a_period_begins_before_it_ends() -> None:
    with pytest.raises(PermanentError, match=r"'2013-05--2013-04' ends before it begins"):
        Partition.parse_period("2013-05--2013-04", Grain.MONTH)
