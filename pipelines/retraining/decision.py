"""The retraining decision of a partition: gather the state, ask the policy, write the answer into the ledger."""

from __future__ import annotations

import hashlib

from pipelines.errors import PermanentError
from pipelines.monitoring import latest
from pipelines.retraining.policy import RetrainingDecision, State, judge
from pipelines.use_case import labels_table, span
from pipelines.workspace import Decision, Kind, StageRun


def decide(run: StageRun) -> RetrainingDecision:
    """Decide for one partition and record it. Asked again for the same state, it says the same."""
    decision = judge(run.use_case, run.partition, read_state(run))
    kind = Kind.RETRAINED if decision.retrain else Kind.NOT_RETRAINED
    champion = run.ledger.champion(run.use_case.name)
    run.ledger.record(
        Decision(
            id=f"{kind}/{run.key}/{champion.decision if champion else 'none'}/{_digest(decision.why)}",
            use_case=run.use_case.name,
            kind=kind,
            partition=run.key,
            why=decision.why,
            actor="retraining policy",
            run=run.id,
            evidence=decision.evidence,
            model_version=champion.version if champion else None,
        )
    )
    return decision


def _digest(why: str) -> str:
    """Short enough for an id: the same state gives the same words, and another state is another decision."""
    return hashlib.sha256(why.encode()).hexdigest()[:8]


def read_state(run: StageRun) -> State:
    champion = run.ledger.champion(run.use_case.name)
    if champion is None:
        return State(champion=None, champion_auc=None, monitored=None, partitions_served=0, new_labels=0)
    tags = run.registry.version(run.use_case.name, champion.version).tags
    if tags.partition is None:
        raise PermanentError(
            f"{run.use_case.name} v{champion.version}: has no tag 'partition', so nobody knows what is new since its training; "
            "it was not registered by the training, or the tag was taken away: train a new model"
        )
    first = run.use_case.partition(champion.effective_from)
    labels = run.lake.partitions(labels_table(run.use_case))
    return State(
        champion=champion,
        champion_auc=tags.holdout_auc,
        monitored=latest(run.workspace, run.use_case).get(run.key),
        partitions_served=len(span(first, run.partition)) if first.start <= run.partition.start else 0,
        new_labels=sum(rows for key, rows in labels.items() if tags.partition < key <= run.key),
    )
