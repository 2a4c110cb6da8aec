"""What becomes of a training, as rows of the ledger."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

from pipelines.gates import Judged
from pipelines.workspace import Decision, Kind


@dataclass(frozen=True)
class Promotion:
    """What became of a training: `promoted`, or `kept` with the champion as it was."""

    decision: str
    champion: int | None
    why: str


def keep(judged: Judged) -> Promotion:
    """Record that the champion stays, and why."""
    return keep_because(judged, judged.evaluation.why, "gates")


def keep_because(judged: Judged, why: str, actor: str, version: int | None = None) -> Promotion:
    """Record that the champion stays; another reason in the same run, or for another version, is another decision."""
    training = judged.training
    now = training.ledger.champion(training.use_case.name)
    champion, kept = (now.version, f"v{now.version} stays. ") if now else (None, "No champion. ")
    answer = "" if version is None else f"/v{version}"
    training.ledger.record(
        decision_on(
            judged,
            kind=Kind.KEPT,
            why=kept + why,
            actor=actor,
            version=champion,
            suffix=f"{answer}/{hashlib.sha256(why.encode()).hexdigest()[:8]}",
        )
    )
    return Promotion(Kind.KEPT, champion, kept + why)


def decision_on(
    judged: Judged, *, kind: Kind, why: str, actor: str, version: int | None, suffix: str, effective: str | None = None
) -> Decision:
    """A row of the ledger with all that was found of the candidate; `suffix` tells it from others of its kind in the run."""
    training, evaluation = judged.training, judged.evaluation
    use_case, run = training.use_case, training.workspace.run
    return Decision(
        id=f"{kind}/{training.key}/{run}{suffix}",
        use_case=use_case.name,
        kind=kind,
        partition=training.key,
        why=why,
        actor=actor,
        run=run,
        evidence={
            "candidate": evaluation.chosen.candidate,
            "run_id": evaluation.chosen.run_id,
            "holdout": evaluation.holdout,
            "champion": training.plan.champion,
            "champion_holdout": evaluation.champion_holdout,
            "verdicts": [asdict(v) for v in evaluation.verdicts],
            "assessment": evaluation.assessment and asdict(evaluation.assessment),
        },
        model_version=version,
        effective_from=effective,
        effect=evaluation.worth,
        effect_unit=use_case.value.unit if use_case.value else None,
    )
