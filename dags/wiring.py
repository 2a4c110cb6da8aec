"""What every DAG file shares: the DAG's frame, the partition of a run, and the call into `pipelines`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, CronPartitionTimetable, CronTriggerTimetable, Param, PartitionedAtRuntime, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from pipelines.errors import PermanentError
from pipelines.use_case import Grain, UseCase, load_use_case
from pipelines.workspace import usable_use_cases

_KEY_FORMAT = {Grain.DAY: "%Y-%m-%d", Grain.WEEK: "%G-W%V", Grain.MONTH: "%Y-%m"}
START = datetime(2013, 1, 1)

USE_CASES, BROKEN = usable_use_cases()


def stage_dag(use_case: UseCase, stage: str, schedule: Any, doc: str, **options: Any) -> DAG:
    """The frame of one stage's DAG: `<use case>.<stage>`, named, documented, owned and tagged from the use case."""
    return DAG(
        dag_id=f"{use_case.name}.{stage}",
        dag_display_name=f"{use_case.title}: {stage.replace('_', ' ')}",
        description=doc.strip().splitlines()[0],
        doc_md=f"{doc.strip()}\n\n**{use_case.title}.** {use_case.purpose}\n\nOwner: {use_case.owner}. "
        f"Configuration: `conf/use_cases/{use_case.name}.yaml`.",
        schedule=schedule,
        start_date=START.replace(tzinfo=ZoneInfo(use_case.timezone)),  # a cron without a zone takes this one
        catchup=False,
        max_active_runs=options.pop("max_active_runs", 1),
        is_paused_upon_creation=False,
        tags=sorted({use_case.name, stage, *use_case.tags}),
        default_args={
            "owner": use_case.owner,
            "retries": 2,
            "retry_delay": timedelta(seconds=10),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=10),
        },
        **options,
    )


def cron(use_case: UseCase, expression: str | None) -> Any:
    """A timetable whose runs have no partition: they find out by themselves what is to be done. In the use case's time zone."""
    return expression and CronTriggerTimetable(expression, timezone=use_case.timezone)


def keyed(use_case: UseCase, cron: str | None, window: Grain) -> Any:
    """A timetable whose runs carry a key: by cron, in the use case's time zone, that of the window that holds the tick, or
    whichever is asked for."""
    if cron is None:
        return PartitionedAtRuntime()
    return CronPartitionTimetable(cron, timezone=use_case.timezone, key_format=_KEY_FORMAT[window])


def partition_param(use_case: UseCase) -> dict[str, Param]:
    """The form field of a DAG that is started by hand."""
    example = {Grain.DAY: "2013-04-08", Grain.WEEK: "2013-W15", Grain.MONTH: "2013-04"}[use_case.grain]
    return {
        "partition": Param(None, type=["null", "string"], description=f"partition key ({use_case.grain}), such as {example}")
    }


def partition_key(needed: bool = True) -> str:
    """The partition that this run is about, empty where it has none and needs none. The one place that finds it.

    Raises:
        AirflowFailException: the run has none.
    """
    context = get_current_context()
    key = context["dag_run"].partition_key or (context.get("params") or {}).get("partition")
    if needed and not key:
        raise AirflowFailException("this run has no partition: trigger it with a partition key, or fill in 'partition'")
    return str(key or "")


def actor() -> str:
    """Who asks, as the ledger keeps it: who started the run, where it was a person; not who cleared a task of it since."""
    context = get_current_context()
    person, run = context["dag_run"].triggering_user_name, f"Airflow run {context['run_id']}"
    return f"{person} ({run})" if person else run


def by_hand() -> bool:
    """Whether a person, or the replay, asked for this run; else an input did."""
    return get_current_context()["dag_run"].run_type == "manual"


def upstream_failed() -> bool:
    """Whether a task just before this one failed, or could not run: for one that runs once all have ended, whatever became
    of them."""
    context = get_current_context()
    run, before = context["run_id"], sorted(context["task"].upstream_task_ids)
    states = context["ti"].get_task_states(dag_id=context["dag"].dag_id, task_ids=before, run_ids=[run])[run]
    return not {"failed", "upstream_failed"}.isdisjoint(states.values())


def step(function: Callable[..., Any], use_case: str, *arguments: Any, partition: str | None = "") -> Any:
    """Call `function(StageRun, *arguments)` for a partition, the run's own by default; without (None), call
    `function(workspace, use_case, *arguments)`.

    Returns the result as JSON. A PermanentError fails the task at once; anything else is retried.
    """
    from pipelines.results import to_json
    from pipelines.workspace import StageRun, open_workspace, stop_at_other_grain

    try:
        workspace, loaded = open_workspace(str(get_current_context()["run_id"])), load_use_case(use_case)
        stop_at_other_grain(workspace, loaded)
        if partition is None:
            return to_json(function(workspace, loaded, *arguments))
        return to_json(function(StageRun(workspace, loaded, loaded.period(partition or partition_key())), *arguments))
    except PermanentError as error:
        raise AirflowFailException(str(error)) from error
