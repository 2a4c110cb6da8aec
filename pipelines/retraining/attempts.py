"""Trainings that a decision asked for, by the ledger: which windows are decided, what is under way, what failed.

`retrained` is written when a training was started, and names its run; its outcome is a row of that run: promoted, kept, or
failed. One that says nothing until its deadline died, and blocks nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pipelines.retraining.policy import RetrainingDecision
from pipelines.use_case import UseCase
from pipelines.workspace import Decision, Kind, StageRun

_VERDICTS = (Kind.PROMOTED, Kind.KEPT)


def decided(decisions: Sequence[Decision], key: str) -> set[tuple[str, str]]:
    """Windows, and what was measured of them, that are decided: by a no without a brake, or by a training's verdict.

    A no of `key` does not count where it is asked about again: it says the same again.
    """
    ended = {d.run for d in decisions if d.kind in _VERDICTS}
    found: set[tuple[str, str]] = set()
    for d in decisions:
        settled = d.evidence.get("decided")
        stands = d.kind == Kind.NOT_RETRAINED and d.partition != key
        if isinstance(settled, dict) and (stands or (d.kind == Kind.RETRAINED and d.run in ended)):
            found |= settled.items()
    return found


def under_way(use_case: UseCase, decisions: Sequence[Decision], now: datetime) -> str | None:
    """The training that runs or waits for an answer, in words; None where there is none, or it has died."""
    started: dict[str, Decision] = {}
    ended: set[str] = set()
    for d in decisions:
        if d.kind in (*_VERDICTS, Kind.FAILED):
            ended.add(d.run)
        elif d.kind == Kind.ASKED:
            ended.discard(d.run)  # asked again in the same run
            started[d.run] = d
        elif d.kind == Kind.RETRAINED:
            started.setdefault(d.run, d)
    waits = use_case.approval_deadline if use_case.approval == "required" else timedelta(0)
    for run, d in started.items():
        until = datetime.fromisoformat(d.at) + use_case.retraining.training_deadline + waits
        if run not in ended and now < until:
            return f"training {run} is under way; without an outcome by {until:%Y-%m-%d %H:%M} it counts as dead."
    return None


def next_run(decisions: Sequence[Decision], key: str) -> str:
    """The id of the training's run: the same for the same decision and attempt, so that it is started once."""
    prefix = f"retraining__{key}__"
    return f"{prefix}{len({d.run for d in decisions if d.run.startswith(prefix)}) + 1}"


def record_start(run: StageRun, decision: RetrainingDecision) -> None:
    """Write down that the training which was decided on has been started; once per run of it."""
    champion = run.ledger.champion(run.use_case.name)
    assert decision.training_run
    run.ledger.record(
        Decision(
            id=f"{Kind.RETRAINED}/{decision.training_run}",
            use_case=run.use_case.name,
            kind=Kind.RETRAINED,
            partition=decision.partition,
            why=decision.why,
            actor="retraining policy",
            run=decision.training_run,
            evidence=decision.evidence | {"asked_by": run.id},
            model_version=champion.version if champion else None,
        )
    )


def record_failure(run: StageRun) -> None:
    """Write down that this run, a training, failed: the next decision may start another."""
    run.ledger.record(
        Decision(
            id=f"{Kind.FAILED}/{run.id}",
            use_case=run.use_case.name,
            kind=Kind.FAILED,
            partition=run.key,
            why=f"The training {run.id} failed before it came to a verdict; the log of its failed task says why. "
            "What asked for it is not decided yet: the next decision tries again.",
            actor="training",
            run=run.id,
        )
    )
