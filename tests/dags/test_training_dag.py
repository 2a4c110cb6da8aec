"""Training's order: nothing is trained before the data was assessed, nothing promoted before who is asked has answered."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from pipelines.errors import PermanentError, TransientError
from pipelines.results import to_json
from pipelines.training import TrainingPlan
from pipelines.use_case import load_use_cases
from tests.conftest import AFTER


@pytest.fixture(scope="module")
def dags() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(Path(__file__).resolve().parents[2] / "dags")).dags


def test_the_data_is_assessed_before_anything_is_trained(dags: Any) -> None:
    for use_case in load_use_cases()[0]:
        dag = dags[f"{use_case.name}.training"]
        assert "assess" in dag.get_task("train").upstream_task_ids
        assert dag.get_task("assess").upstream_task_ids == {"plan"}
        assert {"plan", "assess", "train"} <= dag.get_task("evaluate").upstream_task_ids


@pytest.mark.parametrize(
    ("crash", "kind"),
    [
        (TransientError("MLflow: connection refused"), TransientError),
        (ValueError("unknown parameter"), AirflowFailException),
        (PermanentError("no probabilities"), AirflowFailException),
    ],
)
def test_only_what_did_not_answer_is_tried_again(
    dags: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, crash: Exception, kind: type[Exception]
) -> None:
    """A registry that is down for a minute is no crash of the candidate, and a crash is not waited for."""
    import wiring

    def failing(*_: Any) -> None:
        raise crash

    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path))
    monkeypatch.setattr("airflow.sdk.get_current_context", dict)
    monkeypatch.setattr(wiring, "get_current_context", lambda: {"run_id": "r"})
    monkeypatch.setattr("pipelines.training.train_candidate", failing)
    planned = to_json(TrainingPlan("flight_delay", "2013-04", (), {}, "2013-04-17", "2013-04-30", ("logistic",), None, 0))
    with pytest.raises(kind, match=str(crash)):
        dags["flight_delay.training"].get_task("train").python_callable("logistic", planned)


def test_what_comes_after_a_promotion_is_handed_to_the_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    import training

    monkeypatch.setattr(training, "_step", lambda function, planned, arguments: arguments)
    _, _, steps = training.evaluate.function({}, None, [])
    assert steps == AFTER


@pytest.fixture(scope="module")
def asking() -> Any:
    """The same DAG where the use case asks for approval."""
    from training import training

    use_case = load_use_cases()[0][0]
    return training(use_case.model_copy(update={"approval": "required", "approval_deadline": timedelta(hours=5)}))


def test_between_gates_and_promotion_a_named_group_is_asked(asking: Any) -> None:
    question = asking.get_task("approve")
    assert question.upstream_task_ids == {"register"}
    assert question.downstream_task_ids == {"promote", "decline"}
    assert (len(question.options), question.options[1], question.defaults) == (2, "Reject", ["Reject"])
    assert question.options[0].startswith("Approve v{{")
    assert "options" in question.template_fields
    assert question.assigned_users == [{"id": "admin", "name": "admin"}]
    assert question.response_timeout == timedelta(hours=5)


@pytest.mark.parametrize("option", ["Reject", "Approve v0"])
def test_an_answer_that_cannot_be_taken_down_is_not_asked_for_again(
    asking: Any, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """A retry of Airflow's would forget what somebody has answered, a Reject too."""
    import training

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(training, "_asked_about", lambda context: [{"use_case": "flight_delay"}])
    monkeypatch.setattr(training, "step", full)
    event = {"chosen_options": [option], "params_input": {}, "responded_at": datetime(2013, 4, 1, tzinfo=UTC)}
    with pytest.raises(AirflowFailException, match=rf"the answer \['{option}'\] was not taken down, nothing is promoted"):
        asking.get_task("approve").execute_complete({}, {**event, "responded_by_user": {"id": "admin", "name": "admin"}})


def test_a_no_is_concluded_whatever_became_of_the_question(asking: Any) -> None:
    assert asking.get_task("decline").trigger_rule == "all_done"
    assert asking.get_task("promote").trigger_rule == "all_success"


def test_only_a_promotion_announces_a_model(dags: Any, asking: Any) -> None:
    for dag in (asking, *(dags[f"{use_case.name}.training"] for use_case in load_use_cases()[0])):
        assert [t.task_id for t in dag.tasks if t.outlets] == ["promote"]


def test_a_training_that_failed_is_written_down_and_stays_failed(
    dags: Any, asking: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipelines.workspace import open_workspace

    for dag in (asking, *(dags[f"{use_case.name}.training"] for use_case in load_use_cases()[0])):
        ends = {task.task_id for task in dag.tasks if task.task_id in ("keep", "promote", "decline")}
        task = dag.get_task("record_failure")
        assert (task.upstream_task_ids, task.trigger_rule) == (ends, "all_done"), "what it writes is the last word"
        assert {leaf.task_id for leaf in dag.leaves} == {"record_failure"}
    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path))
    states, run = {"keep": "skipped", "promote": "success"}, "retraining__2013-05__1"
    told = SimpleNamespace(get_task_states=lambda **asked: dict.fromkeys(asked["run_ids"], states))
    context = {"run_id": run, "dag_run": SimpleNamespace(partition_key=None), "params": {"partition": "2013-05"}}
    known = context | {"ti": told, "task": task, "dag": dag}
    monkeypatch.setattr("wiring.get_current_context", lambda: known)
    with pytest.raises(AirflowSkipException, match="nothing failed"):
        task.python_callable("flight_delay")
    states["promote"] = "upstream_failed"
    with pytest.raises(AirflowFailException, match="the training failed"):
        task.python_callable("flight_delay")
    (row,) = open_workspace().ledger.decisions("flight_delay")
    assert (row.kind, row.run, row.partition) == ("training failed", "retraining__2013-05__1", "2013-05")


def test_without_approval_nobody_is_asked(dags: Any) -> None:
    assert not {"approve", "decline"} & set(dags["flight_delay.training"].task_ids)


@pytest.mark.parametrize("missing", ["evaluation", "registered"])
def test_there_is_nothing_to_decline_where_nothing_was_up_for_approval(asking: Any, missing: str) -> None:
    """The gates kept the champion, or a task before failed: the question was never asked."""
    given: dict[str, Any] = {"planned": {}, "evaluation": {"a": 1}, "registered": {"version": 1}}
    with pytest.raises(AirflowSkipException, match="no candidate was up for approval"):
        asking.get_task("decline").python_callable(**{**given, missing: None}, answer=None)


def test_an_unknown_group_takes_only_its_own_use_case_down(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    document = yaml.safe_load((root / "conf" / "use_cases" / "flight_delay.yaml").read_text())
    for name, changes in (("flight_delay", {}), ("asks", {"approval": "required", "approvers": "model-aprovers"})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**document, "name": name, **changes}))
    code = (
        "import sys; sys.path.insert(0, 'dags')\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "bag = DagBag('dags')\n"
        "print({dag.split('.')[0] for dag in bag.dags}, len(bag.import_errors), list(bag.import_errors.values())[0])"
    )
    env = {**os.environ, "TRAINYARD_USE_CASES": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, env=env)
    assert "{'flight_delay'} 1 " in done.stdout, done.stdout
    assert "no group 'model-aprovers' among the environment's groups; did you mean 'model-approvers'?" in done.stdout
