"""Decide whether the model must be retrained, record why or why not, and start a training when it must.

The decision looks at state (drift, loss, age, new labels, what a new model would gain) of the monitored windows that were
not decided yet, never at counts of events, and is recorded even when it is no. Where the gain cannot be estimated, it says
so and decides without it. A yes is recorded once the training was started. One that brought no new champion, failed or
died is tried again after a pause that doubles each time, in a run of its own.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, task
from wiring import USE_CASES, keyed, stage_dag, step

from pipelines.use_case import UseCase

_DECISION = "ti.xcom_pull(task_ids='decide')"


def retraining(use_case: UseCase) -> DAG:
    @task
    def estimate() -> Any:
        from pipelines.retraining import estimate

        return step(estimate, use_case.name)

    @task(trigger_rule="all_done")
    def decide(gain: Any) -> Any:
        """Also where the estimate failed: that must not keep anybody from deciding."""
        from pipelines.results import from_json
        from pipelines.retraining import Gain, decide

        return step(decide, use_case.name, from_json(Gain, gain) if isinstance(gain, dict) else gain)

    @task.short_circuit
    def is_needed(decision: dict[str, Any]) -> bool:
        return bool(decision["retrain"])

    @task(trigger_rule="none_failed")
    def record_start(decision: dict[str, Any]) -> Any:
        """Also after a start that was skipped, as the run was there already: the task before died after it had started it."""
        from pipelines.results import from_json
        from pipelines.retraining import RetrainingDecision, record_start

        return step(record_start, use_case.name, from_json(RetrainingDecision, decision))

    schedule = keyed(use_case, use_case.schedules.retraining, use_case.decided)
    with stage_dag(use_case, "retraining", schedule, __doc__) as dag:
        start = TriggerDagRunOperator(
            task_id="start_training",
            trigger_dag_id=f"{use_case.name}.training",
            trigger_run_id=f"{{{{ {_DECISION}['training_run'] }}}}",
            conf={"partition": f"{{{{ {_DECISION}['train_on'] }}}}"},
            skip_when_already_exists=True,
        )
        decision = decide(estimate())
        is_needed(decision) >> start >> record_start(decision)
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_retraining"] = retraining(each)
