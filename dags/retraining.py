"""Decide whether the model must be retrained, record why or why not, and start a training when it must.

The decision looks at state (drift, loss, age, new labels), never at counts of events, and is recorded even when it is no.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, task
from wiring import USE_CASES, keyed, stage_dag, step

from pipelines.use_case import UseCase

_PARTITION = "{{ ti.xcom_pull(task_ids='decide')['partition'] }}"


def retraining(use_case: UseCase) -> DAG:
    @task
    def decide() -> Any:
        from pipelines.retraining import decide

        return step(decide, use_case.name)

    @task.short_circuit
    def is_needed(decision: dict[str, Any]) -> bool:
        return bool(decision["retrain"])

    with stage_dag(use_case, "retraining", keyed(use_case, use_case.schedules.retraining), __doc__) as dag:
        start = TriggerDagRunOperator(
            task_id="start_training",
            trigger_dag_id=f"{use_case.name}.training",
            trigger_run_id=f"retraining__{_PARTITION}",
            conf={"partition": _PARTITION},
            skip_when_already_exists=True,
        )
        is_needed(decide()) >> start
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_retraining"] = retraining(each)
