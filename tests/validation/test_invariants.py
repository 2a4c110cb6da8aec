"""Invariants: a partition that differs too much from the last published ones is stopped, or said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.errors import PermanentError
from pipelines.use_case import Contract, Grain, Partition
from pipelines.validation.invariants import broken_invariants
from pipelines.workspace import CommitRecord, Lake

TABLE = "parcels/x"
VOLUME = {"id": "volume", "measure": "row_count", "max_ratio": 2.0}
DEPOTS = {"id": "depots", "measure": "category_share", "column": "depot", "max_change": 0.2}
EMPTY = {"id": "empty", "measure": "null_share", "column": "depot", "max_change": 0.2}


def contract(*invariants: dict[str, Any]) -> Contract:
    column = {"type": "string", "nullable": True}
    return Contract.model_validate({"key": ["id"], "columns": {"id": {"type": "string"}, "depot": column},
                                    "invariants": invariants})  # fmt: skip


def rows(*depots: str | None) -> Any:
    return pa.table({"depot": pa.array(depots, pa.string())})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three days of ten rows, half of them north, and an older day of a hundred."""
    found = Lake(str(tmp_path))
    for key, count in (("2024-03-01", 50), ("2024-03-02", 5), ("2024-03-03", 5), ("2024-03-04", 5)):
        found.publish(TABLE, key, [found.stage(TABLE, key, rows(*["north", "south"] * count))], CommitRecord())
    return found


def check(lake: Lake, found: Any, *invariants: dict[str, Any], key: str = "2024-03-05") -> list[str]:
    near = [{"over": "P3D", **invariant} for invariant in invariants]
    return broken_invariants(lake, TABLE, Partition.parse(key, Grain.DAY), found, contract(*near))


@pytest.mark.parametrize(
    ("invariant", "found"),
    [(VOLUME, rows(*["north"] * 20)), (VOLUME, rows(*["north"] * 5)), (DEPOTS, rows("north", "south")), (EMPTY, rows("x"))],
)
def test_what_is_as_usual_passes(invariant: dict[str, Any], found: Any, lake: Lake) -> None:
    assert check(lake, found, invariant) == []


@pytest.mark.parametrize(
    ("invariant", "found", "sentence"),
    [
        (VOLUME, rows(*["north"] * 21), "21 rows where 10 are usual, beyond a factor of 2"),
        (VOLUME, rows(*["north"] * 4), "4 rows where 10 are usual"),
        (DEPOTS, rows("north", "north", "north", "south"), r"share of '(north|south)' in depot went from 50.0% to (75|25)"),
        (DEPOTS, rows("north", "north", "west", "south"), "share of '(west|south)' in depot"),
        (EMPTY, rows("north", None, "south"), r"share of 'null' in depot went from 0.0% to 33.3%, by more than 20.0%"),
    ],
)
def test_what_is_not_as_usual_stops_the_partition(invariant: dict[str, Any], found: Any, sentence: str, lake: Lake) -> None:
    with pytest.raises(PermanentError, match=f"parcels/x 2024-03-05: invariant {invariant['id']} is broken: .*{sentence}"):
        check(lake, found, invariant)
    said = check(lake, found, {**invariant, "severity": "warn"})
    assert len(said) == 1
    assert said[0].startswith(f"{invariant['id']}: ")


def test_a_warning_does_not_hide_a_later_failure(lake: Lake) -> None:
    with pytest.raises(PermanentError, match="invariant volume is broken"):
        check(lake, rows("west"), {**DEPOTS, "severity": "warn"}, VOLUME)


def test_only_what_was_published_so_long_before_it_counts_or_else_the_last_one(lake: Lake) -> None:
    older = {**VOLUME, "over": "P4D"}
    assert check(lake, rows(*["north"] * 40), older) == []
    with pytest.raises(PermanentError, match="where 10 are usual"):
        check(lake, rows(*["north"] * 40), VOLUME)
    with pytest.raises(PermanentError, match="where 100 are usual"):
        check(lake, rows(*["north"] * 10), VOLUME, key="2024-03-02")
    with pytest.raises(PermanentError, match="where 10 are usual"):
        check(lake, rows(*["north"] * 40), VOLUME, key="2024-03-20")


def test_the_first_partition_says_that_it_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    said = check(Lake(str(tmp_path)), rows("north"), VOLUME, DEPOTS, EMPTY)
    assert said == [
        f"{name}: not checked, as nothing is published before 2024-03-05 to compare with"
        for name in ("volume", "depots", "empty")
    ]
