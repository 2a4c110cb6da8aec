"""Train the candidates on pinned data, judge the best one at the gates, promote it or keep the champion.

First the data itself is assessed: is there enough, is it predictive, does a feature give the label away? Data that is not
fit for a model stops the run, and the ledger has the reasons.

Candidates train as mapped tasks: one that crashes loses, the others go on. A model that fails a gate is never promoted,
and the run says why, on its tab *Decision*.

Where the use case says `approval: required`, a member of its group of approvers answers first, with the evidence before
them. No answer until the deadline is a no; a no is recorded with its reason, and the champion stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from assets import asset
from wiring import USE_CASES, partition_param, stage_dag, step, upstream_failed

from pipelines.errors import PermanentError, TransientError
from pipelines.use_case import UseCase
from pipelines.workspace import Workspace

Json = dict[str, Any]


@task
def plan(use_case: str) -> Any:
    from pipelines.training import plan_training

    return step(plan_training, use_case)


@task
def assess(planned: Json) -> Any:
    from pipelines.assessment import admit

    return _step(admit, planned)


@task(map_index_template="{{ candidate }}")
def train(candidate: str, planned: Json) -> Any:
    from airflow.sdk import get_current_context

    from pipelines.training import train_candidate

    get_current_context()["candidate"] = candidate  # type: ignore[typeddict-unknown-key]
    return _step(_once(train_candidate), planned, arguments=[candidate])


@task(trigger_rule="all_done")
def evaluate(planned: Json, assessed: Json | None, trained: Any) -> Any:
    from pipelines.assessment import Assessed
    from pipelines.gates import evaluate
    from pipelines.results import from_json
    from pipelines.training import Trained

    candidates = [from_json(Trained, item) for item in trained if item]
    return _step(evaluate, planned, arguments=[candidates, assessed and from_json(Assessed, assessed), _after_promotion()])


@task.branch
def gates(evaluation: Json) -> str:
    return "register" if evaluation["passed"] else "keep"


@task(task_display_name="keep the champion")
def keep(planned: Json, evaluation: Json) -> Any:
    from pipelines.promotion import keep

    return _step(keep, planned, evaluation)


@task(task_display_name="register the candidate")
def register(planned: Json, evaluation: Json) -> Any:
    from pipelines.promotion import register

    return _step(register, planned, evaluation)


@task
def promote(planned: Json, evaluation: Json, registered: Json) -> Any:
    from pipelines.promotion import promote

    return _step(promote, planned, evaluation, registered)


@task(task_display_name="promote, if approved")
def promote_approved(planned: Json, evaluation: Json, registered: Json, answer: Any) -> Any:
    """Asks the answer itself, not the state of the task before: an approval that was marked as done by hand is none."""
    from pipelines.promotion import promote_approved

    done = _step(promote_approved, planned, evaluation, registered, arguments=[answer])
    return done or _skip("not approved: the champion stays, and the next task records why")


@task(task_display_name="keep the champion, if not approved", trigger_rule="all_done")
def decline(planned: Json, evaluation: Json | None, registered: Json | None, answer: Any) -> Any:
    """Runs whatever became of the question: skipped, failed or timed out, the no is written down."""
    from pipelines.promotion import decline_unapproved

    if not registered or not evaluation:
        return _skip("no candidate was up for approval")
    done = _step(decline_unapproved, planned, evaluation, registered, arguments=[answer])
    return done or _skip("it was approved")


@task(task_display_name="record a failure, if there was one", trigger_rule="all_done")
def record_failure(use_case: str) -> None:
    """Runs last, so that what it writes stands after a no; fails too, so that the run shows it: the next decision may start
    another."""
    from pipelines.retraining import record_failure

    if not upstream_failed():
        _skip("nothing failed")
    step(record_failure, use_case)
    raise AirflowFailException("the training failed, see the task before; the ledger says so")


def training(use_case: UseCase) -> DAG:
    with stage_dag(use_case, "training", None, __doc__, params=partition_param(use_case)) as dag:
        planned = plan(use_case.name)
        assessed = assess(planned)
        trained = train.partial(planned=planned).expand(candidate=list(use_case.training.candidates))
        assessed >> trained
        evaluation = evaluate(planned, assessed, trained)
        kept = keep(planned, evaluation)
        registered = register(planned, evaluation)
        gates(evaluation) >> [registered, kept]
        proposal = planned, evaluation, registered
        outlets = [asset(use_case, "model")]
        if use_case.approval == "required":
            question = _question(use_case)
            registered >> question
            ends = [
                promote_approved.override(task_id="promote", outlets=outlets)(*proposal, question.output),
                decline(*proposal, question.output),
            ]
        else:
            ends = [promote.override(outlets=outlets)(*proposal)]
        [kept, *ends] >> record_failure(use_case.name)
    return dag


class Question(HITLOperator):
    """One whose options name the version: after its task was cleared, Airflow shows the first text and options again.

    The answer comes from Airflow's own record of it, not from an XCom, and a yes is written into our ledger here. What
    fails before it was asked is tried again; what fails after an answer is not, as Airflow would ask again and forget it.
    """

    template_fields = (*HITLOperator.template_fields, "options")

    def execute(self, context: Any) -> Any:
        from pipelines.promotion import ask

        _step(ask, *_asked_about(context))
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        from pipelines.promotion import take_down

        try:
            answer = super().execute_complete(context, event)
            _step(take_down, *_asked_about(context), arguments=[answer])
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

    return str(_step(evidence_text, *_asked_about(context)))


def _asked_about(context: Any) -> list[Json]:
    return [context["ti"].xcom_pull(task_ids=name) for name in ("plan", "evaluate", "register")]


def _step(
    function: Callable[..., Any], planned: Json, evaluation: Json | None = None, registered: Json | None = None,
    *, arguments: Iterable[Any] = (),
) -> Any:  # fmt: skip
    """`step` of a training, of one that was judged, or of a proposal, made of the JSON that travelled so far."""
    from pipelines.gates import Evaluation, Judged
    from pipelines.promotion import Proposal, Registered
    from pipelines.results import from_json
    from pipelines.training import TrainingPlan, TrainingRun

    def about(training: TrainingRun) -> TrainingRun | Judged:
        if not evaluation:
            return training
        found = from_json(Evaluation, evaluation)
        return Proposal(training, found, from_json(Registered, registered)) if registered else Judged(training, found)

    def call(workspace: Workspace, use_case: UseCase) -> Any:
        return function(about(TrainingRun(workspace, use_case, from_json(TrainingPlan, planned))), *arguments)

    return step(call, planned["use_case"], partition=None)


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    """A candidate that crashes loses at once; what did not answer says nothing about it, and is tried again."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (PermanentError, TransientError):
            raise
        except Exception as error:
            raise PermanentError(f"{type(error).__name__}: {error}") from error

    return call


def _after_promotion() -> tuple[Callable[..., None], ...]:
    from pipelines import monitoring, promotion, scoring

    return scoring.rehearse, monitoring.rehearse, promotion.rehearse


def _skip(why: str) -> Any:
    """A skipped task emits no event."""
    raise AirflowSkipException(why)


for each in USE_CASES:
    globals()[f"{each.name}_training"] = training(each)
