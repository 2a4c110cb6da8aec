"""Train the candidates on pinned data, judge the best one at the gates, promote it or keep the champion.

First the data itself is assessed: is there enough, is it predictive, does a feature give the label away? Data that is not
fit for a model stops the run, and the ledger has the reasons.

Candidates train as mapped tasks: one that crashes loses, the others go on. A model that fails a gate is never promoted,
and the run says why.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException
from assets import asset
from wiring import USE_CASES, partition_param, stage_dag, step

from pipelines.config import UseCase


def training(use_case: UseCase) -> DAG:
    @task
    def plan() -> Any:
        from pipelines.training import plan_training

        return step(plan_training, use_case.name)

    @task
    def assess(planned: dict[str, Any]) -> Any:
        from pipelines.assessment import admit
        from pipelines.results import from_json
        from pipelines.training import TrainingPlan

        return step(admit, use_case.name, from_json(TrainingPlan, planned), partition=False)

    @task(map_index_template="{{ candidate }}", retries=0)
    def train(candidate: str, planned: dict[str, Any]) -> Any:
        from airflow.sdk import get_current_context

        from pipelines.results import from_json
        from pipelines.training import TrainingPlan, train_candidate

        get_current_context()["candidate"] = candidate  # type: ignore[typeddict-unknown-key]
        return step(train_candidate, use_case.name, from_json(TrainingPlan, planned), candidate, partition=False)

    @task(trigger_rule="all_done")
    def evaluate(planned: dict[str, Any], assessed: dict[str, Any] | None, trained: Any) -> Any:
        from pipelines.assessment import Assessed
        from pipelines.evaluation import evaluate_assessed
        from pipelines.results import from_json
        from pipelines.training import Trained, TrainingPlan

        found = [from_json(Trained, item) for item in trained if item], assessed and from_json(Assessed, assessed)
        return step(evaluate_assessed, use_case.name, from_json(TrainingPlan, planned), *found, partition=False)

    @task.branch
    def gates(evaluation: dict[str, Any]) -> str:
        return "register" if evaluation["passed"] else "keep"

    @task
    def keep(planned: dict[str, Any], evaluation: dict[str, Any]) -> Any:
        from pipelines.evaluation import Evaluation
        from pipelines.promotion import keep
        from pipelines.results import from_json
        from pipelines.training import TrainingPlan

        arguments = from_json(TrainingPlan, planned), from_json(Evaluation, evaluation)
        return step(keep, use_case.name, *arguments, partition=False)

    @task
    def register(planned: dict[str, Any], evaluation: dict[str, Any]) -> Any:
        from pipelines.evaluation import Evaluation
        from pipelines.promotion import register
        from pipelines.results import from_json
        from pipelines.training import TrainingPlan

        arguments = from_json(TrainingPlan, planned), from_json(Evaluation, evaluation)
        return step(register, use_case.name, *arguments, partition=False)

    @task(outlets=[asset(use_case, "model")])
    def promote(planned: dict[str, Any], evaluation: dict[str, Any], registered: dict[str, Any]) -> Any:
        from pipelines.evaluation import Evaluation
        from pipelines.promotion import Registered, promote
        from pipelines.results import from_json
        from pipelines.training import TrainingPlan

        arguments = from_json(TrainingPlan, planned), from_json(Evaluation, evaluation), from_json(Registered, registered)
        return step(promote, use_case.name, *arguments, _approver(use_case), partition=False)

    with stage_dag(use_case, "training", None, __doc__, params=partition_param(use_case)) as dag:
        planned = plan()
        assessed = assess(planned)
        trained = train.partial(planned=planned).expand(candidate=list(use_case.training.candidates))
        assessed >> trained
        evaluation = evaluate(planned, assessed, trained)
        choice = gates(evaluation)
        registered, kept = register(planned, evaluation), keep(planned, evaluation)
        promoted = promote(planned, evaluation, registered)
        choice >> [registered, kept]
        if use_case.approval == "required":
            registered >> _approval() >> promoted
    return dag


def _approval() -> ApprovalOperator:
    return ApprovalOperator(
        task_id="approve",
        subject="Promote this model?",
        body="{{ ti.xcom_pull(task_ids='evaluate')['why'] }}",
        defaults="Reject",
        response_timeout=timedelta(days=3),
        fail_on_reject=True,
        retries=0,
    )


def _approver(use_case: UseCase) -> str | None:
    """Who approved, told by the answer itself: a skipped or defaulted approval is none."""
    if use_case.approval == "automatic":
        return None
    from airflow.sdk import get_current_context

    answer = get_current_context()["ti"].xcom_pull(task_ids="approve") or {}
    user = answer.get("responded_by_user") or {}
    if answer.get("chosen_options") != ["Approve"] or not user:
        raise AirflowFailException("nobody approved this promotion; the champion stays")
    return str(user.get("name") or user.get("id"))


for each in USE_CASES:
    globals()[f"{each.name}_training"] = training(each)
