"""Results travel between tasks as JSON: finite numbers and plain data only, and back again unchanged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.results import Audited, Landed, Published, TableSlice, Verdict, from_json, to_json

LANDED = Landed("shipments", "2024-03-01", ("a.parquet",), "rejects.json", 10, 1, "abc", ("a change",))


@dataclass(frozen=True)
class Nested:
    verdicts: tuple[Verdict, ...]
    parts: dict[str, TableSlice]


@pytest.mark.parametrize(
    "result",
    [
        LANDED,
        Audited("t", "p", ("a",), (), 10, 9, 1, ("w",), "page.html", "abc"),
        Published("t", "p", 3, 10, 9, 1),
        Nested((Verdict("auc", False, "too low", {"auc": 0.5, "rows": None}),), {"x": TableSlice("t", "p", 1, 2)}),
    ],
)
def test_a_result_survives_the_way_through_json(result: Any) -> None:
    assert from_json(type(result), json.loads(json.dumps(to_json(result)))) == result


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan")])
def test_a_number_that_is_not_finite_is_refused_and_its_field_named(value: float) -> None:
    with pytest.raises(ValueError, match=r"result\.numbers\.auc is (nan|inf)"):
        to_json(Verdict("auc", True, "fine", {"auc": value}))


@pytest.mark.parametrize("value", [np.int64(1), np.array([1]), {1, 2}, b"x"])
def test_what_is_no_plain_data_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"result\.numbers\.x\[0\] is a"):
        to_json(Verdict("x", True, "fine", {"x": [value]}))


def test_a_result_of_another_shape_is_refused() -> None:
    with pytest.raises(ValidationError, match="rows_in"):
        from_json(Landed, {**to_json(LANDED), "rows_in": "many"})
