"""Trainings that a decision asked for, by the ledger: which windows are decided, what is under way, what failed.

`training started` is written when it was, and names its run; its outcome is a row of that run: promoted, kept, or failed.
One that says nothing until its deadline died. Each that brought no champion is an attempt, after which the policy pauses.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pipelines.results import from_json
from pipelines.retraining.gain import Gain
from pipelines.retraining.policy import RetrainingDecision
from pipelines.retraining.state import Attempt
from pipelines.use_case import UseCase
from pipelines.workspace import UNASKED, Champion, Decision, Kind, StageRun

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
        if isinstance(settled, dict) and (stands or (d.kind == Kind.STARTED and d.run in ended)):
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
        elif d.kind == Kind.STARTED:
            started.setdefault(d.run, d)
    waits = use_case.approval_deadline if use_case.approval == "required" else timedelta(0)
    for run, d in started.items():
        until = datetime.fromisoformat(d.at) + use_case.retraining.training_deadline + waits
        if run not in ended and now < until:
            return f"training {run} is under way; without an outcome by {until:%Y-%m-%d %H:%M} it counts as dead."
    return None


def attempts(decisions: Sequence[Decision], champion: Champion) -> tuple[Attempt, ...]:
    """Trainings that the policy started against this champion, since a person resumed, whatever became of them."""
    since = max((i for i, d in enumerate(decisions) if d.kind == Kind.LIFTED), default=0)
    outcomes = {d.run: d for kind in (Kind.FAILED, Kind.KEPT) for d in decisions if d.kind == kind}
    against = [d for d in decisions[since:] if d.evidence.get("champion_since") == champion.decision]
    return tuple(_attempt(d, outcomes.get(d.run)) for d in against if d.kind == Kind.STARTED)


def _attempt(started: Decision, outcome: Decision | None) -> Attempt:
    known, ended = started.evidence.get("gain"), outcome or started
    why = outcome.why if outcome else "it said nothing until its deadline."
    return Attempt(started.run, datetime.fromisoformat(ended.at), why, from_json(Gain, known) if known else None)


def gains(decisions: Sequence[Decision], champion: Champion, key: str) -> tuple[Gain, ...]:
    """What decisions on other partitions estimated against this champion, the last of each window; not on faulty rows."""
    against = [d for d in decisions if d.evidence.get("champion_since") == champion.decision and d.partition != key]
    sound = [d.evidence["gain"] for d in against if d.evidence.get("cause") != "data fault" and d.evidence.get("gain")]
    return tuple({gain.window: gain for gain in (from_json(Gain, each) for each in sound)}.values())


def starts(decisions: Sequence[Decision]) -> tuple[datetime, ...]:
    """When each training was started that the policy asked for."""
    return tuple(datetime.fromisoformat(d.at) for d in decisions if d.kind == Kind.STARTED)


def took(decisions: Sequence[Decision], longest: timedelta) -> tuple[timedelta, ...]:
    """How long each of `starts` took, until it asked a person or came to a verdict; `longest` where it said nothing."""
    ended: dict[str, str] = {}
    for d in decisions:
        if d.kind in (*_VERDICTS, Kind.FAILED, Kind.ASKED):
            ended.setdefault(d.run, d.at)
    begun = [(datetime.fromisoformat(d.at), ended.get(d.run)) for d in decisions if d.kind == Kind.STARTED]
    return tuple(datetime.fromisoformat(end) - start if end else longest for start, end in begun)


def next_run(decisions: Sequence[Decision], key: str) -> str:
    """The id of the training's run: the same for the same decision and attempt, so that it is started once."""
    prefix = f"{UNASKED}{key}__"
    return f"{prefix}{len({d.run for d in decisions if d.run.startswith(prefix)}) + 1}"


def record_start(run: StageRun, decision: RetrainingDecision) -> None:
    """Write down that the training which was decided on has been started; once per run of it."""
    champion = run.ledger.champion(run.use_case.name)
    assert decision.training_run
    run.ledger.record(
        Decision(
            id=f"{Kind.STARTED}/{decision.training_run}",
            use_case=run.use_case.name,
            kind=Kind.STARTED,
            partition=decision.partition,
            why=decision.why,
            actor="retraining policy",
            run=decision.training_run,
            evidence=decision.evidence | {"asked_by": run.id},
            model_version=champion.version if champion else None,
        )
    )


def record_failure(run: StageRun) -> None:
    """Write down that this run, a training, failed: after a pause another may be started."""
    run.ledger.record(
        Decision(
            id=f"{Kind.FAILED}/{run.id}",
            use_case=run.use_case.name,
            kind=Kind.FAILED,
            partition=run.key,
            # Also after a candidate that was declined, as its question failed.
            why=f"The training {run.id} failed; the log of its failed task says why. Where it came to no verdict, what asked "
            "for it is not decided yet: it is tried again after a pause.",
            actor="training",
            run=run.id,
        )
    )
