"""The experiments' DAGs: labels start the look, what is refused is red and keeps none from measuring; a form opens or ends."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
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


def test_labels_start_it_and_where_there_is_none_it_skips_the_rest(declared: dict[str, Any]) -> None:
    for dag in (built(), built(**declared)):
        assert dag.timetable.asset_condition.name.endswith(".labels")
        assert dag.get_task("is_any").downstream_task_ids == {"open_declared"}
        assert dag.get_task("is_any").ignore_downstream_trigger_rules, "a no skips measuring too"


def test_what_is_refused_is_red_and_what_runs_is_measured_all_the_same(declared: dict[str, Any]) -> None:
    dag = built(**declared)
    assert dag.get_task("measure").trigger_rule == "all_done"
    assert dag.get_task("looked").upstream_task_ids == {"open_declared", "measure"}
    assert dag.get_task("looked").trigger_rule == "all_success"


def test_the_reference_use_case_declares_none() -> None:
    found: list[UseCase] = load_use_cases()[0]
    assert [each.experiment for each in found] == [None]


# the form ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def form() -> Any:
    (use_case, *_) = load_use_cases()[0]
    return import_module("experiment_form").experiment_form(use_case)


def test_the_form_has_every_key_of_the_section_with_its_default_and_can_be_left_as_it_is(form: Any) -> None:
    schema = Experiment.model_json_schema()["properties"]
    assert set(form.params) == {"action", "reason", *schema}
    form.validate()
    form.params.validate()
    for name, told in schema.items():
        param = form.params.get_param(name)
        assert param.description == told.get("description")
        if name != "challengers":
            assert param.value == told.get("default"), name
    assert form.params["challengers"] == {"challenger": "newest"}


@pytest.mark.parametrize(("action", "chosen"), [("open", "open_asked"), ("end", "end_running")])
def test_the_form_opens_or_ends(form: Any, action: str, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("experiment_form")
    monkeypatch.setattr(module, "get_current_context", lambda: {"params": {"action": action}})
    assert form.get_task("choose").python_callable() == chosen
    assert form.get_task("choose").downstream_task_ids == {"open_asked", "end_running"}


@pytest.mark.parametrize(("person", "told"), [("ada", "ada (Airflow run manual__1)"), (None, "Airflow run manual__1")])
def test_what_was_filled_in_is_asked_for_and_who_asked_is_kept(
    form: Any, person: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, asked = import_module("experiment_form"), []
    filled = dict(form.params) | {"name": "v4_worth", "reason": None}
    context = {"params": filled, "run_id": "manual__1", "dag_run": SimpleNamespace(triggering_user_name=person)}
    for name in ("experiment_form", "wiring"):
        monkeypatch.setattr(import_module(name), "get_current_context", lambda: context)
    monkeypatch.setattr(module, "step", lambda *given, **options: asked.append((given, options)))
    form.get_task("open_asked").python_callable()
    ((function, use_case, keys, actor), options) = asked[0]
    assert (function.__name__, use_case, actor) == ("open_by_hand", "flight_delay", told)
    assert options == {"partition": None}
    assert keys["name"] == "v4_worth"
    assert None not in keys.values()
    assert "action" not in keys
