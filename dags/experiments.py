"""Open the experiment that the use case declares, and look at the one that runs whenever labels come.

*Open* refuses what may not run, and the run is red: a version that did not pass its gates, a change while it runs, a second one
beside it. *Measure* goes on with what was opened all the same: it takes a harmful challenger out, sets the shares from the
next partition on, or ends it, each with a row of the ledger. Nobody is promoted by it. Where the file declares none and none
was opened by *experiment form*, it looks whether that is still so, and skips the rest.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, PartitionedAssetTimetable, task
from airflow.sdk.exceptions import AirflowSkipException
from assets import asset
from wiring import USE_CASES, partition_param, stage_dag, step

from pipelines.use_case import UseCase


def experiments(use_case: UseCase) -> DAG:
    @task.short_circuit
    def is_any() -> bool:
        from pipelines.experiments import is_any

        return bool(step(is_any, use_case.name))

    @task
    def open_declared() -> Any:
        from pipelines.experiments import open_declared

        return step(open_declared, use_case.name)

    @task(trigger_rule="all_done")
    def measure() -> Any:
        from pipelines.experiments import measure

        measured = step(measure, use_case.name)
        if measured is None:
            raise AirflowSkipException("no experiment runs")
        return measured

    schedule = PartitionedAssetTimetable(assets=asset(use_case, "labels"))
    with stage_dag(use_case, "experiments", schedule, __doc__, params=partition_param(use_case)) as dag:
        steps = [open_declared(), measure()]
        is_any() >> steps[0] >> steps[1]
        steps >> EmptyOperator(task_id="looked")
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_experiments"] = experiments(each)
