"""The way on that only a person opens: a rollback's hold is lifted, and the pause after trainings that brought nothing ends."""

from __future__ import annotations

from pipelines.errors import PermanentError
from pipelines.retraining.attempts import attempts
from pipelines.use_case import UseCase
from pipelines.workspace import Decision, Kind, Workspace, hold


def resume(workspace: Workspace, use_case: UseCase, reason: str, actor: str) -> Decision:
    """Let the retraining policy go on: what held it until now no longer does. It decides at its next run, as ever.

    Raises:
        PermanentError: nothing holds it, or no reason given.
    """
    if not reason.strip():
        raise PermanentError("resuming needs a reason: say it with --reason")
    decisions, champion = workspace.ledger.decisions(use_case.name), workspace.ledger.champion(use_case.name)
    held, tried = hold(decisions), attempts(decisions, champion) if champion else ()
    if champion is None or not (held or tried):
        raise PermanentError(f"{use_case.name}: no rollback and no training that brought nothing holds the retraining policy")
    ends = [f"the hold of the rollback to v{champion.version}"] if held else []
    ends += [f"the pause after {len(tried)} without a new champion"] if tried else []
    last = decisions[-1].position
    lifted = Decision(
        id=f"{Kind.LIFTED}/{champion.decision}/{last}",
        use_case=use_case.name,
        kind=Kind.LIFTED,
        partition=champion.effective_from,
        why=f"The retraining policy goes on, {' and '.join(ends)} ends: {reason}",
        actor=actor,
        run=workspace.run,
        model_version=champion.version,
    )
    workspace.ledger.record(lifted)
    return lifted
