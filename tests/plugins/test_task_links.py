"""The buttons of a task: which task gets which address."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pipelines.use_case import ROOT


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The plugin file, loaded with nothing of Airflow but `AirflowPlugin`, which is all that a task process should pay for."""
    monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.plugins_manager", SimpleNamespace(AirflowPlugin=object))
    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path))
    monkeypatch.setenv("TRAINYARD_ENVIRONMENT", "local")
    monkeypatch.setenv("MLFLOW_PAGE", "http://mlflow.test")
    for name in ("contracts/schedule-2013-04.html", "contracts/weather-2013-04.html", "drift/2013-04-v1.html"):
        file = tmp_path / "reports/flight_delay" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    spec = importlib.util.spec_from_file_location("task_links", ROOT / "plugins/task_links.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_result", lambda ti_key: {"run_id": f"run{ti_key.map_index}"})
    monkeypatch.setattr(module, "_partition", lambda ti_key: "2013-04")
    monkeypatch.setattr(module, "_below_the_page", lambda path: f"/lifecycle/{path}")
    return module


def address(link: Any, dag_id: str, task_id: str, map_index: int = -1) -> str:
    return str(link.get_link(None, ti_key=SimpleNamespace(dag_id=dag_id, task_id=task_id, run_id="r", map_index=map_index)))


def test_each_candidate_links_to_its_own_run(links: ModuleType) -> None:
    run = links.MlflowRun()
    assert address(run, "flight_delay.training", "train", 0) == "http://mlflow.test/#/runs/run0"
    assert address(run, "flight_delay.training", "train", 2) == "http://mlflow.test/#/runs/run2"


def test_a_candidate_that_crashed_has_no_run(links: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_result", lambda ti_key: {})
    assert address(links.MlflowRun(), "flight_delay.training", "train", 0) == ""


def test_one_report_is_linked_and_several_are_listed(links: ModuleType) -> None:
    report = links.Reports()
    assert address(report, "flight_delay.monitoring", "drift") == "/lifecycle/reports/flight_delay/drift/2013-04-v1.html"
    assert address(report, "flight_delay.ingestion.weather", "ingest") == (
        "/lifecycle/reports/flight_delay/contracts/weather-2013-04.html"
    )


@pytest.mark.parametrize("partition", [None, "2013-05"])
def test_without_a_report_there_is_no_link(links: ModuleType, monkeypatch: pytest.MonkeyPatch, partition: str | None) -> None:
    monkeypatch.setattr(links, "_partition", lambda ti_key: partition)
    assert address(links.Reports(), "flight_delay.monitoring", "drift") == ""


@pytest.mark.parametrize(("dag_id", "task_id"), [("flight_delay.training", "plan"), ("other", "train"), ("a.b", "drift")])
def test_other_tasks_have_no_links(links: ModuleType, dag_id: str, task_id: str) -> None:
    assert [address(link, dag_id, task_id) for link in (links.MlflowRun(), links.Reports())] == ["", ""]


def test_trouble_with_a_link_leaves_the_tasks_page_alone(links: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(ti_key: Any) -> Any:
        raise OSError("no answer")

    monkeypatch.setattr(links, "_result", fail)
    assert address(links.MlflowRun(), "flight_delay.training", "train", 0) == ""


def test_a_task_that_decides_links_to_the_runs_decision(links: ModuleType) -> None:
    decision = links.Decision()
    for dag_id, task_id in [
        ("a.training", "keep"),
        ("a.training", "promote"),
        ("a.training", "decline"),
        ("a.retraining", "decide"),
    ]:
        assert address(decision, dag_id, task_id) == f"/lifecycle/runs/{dag_id}/r"
    for dag_id, task_id in [("a.training", "plan"), ("a.retraining", "is_needed"), ("a.scoring", "keep"), ("other", "keep")]:
        assert address(decision, dag_id, task_id) == ""


def test_a_runs_name_is_quoted(links: ModuleType) -> None:
    key = SimpleNamespace(dag_id="a.training", task_id="keep", run_id="manual__2013-04-01T00:00:00+00:00/x", map_index=-1)
    found = links.Decision().get_link(None, ti_key=key)
    assert found == "/lifecycle/runs/a.training/manual__2013-04-01T00%3A00%3A00%2B00%3A00%2Fx"


def test_all_links_are_handed_to_airflow(links: ModuleType) -> None:
    assert [link.name for link in links.TaskLinksPlugin.global_operator_extra_links] == ["MLflow run", "Report", "Decision"]
