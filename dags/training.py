"""Train the candidates on pinned data, judge the best one at the gates, promote it or keep the champion.

First the data itself is assessed: is there enough, is it predictive, does a feature give the label away? Data that is not
fit for a model stops the run, and the ledger has the reasons.

Candidates train as mapped tasks: one that crashes loses, the others go on. A model that fails a gate is never promoted,
and the run says why, on its tab *Decision*.

Where the use case says `approval: required`, a member of its group of approvers answers first, with the evidence before
them. No answer until the deadline is a no; a no is recorded with its reason, and the champion stays.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from assets import asset
from wiring import USE_CASES, partition_param, stage_dag, step

from pipelines.use_case import UseCase


@task
def plan(use_case: str) -> Any:
    from pipelines.training import plan_training

    return step(plan_training, use_case)


@task
def assess(use_case: str, planned: dict[str, Any]) -> Any:
    from pipelines.assessment import admit
    from pipelines.results import from_json
    from pipelines.training import TrainingPlan

    return step(admit, use_case, from_json(TrainingPlan, planned), partition=False)


@task(map_index_template="{{ candidate }}", retries=0)
def train(use_case: str, candidate: str, planned: dict[str, Any]) -> Any:
    from airflow.sdk import get_current_context

    from pipelines.results import from_json
    from pipelines.training import TrainingPlan, train_candidate

    get_current_context()["candidate"] = candidate  # type: ignore[typeddict-unknown-key]
    return step(train_candidate, use_case, from_json(TrainingPlan, planned), candidate, partition=False)


@task(trigger_rule="all_done")
def evaluate(use_case: str, planned: dict[str, Any], assessed: dict[str, Any] | None, trained: Any) -> Any:
    from pipelines.assessment import Assessed
    from pipelines.gates import evaluate_assessed
    from pipelines.results import from_json
    from pipelines.training import Trained, TrainingPlan

    found = [from_json(Trained, item) for item in trained if item], assessed and from_json(Assessed, assessed)
    return step(evaluate_assessed, use_case, from_json(TrainingPlan, planned), *found, partition=False)


@task.branch
def gates(evaluation: dict[str, Any]) -> str:
    return "register" if evaluation["passed"] else "keep"


@task(task_display_name="keep the champion")
def keep(use_case: str, planned: dict[str, Any], evaluation: dict[str, Any]) -> Any:
    from pipelines.promotion import keep

    return step(keep, use_case, *_judged(planned, evaluation), partition=False)


@task(task_display_name="register the candidate")
def register(use_case: str, planned: dict[str, Any], evaluation: dict[str, Any]) -> Any:
    from pipelines.promotion import register

    return step(register, use_case, *_judged(planned, evaluation), partition=False)


@task
def promote(use_case: str, planned: dict[str, Any], evaluation: dict[str, Any], registered: dict[str, Any]) -> Any:
    from pipelines.promotion import promote

    return step(promote, use_case, *_judged(planned, evaluation, registered), None, partition=False)


@task(task_display_name="promote, if approved")
def promote_approved(
    use_case: str, planned: dict[str, Any], evaluation: dict[str, Any], registered: dict[str, Any], answer: Any
) -> Any:
    """Asks the answer itself, not the state of the task before: an approval that was marked as done by hand is none."""
    from pipelines.promotion import promote_approved

    done = step(promote_approved, use_case, *_judged(planned, evaluation, registered), answer, partition=False)
    return done or _skip("not approved: the champion stays, and the next task records why")


@task(task_display_name="keep the champion, if not approved", trigger_rule="all_done")
def decline(
    use_case: str, planned: dict[str, Any], evaluation: dict[str, Any] | None, registered: dict[str, Any] | None, answer: Any
) -> Any:
    """Runs whatever became of the question: skipped, failed or timed out, the no is written down."""
    from pipelines.promotion import decline_unapproved

    if not registered or not evaluation:
        return _skip("no candidate was up for approval")
    done = step(decline_unapproved, use_case, *_judged(planned, evaluation, registered), answer, partition=False)
    return done or _skip("it was approved")


def training(use_case: UseCase) -> DAG:
    with stage_dag(use_case, "training", None, __doc__, params=partition_param(use_case)) as dag:
        planned = plan(use_case.name)
        assessed = assess(use_case.name, planned)
        trained = train.partial(use_case=use_case.name, planned=planned).expand(candidate=list(use_case.training.candidates))
        assessed >> trained
        evaluation = evaluate(use_case.name, planned, assessed, trained)
        kept = keep(use_case.name, planned, evaluation)
        registered = register(use_case.name, planned, evaluation)
        gates(evaluation) >> [registered, kept]
        up_for_promotion = use_case.name, planned, evaluation, registered
        outlets = [asset(use_case, "model")]
        if use_case.approval == "required":
            question = _question(use_case)
            registered >> question
            promote_approved.override(task_id="promote", outlets=outlets)(*up_for_promotion, question.output)
            decline(*up_for_promotion, question.output)
        else:
            promote.override(outlets=outlets)(*up_for_promotion)
    return dag


class Question(HITLOperator):
    """One whose options name the version: after its task was cleared, Airflow shows the first text and options again.

    The answer comes from Airflow's own record of it, not from an XCom, and a yes is written into our ledger here. What
    fails before it was asked is tried again; what fails after an answer is not, as Airflow would ask again and forget it.
    """

    template_fields = (*HITLOperator.template_fields, "options")

    def execute(self, context: Any) -> Any:
        from pipelines.promotion import ask

        planned, *judged = _asked_about(context)
        step(ask, planned["use_case"], *_judged(planned, *judged), partition=False)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        from pipelines.promotion import take_down

        try:
            answer = super().execute_complete(context, event)
            planned, *judged = _asked_about(context)
            step(take_down, planned["use_case"], *_judged(planned, *judged), answer, partition=False)
        except Exception as error:
            given = event.get("chosen_options")
            raise AirflowFailException(f"the answer {given} was not taken down, nothing is promoted: {error}") from error
        return answer


def _question(use_case: UseCase) -> Question:
    """Waits without a worker slot for one of the group's answer; the default is a no."""
    from pipelines.workspace import approvers_of, load_environment

    version = "v{{ ti.xcom_pull(task_ids='register')['version'] }}"
    return Question(
        task_id="approve",
        task_display_name="ask for approval",
        subject=f"{use_case.title}: promote {version}?",
        body=_evidence,
        options=[f"Approve {version}", "Reject"],
        defaults="Reject",
        params={"note": Param("", type=["null", "string"], description="why; it is kept in the ledger")},
        assigned_users=[{"id": user, "name": user} for user in approvers_of(use_case, load_environment())],
        response_timeout=use_case.approval_deadline,
    )


def _evidence(context: Any, jinja_env: Any) -> str:
    """The question's text, made when it is asked."""
    from pipelines.promotion import evidence_text
    from pipelines.use_case import load_use_case

    planned, *judged = _asked_about(context)
    return evidence_text(load_use_case(planned["use_case"]), *_judged(planned, *judged))


def _asked_about(context: Any) -> list[dict[str, Any]]:
    return [context["ti"].xcom_pull(task_ids=name) for name in ("plan", "evaluate", "register")]


def _judged(planned: dict[str, Any], evaluation: dict[str, Any], registered: dict[str, Any] | None = None) -> list[Any]:
    """The plan, what was found of its candidate, and its version once there is one, as the steps take them."""
    from pipelines.gates import Evaluation
    from pipelines.promotion import Registered
    from pipelines.results import from_json
    from pipelines.training import TrainingPlan

    found = [from_json(TrainingPlan, planned), from_json(Evaluation, evaluation)]
    return [*found, from_json(Registered, registered)] if registered else found


def _skip(why: str) -> Any:
    """A skipped task emits no event."""
    raise AirflowSkipException(why)


for each in USE_CASES:
    globals()[f"{each.name}_training"] = training(each)
