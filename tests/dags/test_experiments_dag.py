"""The experiments' DAG: nothing starts it where none is declared; what is refused is red and keeps nobody from measuring."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from pipelines.use_case import Experiment, UseCase, load_use_cases


def built(**values: Any) -> Any:
    (use_case, *_) = load_use_cases()[0]
    return import_module("experiments").experiments(use_case.model_copy(update=values))


@pytest.fixture
def declared() -> dict[str, Any]:
    told = {"name": "v2_worth", "question": "?", "challengers": {"newer": 2}, "first": "2013-05-01", "last": "2013-05-31"}
    return {"experiment": Experiment.model_validate(told | {"minimum_effect": 0.1})}


def test_nothing_starts_it_where_none_is_declared(declared: dict[str, Any]) -> None:
    assert type(built().timetable).__name__ == "NullTimetable"
    assert built(**declared).timetable.asset_condition.name.endswith(".labels")


def test_what_is_refused_is_red_and_what_runs_is_measured_all_the_same(declared: dict[str, Any]) -> None:
    dag = built(**declared)
    assert dag.get_task("measure").trigger_rule == "all_done"
    assert dag.get_task("looked").upstream_task_ids == {"open_declared", "measure"}
    assert dag.get_task("looked").trigger_rule == "all_success"


def test_the_reference_use_case_declares_none() -> None:
    found: list[UseCase] = load_use_cases()[0]
    assert [each.experiment for each in found] == [None]
