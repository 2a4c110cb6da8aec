"""Policy over all DAGs: they load, they are named, documented, owned and tagged; a broken use case takes no other down."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from wiring import stage_dag

from pipelines.use_case import Grain, UseCase, load_use_cases, read_use_case

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = set((ROOT / "dags" / ".airflowignore").read_text().split())
STAGES = sorted(f.stem for f in (ROOT / "dags").glob("*.py") if f.name not in SUPPORT and f.stem != "broken_use_cases")
HEAVY = ("pandas", "sklearn", "mlflow", "great_expectations", "evidently", "pyspark", "optuna", "deltalake", "pyarrow")


def load_dags() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(ROOT / "dags"))


@pytest.fixture(scope="module")
def bag() -> Any:
    return load_dags()


def test_every_use_case_has_every_stage(bag: Any) -> None:
    good, broken = load_use_cases()
    assert not broken
    assert not bag.import_errors
    assert set(bag.dags) == {f"{use_case.name}.{stage}" for use_case in good for stage in stages_of(use_case)}


def stages_of(use_case: UseCase) -> list[str]:
    """One DAG for each stage, and for each source's ingestion."""
    return [s for s in STAGES if s != "ingestion"] + [f"ingestion.{source}" for source in use_case.sources]


def test_every_dag_says_what_it_is_and_whose(bag: Any) -> None:
    for dag in bag.dags.values():
        assert len(dag.doc_md or "") > 80, dag.dag_id
        assert dag.description, dag.dag_id
        assert dag.dag_display_name != dag.dag_id
        assert len(dag.tags) >= 2, dag.dag_id
        assert dag.owner not in ("", "airflow"), dag.dag_id
        assert not dag.catchup
        assert dag.max_active_runs == 1, "partitions of one stage publish in order"


def test_tags_come_from_the_use_case() -> None:
    use_case = load_use_cases()[0][0].model_copy(update={"tags": ("mine",)})
    assert "mine" in stage_dag(use_case, "scoring", None, "A stage.").tags


def test_every_task_retries_but_those_where_it_cannot_help(bag: Any) -> None:
    once = {"roll_back", "resume", "put_back", "end_running"}
    for dag in bag.dags.values():
        for task in dag.tasks:
            assert (task.retries > 0) != (task.task_id in once), f"{dag.dag_id}.{task.task_id}"


@pytest.mark.parametrize("stage", ["retraining", "maintenance", "catch_up"])
def test_a_stage_runs_when_the_use_case_says(stage: str) -> None:
    use_case = load_use_cases()[0][0]
    other = use_case.model_copy(update={"schedules": use_case.schedules.model_copy(update={stage: "17 3 5 * *"})})
    dag = getattr(import_module(stage), stage)(other)
    assert "17 3 5 * *" in repr(dag.timetable)


@pytest.mark.parametrize(("decided", "form"), [(None, "%G-W%V"), (Grain.MONTH, "%Y-%m")])
def test_a_decision_is_about_what_the_use_case_says(decided: Grain | None, form: str) -> None:
    """Weeks are monitored; the cron asks about the week, or the month, that holds its tick."""
    use_case = load_use_cases()[0][0]
    watched = use_case.monitoring.model_copy(update={"window": Grain.WEEK})
    settings = use_case.retraining.model_copy(update={"window": decided})
    dag = import_module("retraining").retraining(use_case.model_copy(update={"monitoring": watched, "retraining": settings}))
    assert dag.timetable.key_format == form


def test_a_source_is_looked_for_when_it_says_or_as_all_are() -> None:
    """In the use case's own time zone: a cron without one would be UTC's."""
    use_case = load_use_cases()[0][0]
    schedules = use_case.schedules.model_copy(update={"ingestion": "17 3 5 * *"})
    weather = use_case.sources["weather"].model_copy(update={"schedule": "29 4 * * *"})
    other = use_case.model_copy(update={"schedules": schedules, "sources": {**use_case.sources, "weather": weather}})
    ingestion = import_module("ingestion").ingestion
    crons = {source: repr(ingestion(other, source).timetable) for source in ("schedule", "weather")}
    assert "17 3 5 * *" in crons["schedule"]
    assert "29 4 * * *" in crons["weather"]
    assert all("America/New_York" in cron for cron in crons.values())


def test_a_step_of_maintenance_that_fails_stops_no_other_and_shows_in_the_run(bag: Any) -> None:
    for use_case in load_use_cases()[0]:
        dag = bag.dags[f"{use_case.name}.maintenance"]
        again = {f"{step}_{which}" for step in ("plan", "build", "compare") for which in ("newest", "older")}
        alone = {t.task_id for t in dag.tasks if not t.upstream_task_ids and not t.downstream_task_ids}
        assert (alone, set(dag.task_ids) - alone) == ({"check_alias", "drill_rollback", "sweep"}, again)
        for which in ("newest", "older"):
            assert dag.get_task(f"compare_{which}").upstream_task_ids == {f"plan_{which}", f"build_{which}"}
            assert dag.get_task(f"build_{which}").downstream_task_ids == {f"compare_{which}"}


def test_spark_runs_through_the_operator(bag: Any) -> None:
    for use_case in load_use_cases()[0]:
        build = bag.dags[f"{use_case.name}.features"].get_task("build")
        assert "SparkSubmitOperator" in [each.__name__ for each in type(build).__mro__]
        assert build.application.endswith("spark_jobs/build_features.py")


@pytest.mark.parametrize(("tried", "answers", "went"), [(1, True, "warm"), (1, False, "warm cold"), (2, True, "cold")])
def test_the_first_try_goes_to_the_warm_spark_if_it_answers_and_a_retry_does_not(
    tried: int, answers: bool, went: str, bag: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
    from airflow.sdk.exceptions import AirflowException

    build, tries = bag.dags["flight_delay.features"].get_task("build"), []

    def warm(settings: Any, job: Path, arguments: list[str]) -> bool:
        assert (job.name, arguments[0]) == ("build_features.py", "--plan")
        tries.append("warm")
        with pytest.raises(AirflowException, match="ended from outside"):
            build.on_kill()
        return answers

    monkeypatch.setattr("pipelines.features.run_warm", warm)
    monkeypatch.setattr(SparkSubmitOperator, "execute", lambda self, context: tries.append("cold") or self.on_kill())
    monkeypatch.setattr(SparkSubmitOperator, "on_kill", lambda self: None)
    build.execute({"ti": SimpleNamespace(try_number=tried)})
    assert " ".join(tries) == went


def test_dataproc_is_chosen_by_the_environment_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_ENVIRONMENT", "gcp")
    for name in ("LAKE_BUCKET", "MLFLOW_TRACKING_URI", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.setenv(name, "some-name")
    from spark import spark_job

    task = spark_job("build", "build_features.py", ["--plan", "gs://some-name/plan.json"])
    assert type(task).__name__ == "DataprocCreateBatchOperator"
    assert task.batch["pyspark_batch"]["main_python_file_uri"] == "gs://some-name/jobs/build_features.py"
    assert task.batch["runtime_config"]["properties"]["spark.driver.memory"] == "4g"
    assert getattr(task, "batch_id", None) is None, "a fixed id would re-attach every retry to the batch that failed"


def test_a_training_is_started_once_per_decision_and_attempt_and_then_written_down(bag: Any) -> None:
    for use_case in load_use_cases()[0]:
        dag = bag.dags[f"{use_case.name}.retraining"]
        start, written = dag.get_task("start_training"), dag.get_task("record_start")
        assert (start.upstream_task_ids, start.skip_when_already_exists) == ({"is_needed"}, True)
        assert start.trigger_run_id == "{{ ti.xcom_pull(task_ids='decide')['training_run'] }}"
        assert start.conf == {"partition": "{{ ti.xcom_pull(task_ids='decide')['train_on'] }}"}
        assert written.upstream_task_ids == {"start_training", "decide"}
        assert written.trigger_rule == "none_failed", "also where a task that died had started it already"
        assert dag.get_task("is_needed").ignore_downstream_trigger_rules, "a no skips what writes a yes down"


def test_a_failed_estimate_does_not_keep_the_decision_from_being_made(bag: Any) -> None:
    for use_case in load_use_cases()[0]:
        decide = bag.dags[f"{use_case.name}.retraining"].get_task("decide")
        assert (decide.upstream_task_ids, decide.trigger_rule) == ({"estimate"}, "all_done")


def test_no_event_and_no_backfill_starts_a_training(bag: Any) -> None:
    """The decision comes by its clock alone, and it alone starts one; a backfill starts ingestion and nothing else."""
    for use_case in load_use_cases()[0]:
        starts = {
            (dag.dag_id, task.trigger_dag_id)
            for dag in bag.dags.values()
            for task in dag.tasks
            if dag.dag_id.startswith(f"{use_case.name}.") and hasattr(task, "trigger_dag_id")
        }
        sources = {(f"{use_case.name}.backfill", f"{use_case.name}.ingestion.{source}") for source in use_case.sources}
        assert starts == {(f"{use_case.name}.retraining", f"{use_case.name}.training"), *sources}
        for stage in ("retraining", "training"):
            assert not bag.dags[f"{use_case.name}.{stage}"].timetable.asset_condition, stage


def test_a_rollback_and_its_end_are_one_form_and_only_the_rollback_tells_of_a_model() -> None:
    import rollback

    for use_case in load_use_cases()[0]:
        dag = rollback.rollback(use_case)
        assert dag.params.get_param("action").schema["enum"] == ["roll back", "resume retraining"]
        assert dag.get_task("choose").downstream_task_ids == {"roll_back", "resume"}
        assert [len(dag.get_task(name).outlets) for name in ("roll_back", "resume")] == [1, 0]
        for action, chosen in (("roll back", "roll_back"), ("resume retraining", "resume")):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(rollback, "get_current_context", lambda action=action: {"params": {"action": action}})
                assert dag.get_task("choose").python_callable() == chosen


def test_the_stages_are_linked_by_keyed_assets(bag: Any) -> None:
    from airflow.sdk import PartitionedAssetTimetable

    for stage in ("features", "labels", "scoring", "monitoring"):
        assert isinstance(bag.dags[f"flight_delay.{stage}"].timetable, PartitionedAssetTimetable), stage


@pytest.mark.parametrize("file", sorted((ROOT / "dags").glob("*.py")), ids=lambda f: f.name)
def test_a_dag_file_imports_nothing_heavy(file: Path) -> None:
    found = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name for n in found if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in found if isinstance(n, ast.ImportFrom)}
    assert not {n for n in names if n.split(".")[0] in HEAVY}


def test_loading_the_dags_imports_nothing_heavy() -> None:
    """Also not by way of another module; Airflow's own providers are let be."""
    code = (
        "import sys; sys.path.insert(0, 'dags'); import wiring, assets, spark;"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("task_count", [2])
def test_dag_files_stay_thin(task_count: int) -> None:
    """A body of a task is: import the step, call it, return."""
    for file in (ROOT / "dags").glob("*.py"):
        for function in [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.FunctionDef)]:
            is_task = any("task" in ast.unparse(d) for d in function.decorator_list)
            assert not is_task or len(function.body) <= 4 + task_count, f"{file.name}:{function.name}"


def broken_copy(folder: Path, **changes: Any) -> None:
    document = yaml.safe_load((ROOT / "conf" / "use_cases" / "flight_delay.yaml").read_text())
    (folder / "flight_delay.yaml").write_text(yaml.safe_dump(document))
    document["name"] = "other"
    document["training"]["candidats"] = document["training"].pop("candidates")
    (folder / "other.yaml").write_text(yaml.safe_dump(document | changes))


def test_a_broken_use_case_is_an_import_error_of_its_own(tmp_path: Path) -> None:
    broken_copy(tmp_path)
    code = (
        "import sys; sys.path.insert(0, 'dags')\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "bag = DagBag('dags')\n"
        "print(len(bag.dags), len(bag.import_errors), list(bag.import_errors.values())[0])"
    )
    env = {**os.environ, "TRAINYARD_USE_CASES": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=env)
    good = read_use_case(tmp_path / "flight_delay.yaml")
    assert f"{len(stages_of(good))} 1 " in done.stdout, done.stdout
    assert "other.yaml" in done.stdout
    assert "did you mean 'candidates'" in done.stdout
