"""The retraining policy: a pure function of state, never of counts of events, to a decision.

The cause comes first: a data fault is mended, not learnt; drift with loss asks for a new model; drift without loss is
watched. Then the brakes: a training under way, cooldown, new labels, a holdout that the champion has seen. What a brake held
up stays undecided. Its limits of loss and drift are those of `monitoring:`, window by window.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from pipelines.monitoring import Monitored
from pipelines.use_case import Partition, UseCase
from pipelines.workspace import Champion


@dataclass(frozen=True)
class RetrainingDecision:
    """`retrain`, and why in plain words; `cause` is one of healthy, drift, loss, age, unknown.

    With a yes: the partition, or period, to train on, and the id of the run to start.
    """

    partition: str
    retrain: bool
    cause: str
    why: str
    evidence: dict[str, Any]
    train_on: str | None = None
    training_run: str | None = None


@dataclass(frozen=True)
class State:
    """What the decision looks at.

    `windows` are those that the champion served, monitored with outcomes and not decided yet, oldest first; `trained_until`
    is the end of the champion's training.
    """

    champion: Champion | None = None
    champion_auc: float | None = None
    windows: tuple[Monitored, ...] = ()
    served: timedelta = timedelta(0)
    age_decided: bool = False
    new_labels: int = 0
    trained_until: date = date.min
    train_on: Partition | None = None
    under_way: str | None = None


def judge(use_case: UseCase, partition: Partition, state: State) -> RetrainingDecision:
    """The policy, as a pure function of the state."""
    cause, why, window = _cause(use_case, partition, state)
    retrain = cause in ("loss", "age")
    brake = _brake(use_case, state) if retrain else None
    if brake:
        retrain, why = False, f"{why} But not now: {brake}"
    evidence = _evidence(state, window) | {"decided": {} if brake else _decided(cause, partition, state)}
    train_on = state.train_on.key if retrain and state.train_on else None
    return RetrainingDecision(partition.key, retrain, cause, why, evidence, train_on)


def _cause(use_case: UseCase, partition: Partition, state: State) -> tuple[str, str, Monitored | None]:
    """Of all windows the worst, and of equal ones the newest: what was asked after each of them would have said."""
    if state.champion is None:
        return "unknown", "There is no champion: a first training is started by hand, not by drift.", None
    found = {}
    for window in state.windows:
        cause, why = _judge_window(use_case, state, window)
        found[cause] = cause, _among(state, window, why), window
    limit = use_case.retraining.max_age
    if "loss" not in found and limit is not None and state.served >= limit and not state.age_decided:
        return "age", f"The champion has served {state.served.days} days; the use case allows {limit.days}.", None
    for cause in ("loss", "drift", "healthy"):
        if cause in found:
            return found[cause]
    return (
        "unknown",
        f"No window up to {partition.key} that v{state.champion.version} served is monitored with outcomes and not decided "
        "yet: without them nobody knows whether the model lost.",
        None,
    )


def _judge_window(use_case: UseCase, state: State, window: Monitored) -> tuple[str, str]:
    settings, drift = use_case.monitoring, window.drift
    lost = _losses(use_case, state, window)
    shifted = bool(drift and drift.prediction_drift > settings.max_prediction_drift)
    drifted = shifted or bool(drift and drift.drifted_share > settings.max_drifted_share)
    told = _drift_words(window, drifted, shifted)
    if lost:
        return "loss", f"{' '.join(lost)} {told} Drift with loss: a new model is needed." if drifted else (
            f"{' '.join(lost)} {told} Loss without drift of the inputs: what they mean has changed; a new model is needed."
        )  # fmt: skip
    if drifted:
        return "drift", f"{told} The predictions are as good as promised all the same: watched, no new model."
    return "healthy", f"{told} The predictions are as good as promised: no new model."


def _among(state: State, window: Monitored, why: str) -> str:
    keys = [w.partition for w in state.windows]
    return f"{window.partition}: {why}" if len(keys) == 1 else (
        f"{window.partition}, of {len(keys)} windows from {keys[0]} to {keys[-1]}: {why}"
    )  # fmt: skip


def fingerprint(window: Monitored) -> str:
    """Of what was measured: corrected outcomes make another window of it, which is decided anew."""
    return hashlib.sha256(json.dumps(asdict(window), sort_keys=True).encode()).hexdigest()[:8]


def _decided(cause: str, partition: Partition, state: State) -> dict[str, str]:
    """What needs no further decision; an age is decided once where it was asked."""
    windows = {window.partition: fingerprint(window) for window in state.windows}
    return windows | ({f"age at {partition.key}": state.champion.decision} if cause == "age" and state.champion else {})


def _losses(use_case: UseCase, state: State, window: Monitored) -> list[str]:
    settings, seen = use_case.monitoring, window.performance
    assert seen is not None
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
    if state.under_way:
        return state.under_way
    if state.served <= settings.cooldown:
        return f"the champion served {state.served.days} days only; the cooldown is {settings.cooldown.days}."
    if state.new_labels < settings.min_new_labels:
        return f"{state.new_labels} new labels since its training; {settings.min_new_labels} are asked."
    possible = state.trained_until + timedelta(days=use_case.training.holdout_days)
    if state.train_on is None or state.train_on.end < possible:
        return (
            f"the champion was trained through {state.trained_until - timedelta(days=1)} and has seen days of the holdout, the "
            f"newest {use_case.training.holdout_days}; possible with outcomes through {possible - timedelta(days=1)}."
        )
    return None


def _evidence(state: State, window: Monitored | None) -> dict[str, Any]:
    seen, drift = (window.performance, window.drift) if window else (None, None)
    return {
        "champion": state.champion.version if state.champion else None,
        "champion_auc": state.champion_auc,
        "served_days": state.served.days,
        "new_labels": state.new_labels,
        "windows": [w.partition for w in state.windows],
        "performance": asdict(seen) if seen else None,
        "drifted_share": drift.drifted_share if drift else None,
        "prediction_drift": drift.prediction_drift if drift else None,
    }
