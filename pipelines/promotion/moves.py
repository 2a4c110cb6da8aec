"""Move the champion, fenced by the ledger: forward by a promotion, back by a rollback, in one command; or away."""

from __future__ import annotations

from dataclasses import replace

from pipelines.errors import PermanentError
from pipelines.promotion.outcome import Promotion, decision_on, keep_because
from pipelines.promotion.proposal import Proposal
from pipelines.promotion.registration import refuse_failed
from pipelines.use_case import UseCase, features_table
from pipelines.workspace import (
    CHAMPION,
    Decision,
    Kind,
    Workspace,
    first_unscored,
    published_definitions,
    refuse_other_definitions,
)


def promote(proposal: Proposal, approver: str | None = None, approval: str = "") -> Promotion:
    """Make the registered version champion from the next partition on, or the first one after it that was not served yet.

    `approver` is who approved it, `approval` the sentence; None where the use case says `approval: automatic`.

    Raises:
        PermanentError: it failed its gates, no approval where one is required, or the champion is no longer the one
            that was compared with.
    """
    refuse_failed(proposal)
    training, use_case, version = proposal.training, proposal.training.use_case, proposal.version
    if use_case.approval == "required" and not (approver or "").strip():
        raise PermanentError(f"{use_case.name}: approval is required and nobody gave it; the champion stays")
    following = use_case.partition_after(training.key)
    decision = decision_on(
        proposal,
        kind=Kind.PROMOTED,
        why=f"v{version}{f' {approval}.' if approval else ':'} {proposal.evaluation.why}",
        actor=approver or "automatic, by the use case's approval setting",
        version=version,
        suffix=f"/v{version}",
        effective=max(following, first_unscored(training.workspace, use_case, following)),
    )
    decision = replace(decision, evidence=decision.evidence | {"digest": proposal.registered.digest})
    try:
        training.ledger.move_champion(decision, training.plan.champion)
        _refuse_outdated(proposal)
    except PermanentError as error:
        keep_because(proposal, f"v{version} was refused: {error}", "fence")
        raise
    training.registry.set_alias(use_case.name, CHAMPION, version)
    return Promotion(Kind.PROMOTED, version, decision.why)


def _refuse_outdated(proposal: Proposal) -> None:
    """A promotion that is on record already may be run again only as long as nothing has replaced it."""
    use_case = proposal.training.use_case
    now = proposal.training.ledger.champion(use_case.name)
    if now is None or now.version != proposal.version:
        raise PermanentError(
            f"{use_case.name}: v{proposal.version} was promoted before, but the champion is another by now, and stays; "
            "use a rollback to go back to it"
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
    refuse_unable(workspace, use_case, target)
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


def refuse_unable(workspace: Workspace, use_case: UseCase, version: int) -> None:
    """Raises PermanentError where a version does not load, or the newest features are not those that it was trained on."""
    model, table = workspace.registry.load(use_case.name, version), features_table(use_case)
    newest = list(workspace.lake.partitions(table))[-1:]
    refuse_other_definitions(workspace.registry, use_case, model, published_definitions(workspace.lake, table, newest))


def retire(workspace: Workspace, use_case: UseCase, reason: str, actor: str) -> Promotion:
    """Let the champion serve no longer, and no other in its place: the way on where it is gone, or cannot be compared with.

    From the first partition that was not scored yet there is no champion, so that the next model has to pass the other gates
    only.

    Raises:
        PermanentError: there is no champion, or no reason given.
    """
    if not reason.strip():
        raise PermanentError("a retirement needs a reason: say it with --reason")
    now = workspace.ledger.champion(use_case.name)
    if now is None:
        raise PermanentError(f"{use_case.name}: there is no champion to retire")
    effective = max(now.effective_from, first_unscored(workspace, use_case, now.effective_from))
    decision = Decision(
        id=f"{Kind.RETIRED}/{now.decision}",
        use_case=use_case.name,
        kind=Kind.RETIRED,
        partition=effective,
        why=f"v{now.version} serves no longer, and no other does until one is promoted: {reason}",
        actor=actor,
        run=workspace.run,
        evidence={"from": now.version},
        effective_from=effective,
    )
    workspace.ledger.move_champion(decision, now.version)
    workspace.registry.delete_alias(use_case.name, CHAMPION)
    return Promotion(Kind.RETIRED, None, decision.why)


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
