"""The retraining policy: a pure function of state, never of counts of events, to a decision.

The cause comes first: a data fault is mended, not learnt; drift with loss asks for a new model; drift without loss is
watched. Then the brakes: cooldown and new labels. Its limits of loss and drift are those of `monitoring:`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipelines.monitoring import Monitored
from pipelines.use_case import Partition, UseCase
from pipelines.workspace import Champion


@dataclass(frozen=True)
class RetrainingDecision:
    """`retrain`, and why in plain words; `cause` is one of healthy, drift, loss, age, unknown."""

    partition: str
    retrain: bool
    cause: str
    why: str
    evidence: dict[str, Any]


@dataclass(frozen=True)
class State:
    """What the decision looks at."""

    champion: Champion | None
    champion_auc: float | None
    monitored: Monitored | None
    partitions_served: int
    new_labels: int


def judge(use_case: UseCase, partition: Partition, state: State) -> RetrainingDecision:
    """The policy, as a pure function of the state."""
    cause, why = _cause(use_case, partition, state)
    evidence = _evidence(state)
    retrain = cause in ("loss", "age")
    brake = _brake(use_case, state) if retrain else None
    if brake:
        retrain, why = False, f"{why} But not now: {brake}"
    return RetrainingDecision(partition=partition.key, retrain=retrain, cause=cause, why=why, evidence=evidence)


def _cause(use_case: UseCase, partition: Partition, state: State) -> tuple[str, str]:
    settings, monitored = use_case.monitoring, state.monitored
    if state.champion is None:
        return "unknown", "There is no champion: a first training is started by hand, not by drift."
    if monitored is None or monitored.performance is None or not monitored.performance.labels:
        return (
            "unknown",
            f"{partition.key} is not monitored with outcomes yet: without them nobody knows whether the model lost.",
        )
    if monitored.model_version != state.champion.version:
        return "healthy", f"v{state.champion.version} has not served {partition.key}: it is newer; nothing to decide yet."
    lost = _losses(use_case, state)
    drift = monitored.drift
    shifted = bool(drift and drift.prediction_drift > settings.max_prediction_drift)
    drifted = shifted or bool(drift and drift.drifted_share > settings.max_drifted_share)
    told = _drift_words(monitored, drifted, shifted)
    if lost:
        return "loss", f"{' '.join(lost)} {told} Drift with loss: a new model is needed." if drifted else (
            f"{' '.join(lost)} {told} Loss without drift of the inputs: what they mean has changed; a new model is needed."
        )  # fmt: skip
    limit = use_case.retraining.max_age_partitions
    if limit is not None and state.partitions_served >= limit:
        return "age", f"The champion has served {state.partitions_served} partitions; the use case allows {limit}."
    if drifted:
        return "drift", f"{told} The predictions are as good as promised all the same: watched, no new model."
    return "healthy", f"{told} The predictions are as good as promised: no new model."


def _losses(use_case: UseCase, state: State) -> list[str]:
    settings = use_case.monitoring
    assert state.monitored is not None
    assert state.monitored.performance is not None
    seen = state.monitored.performance
    found = []
    if seen.auc is not None and state.champion_auc is not None and state.champion_auc - seen.auc > settings.max_auc_loss:
        found.append(f"AUC fell from {state.champion_auc:.3f} at promotion to {seen.auc:.3f}.")
    if seen.mean_prediction is not None and seen.positive_share is not None:
        gap = seen.mean_prediction - seen.positive_share
        if abs(gap) > settings.max_calibration_gap:
            found.append(f"{seen.mean_prediction:.1%} were predicted, {seen.positive_share:.1%} came true.")
    return found


def _drift_words(monitored: Monitored, drifted: bool, shifted: bool) -> str:
    if monitored.drift is None:
        return "Drift was not measured."
    drift = monitored.drift
    worst = sorted(drift.distances.items(), key=lambda item: -item[1])[:3]
    names = ", ".join(f"{name} {distance:.2f}" for name, distance in worst)
    word = "have drifted" if drifted else "drifted, within what is allowed"
    told = f"{len(drift.drifted)} features ({drift.drifted_share:.0%}) {word} (furthest: {names})."
    if shifted:
        told += f" The predictions have moved by {drift.prediction_drift:.2f}."
    if drift.not_compared:
        told += f" The champion does not know {', '.join(drift.not_compared)}: not compared."
    return told


def _brake(use_case: UseCase, state: State) -> str | None:
    settings = use_case.retraining
    if state.partitions_served <= settings.cooldown_partitions:
        return f"the champion served {state.partitions_served} partitions only; the cooldown is {settings.cooldown_partitions}."
    if state.new_labels < settings.min_new_labels:
        return f"{state.new_labels} new labels since its training; {settings.min_new_labels} are asked."
    return None


def _evidence(state: State) -> dict[str, Any]:
    monitored = state.monitored
    return {
        "champion": state.champion.version if state.champion else None,
        "champion_auc": state.champion_auc,
        "partitions_served": state.partitions_served,
        "new_labels": state.new_labels,
        "performance": asdict(monitored.performance) if monitored and monitored.performance else None,
        "drifted_share": monitored.drift.drifted_share if monitored and monitored.drift else None,
        "prediction_drift": monitored.drift.prediction_drift if monitored and monitored.drift else None,
    }
