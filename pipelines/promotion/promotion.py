"""Promotion: refit, register, and move the champion, fenced by the ledger. And back, in one command."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.assessment import log_report
from pipelines.errors import PermanentError
from pipelines.gates import Evaluation, inference_gate, measure, warm_up
from pipelines.promotion import model_card
from pipelines.training import TrainingPlan, example, fit, load_rows, model_meta, run_tags
from pipelines.use_case import UseCase
from pipelines.workspace import CHALLENGER, CHAMPION, Decision, Kind, VersionTags, Workspace, first_unscored

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Registered:
    """A version of the model that passed its gates."""

    version: int
    model_uri: str
    refitted: bool


@dataclass(frozen=True)
class Promotion:
    """What became of a training: `promoted`, or `kept` with the champion as it was."""

    decision: str
    champion: int | None
    why: str


def register(workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation) -> Registered:
    """Register what the gates passed, fitted once more with the holdout's rows if `training.refit` says so.

    Raises:
        PermanentError: the gates did not pass it.
    """
    _refuse_failed(use_case, plan, evaluation)
    uri = evaluation.chosen.model_uri
    if use_case.training.refit:
        uri, rows, pipeline = refit(workspace, use_case, plan, evaluation)
        try:
            refuse_unserved(workspace, use_case, plan, uri, rows, pipeline)
        except PermanentError as error:
            _kept(workspace, use_case, plan, evaluation, str(error), "inference", _suffix(str(error)))
            raise
    tags = VersionTags(
        partition=plan.partition,
        candidate=evaluation.chosen.candidate,
        holdout_auc=evaluation.holdout["auc"],
        holdout_log_loss=evaluation.holdout["log_loss"],
        run=workspace.run,
    )
    version = workspace.registry.register(use_case.name, uri, tags)
    workspace.registry.set_alias(use_case.name, CHALLENGER, version)
    model_card.write(workspace, use_case, plan, evaluation, version, use_case.training.refit)
    return Registered(version, uri, use_case.training.refit)


def _refuse_failed(use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation) -> None:
    if not evaluation.passed or not evaluation.verdicts or not all(v.passed for v in evaluation.verdicts):
        raise PermanentError(
            f"{use_case.name} {plan.partition}: a model that did not pass its gates is neither registered nor promoted: "
            f"{evaluation.why}"
        )


def refit(workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation) -> tuple[str, Any, Any]:
    """The same pipeline and parameters on all planned rows: the newest days are the ones most like tomorrow.

    Returns the logged model's address, the rows, and the pipeline.
    """
    warm_up()
    chosen = evaluation.chosen
    rows = load_rows(workspace, use_case, plan).all
    tags = replace(run_tags(use_case, plan), refit_of=chosen.run_id)
    with workspace.registry.run(use_case.name, f"{plan.partition} {chosen.candidate} refit", tags) as run_id:
        if evaluation.assessment:
            log_report(workspace, evaluation.assessment, run_id)
        pipeline = fit(use_case, use_case.training.candidates[chosen.candidate], chosen.params, rows)
        meta = model_meta(use_case, plan, chosen.candidate, chosen.params) | {"holdout": evaluation.holdout}
        workspace.registry.mlflow.log_dict(use_case.model_dump(mode="json"), "use_case.json")
        uri = workspace.registry.log_model(pipeline, example(use_case, rows), meta)
    return uri, rows, pipeline


def refuse_unserved(workspace: Workspace, use_case: UseCase, plan: TrainingPlan, uri: str, rows: Any, pipeline: Any) -> None:
    """What was fitted anew has to come back from the registry as it is, as what the gates judged did."""
    newest = rows.tail(1000)
    wanted = pipeline.predict_proba(newest[list(use_case.features.names)])[:, 1]
    seen = measure(workspace.registry, use_case.name, uri, use_case.features.names, newest, wanted)
    verdict = inference_gate(seen, use_case.gates)
    if not verdict.passed:
        raise PermanentError(f"{use_case.name} {plan.partition}: the refitted model is not registered. {verdict.sentence}")


def keep(workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation) -> Promotion:
    """Record that the champion stays, and why."""
    return _kept(workspace, use_case, plan, evaluation, evaluation.why, "gates", _suffix(evaluation.why))


def decline(
    workspace: Workspace,
    use_case: UseCase,
    plan: TrainingPlan,
    evaluation: Evaluation,
    registered: Registered,
    why: str,
    actor: str,
) -> Promotion:
    """Record that what passed its gates was not approved, and why: the champion stays.

    Asked again in the same run, another answer is another decision.
    """
    now = workspace.ledger.champion(use_case.name)
    done = (
        "was promoted before, only a rollback takes it back"
        if now and now.version == registered.version
        else "was not promoted"
    )
    said = f"v{registered.version} {done}: {why}. {evaluation.why}"
    return _kept(workspace, use_case, plan, evaluation, said, actor, f"/v{registered.version}{_suffix(said)}")


def record_approval(
    workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation, registered: Registered,
    kind: Kind, actor: str, why: str, at: str, shown: str,
) -> None:  # fmt: skip
    """Record the question about a version, or a person's yes to it; `at` tells it from others in the same run.

    The promotion is another row, with its own outcome.
    """
    made = _decision(workspace, use_case, plan, evaluation, kind, why, actor, registered.version, None)
    workspace.ledger.record(
        replace(made, id=f"{made.id}/v{registered.version}/{at}", evidence=made.evidence | {"shown": shown}, effect=None)
    )


def promote(
    workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation, registered: Registered,
    approver: str | None, approval: str = "",
) -> Promotion:  # fmt: skip
    """Make the registered version champion from the next partition on.

    `approver` is who approved it, `approval` the sentence; None where the use case says `approval: automatic`.

    Raises:
        PermanentError: it failed its gates, no approval where one is required, or the champion is no longer the one
            that was compared with.
    """
    _refuse_failed(use_case, plan, evaluation)
    if use_case.approval == "required" and not (approver or "").strip():
        raise PermanentError(f"{use_case.name}: approval is required and nobody gave it; the champion stays")
    actor = approver or "automatic, by the use case's approval setting"
    why = f"v{registered.version}{f' {approval}.' if approval else ':'} {evaluation.why}"
    effective = use_case.partition(plan.partition).next.key
    decision = _decision(workspace, use_case, plan, evaluation, Kind.PROMOTED, why, actor, registered.version, effective)
    decision = replace(decision, id=f"{decision.id}/v{registered.version}")
    try:
        workspace.ledger.move_champion(decision, plan.champion)
        _refuse_outdated(workspace, use_case, registered)
    except PermanentError as error:
        _kept(
            workspace, use_case, plan, evaluation, f"v{registered.version} was refused: {error}", "fence", _suffix(str(error))
        )
        raise
    workspace.registry.set_alias(use_case.name, CHAMPION, registered.version)
    return Promotion(Kind.PROMOTED, registered.version, why)


def _refuse_outdated(workspace: Workspace, use_case: UseCase, registered: Registered) -> None:
    """A promotion that is on record already may be run again only as long as nothing has replaced it."""
    now = workspace.ledger.champion(use_case.name)
    if now is None or now.version != registered.version:
        raise PermanentError(
            f"{use_case.name}: v{registered.version} was promoted before, but the champion is another by now, and stays; "
            "use a rollback to go back to it"
        )


def _suffix(said: str) -> str:
    """What another answer in the same run is told apart by."""
    return f"/{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def _kept(
    workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation, why: str, actor: str, answer: str = ""
) -> Promotion:
    now = workspace.ledger.champion(use_case.name)
    version, kept = (now.version, f"v{now.version} stays. ") if now else (None, "No champion. ")
    decision = _decision(workspace, use_case, plan, evaluation, Kind.KEPT, kept + why, actor, version, None)
    workspace.ledger.record(replace(decision, id=decision.id + answer))
    return Promotion(Kind.KEPT, version, kept + why)


def _decision(
    workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation,
    kind: Kind, why: str, actor: str, version: int | None, effective: str | None,
) -> Decision:  # fmt: skip
    evidence: dict[str, Any] = {
        "candidate": evaluation.chosen.candidate,
        "run_id": evaluation.chosen.run_id,
        "holdout": evaluation.holdout,
        "champion": plan.champion,
        "champion_holdout": evaluation.champion_holdout,
        "verdicts": [asdict(v) for v in evaluation.verdicts],
        "assessment": evaluation.assessment and asdict(evaluation.assessment),
    }
    return Decision(
        id=f"{kind}/{plan.partition}/{workspace.run}",
        use_case=use_case.name,
        kind=kind,
        partition=plan.partition,
        why=why,
        actor=actor,
        run=workspace.run,
        evidence=evidence,
        model_version=version,
        effective_from=effective,
        effect=evaluation.worth,
        effect_unit=use_case.value.unit if use_case.value else None,
    )


def rollback(workspace: Workspace, use_case: UseCase, to: int | None, reason: str, actor: str) -> Promotion:
    """Make an earlier champion serve again, from the first partition that was not scored yet.

    Raises:
        PermanentError: no such version, one that was never champion, no earlier champion, or no reason given.
    """
    if not reason.strip():
        raise PermanentError("a rollback needs a reason: say it with --reason")
    now = workspace.ledger.champion(use_case.name)
    if now is None:
        raise PermanentError(f"{use_case.name}: there is no champion to roll back from")
    target = _earlier_champion(workspace, use_case, now.version, to)
    workspace.registry.load(use_case.name, target)  # a version that does not load cannot serve
    effective = max(now.effective_from, first_unscored(workspace, use_case, now.effective_from))
    decision = Decision(
        id=f"{Kind.ROLLED_BACK}/{now.decision}/{target}",
        use_case=use_case.name,
        kind=Kind.ROLLED_BACK,
        partition=effective,
        why=f"v{now.version} gives way to v{target}: {reason}",
        actor=actor,
        run=workspace.run,
        evidence={"from": now.version, "to": target},
        model_version=target,
        effective_from=effective,
    )
    workspace.ledger.move_champion(decision, now.version)
    workspace.registry.set_alias(use_case.name, CHAMPION, target)
    return Promotion(Kind.ROLLED_BACK, target, decision.why)


def _earlier_champion(workspace: Workspace, use_case: UseCase, current: int, wanted: int | None) -> int:
    """The version asked for, or the last champion that was another one. One that was never champion was never approved."""
    if wanted == current:
        raise PermanentError(f"{use_case.name}: v{current} is the champion already")
    earlier = earlier_champions(workspace, use_case, current)
    if not earlier:
        raise PermanentError(f"{use_case.name}: v{current} is the first champion; there is nothing to roll back to")
    if wanted is not None and wanted not in earlier:
        known = ", ".join(f"v{version}" for version in sorted(set(earlier)))
        raise PermanentError(f"{use_case.name}: v{wanted} was never champion; roll back to one of {known}")
    return earlier[-1] if wanted is None else wanted


def earlier_champions(workspace: Workspace, use_case: UseCase, current: int) -> list[int]:
    """Every other version that was champion, the latest last."""
    moves = workspace.ledger.champion_moves(use_case.name)
    return [d.model_version for d in moves if d.model_version is not None and d.model_version != current]
