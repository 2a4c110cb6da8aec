"""A window sees its own partition only, however it is written; Spark itself computes it in tests/spark_jobs/test_bulk.py."""

from __future__ import annotations

import pytest

from pipelines.features.windows import within_partition

SIX_HOURS = "order by hour range between interval 6 hours preceding and current row"


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("count(*) over (partition by day)", "count(*) over (partition by _partition, day)"),
        ("count(*) OVER(\n PARTITION  BY day)", "count(*) OVER(\n PARTITION  BY _partition, day)"),
        ("rank() over (order by x)", "rank() over (partition by _partition order by x)"),
        ("count(*) over ()", "count(*) over (partition by _partition )"),
        ("sum(a) over (rows unbounded preceding)", "sum(a) over (partition by _partition rows unbounded preceding)"),
        ("sum(a) over (distribute by b sort by c)", "sum(a) over (distribute by _partition, b sort by c)"),
        ("sum(a) over (cluster by b)", "sum(a) over (cluster by _partition, b)"),
        ("sum(a) over /* b */ (order by c)", "sum(a) over /* b */ (partition by _partition order by c)"),
        ("a + sum(a) over () - avg(a) over (partition by b)",
         "a + sum(a) over (partition by _partition ) - avg(a) over (partition by _partition, b)"),
        ("sum(a) over (order by partitioned)", "sum(a) over (partition by _partition order by partitioned)"),
        ("case when a = 'over (x)' then `over (` else \"over ()\" end", None),
        (r"concat('it\'s over (', a)", None),
        ("layover (a) + over_(b)", None),
    ],
)  # fmt: skip
def test_windows_are_of_their_partition(expression: str, wanted: str | None) -> None:
    assert within_partition(expression) == (wanted or expression)


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        (f"sum(rain) over (partition by depot {SIX_HOURS})", None),
        (f"sum(rain) over (partition by date_trunc('hour', ')') {SIX_HOURS})", None),
        ("max(rain) over (partition by depot)", "max(rain) over (partition by _partition, depot)"),
        (f"max(rain) over (order by day) - sum(rain) over ({SIX_HOURS})",
         f"max(rain) over (partition by _partition order by day) - sum(rain) over ({SIX_HOURS})"),
        ("max(a) over (partition by concat(b, ')')) + preceding",
         "max(a) over (partition by _partition, concat(b, ')')) + preceding"),
    ],
)  # fmt: skip
def test_what_is_bounded_in_time_reaches_over_midnight(expression: str, wanted: str | None) -> None:
    assert within_partition(expression, but_for_ranges=True) == (wanted or expression)
