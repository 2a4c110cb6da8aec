"""The retraining decision: gather the state, ask the policy, write a no into the ledger.

A yes is written once its training was started.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

from pipelines.errors import PermanentError
from pipelines.monitoring import Monitored, forecast_loss, latest
from pipelines.retraining.attempts import attempts, decided, gains, next_run, starts, took, under_way
from pipelines.retraining.gain import Gain
from pipelines.retraining.policy import RetrainingDecision, fingerprint, judge
from pipelines.retraining.state import State
from pipelines.use_case import Partition, features_table, labels_table
from pipelines.workspace import Champion, Decision, Kind, StageRun, hold


def decide(run: StageRun, gain: Gain | str | None = None) -> RetrainingDecision:
    """Decide on what is monitored up to a partition, or period, and not decided yet. A no is recorded here.

    `gain` is what a new model would save, by the estimate, or why there is none; None where the estimate failed.

    A cron asks within a period that has not ended: it is about the one before. Asked again for the same state, it says the
    same; a yes names the run of the training, so that `record_start` is told of the very run that was started.
    """
    run = replace(run, partition=_ended(run))
    decisions, champion = run.ledger.decisions(run.use_case.name), run.ledger.champion(run.use_case.name)
    estimated = {"gain": gain} if isinstance(gain, Gain) else {"no_gain": gain} if gain else {}
    decision = judge(run.use_case, run.partition, replace(read_state(run, champion, decisions), **estimated))
    if decision.retrain:
        return replace(decision, training_run=next_run(decisions, run.key))
    run.ledger.record(
        Decision(
            id=f"{Kind.NOT_RETRAINED}/{run.key}/{champion.decision if champion else 'none'}/{_digest(decision)}",
            use_case=run.use_case.name,
            kind=Kind.NOT_RETRAINED,
            partition=run.key,
            why=decision.why,
            actor="retraining policy",
            run=run.id,
            evidence=decision.evidence,
            model_version=champion.version if champion else None,
        )
    )
    return decision


def _ended(run: StageRun) -> Partition:
    now, zone = run.workspace.clock.now(), run.use_case.timezone
    if run.partition.ends_at(zone) <= now:
        return run.partition
    return Partition.of(now.astimezone(ZoneInfo(zone)).date(), run.partition.grain).previous


def _digest(decision: RetrainingDecision) -> str:
    """Short enough for an id: the same state gives the same words, and another state is another decision."""
    return hashlib.sha256(f"{decision.why}{decision.evidence['decided']}".encode()).hexdigest()[:8]


def read_state(run: StageRun, champion: Champion | None, decisions: Sequence[Decision]) -> State:
    if champion is None:
        return State()
    tags = run.registry.version(run.use_case.name, champion.version).tags
    if tags.partition is None:
        raise PermanentError(
            f"{run.use_case.name} v{champion.version}: has no tag 'partition', so nobody knows what is new since its training; "
            "it was not registered by the training, or the tag was taken away: train a new model"
        )
    until, trained_until = run.partition.end, run.use_case.period(tags.partition).end
    labels = {p: rows for p, rows in _partitions(run, labels_table(run.use_case)).items() if p.end <= until}
    ready = [p for p in _partitions(run, features_table(run.use_case)) if p in labels]
    known, now = decided(decisions, run.key), run.workspace.clock.now()
    return State(
        champion=champion,
        champion_auc=tags.holdout_auc,
        windows=tuple(w for w in _windows(run, champion) if (w.partition, fingerprint(w)) not in known),
        history=_history(run),
        served=max(until - run.use_case.period(champion.effective_from).start, timedelta(0)),
        new_labels=sum(rows for p, rows in labels.items() if p.start >= trained_until),
        trained_until=trained_until,
        train_on=(run.partition if ready[-1].key == run.partitions[-1].key else ready[-1]) if ready else None,
        under_way=under_way(run.use_case, decisions, now),
        crossing=forecast_loss(run.workspace, run.use_case) if "forecast" in run.use_case.retraining.reasons else None,
        gains=gains(decisions, champion, run.key),
        attempts=attempts(decisions, champion),
        started=starts(decisions),
        took=took(decisions, run.use_case.retraining.training_deadline),
        held=hold(decisions),
        now=now.astimezone(ZoneInfo(run.use_case.timezone)),
    )


def _partitions(run: StageRun, table: str) -> dict[Partition, int]:
    return {run.use_case.partition(key): rows for key, rows in run.lake.partitions(table).items()}


def _windows(run: StageRun, champion: Champion) -> list[Monitored]:
    """What the champion served since it came and is monitored with outcomes, by windows as declared now, oldest first."""
    since, found = run.use_case.period(champion.effective_from).start, []
    for key, seen in latest(run.workspace, run.use_case).items():
        window, measured = run.use_case.period(key), seen.performance
        in_time = window.grain is run.use_case.window and since < window.end <= run.partition.end
        if in_time and measured and measured.labels and measured.model_version == champion.version:
            found.append(seen)
    return found


def _history(run: StageRun) -> tuple[Monitored, ...]:
    """All that is monitored by windows as declared now, up to the run's end, oldest first."""
    found = [(run.use_case.period(key), seen) for key, seen in latest(run.workspace, run.use_case).items()]
    return tuple(seen for w, seen in found if w.grain is run.use_case.window and w.end <= run.partition.end)
