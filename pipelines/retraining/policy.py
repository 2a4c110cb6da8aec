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

from pipelines.monitoring import Monitored, Verdict, judge_window
from pipelines.use_case import Partition, UseCase
from pipelines.workspace import Champion

# In the order in which they speak where there are several: what is faulty is not learnt.
_CAUSES = {
    Verdict.DATA_FAULT: "data fault",
    Verdict.DRIFT_WITH_LOSS: "loss",
    Verdict.LOSS_WITHOUT_DRIFT: "loss",
    Verdict.DRIFT_WITHOUT_LOSS: "drift",
    Verdict.SEASON: "season",
    Verdict.TOO_LITTLE: "too little evidence",
    Verdict.HEALTHY: "healthy",
}


@dataclass(frozen=True)
class RetrainingDecision:
    """`retrain`, and why in plain words; `cause` is one of healthy, drift, season, loss, data fault, too little evidence, age,
    unknown.

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

    `windows` are those that the champion served, monitored with outcomes and not decided yet, oldest first; `history` all
    that is monitored up to then, of any version; `trained_until` is the end of the champion's training.
    """

    champion: Champion | None = None
    champion_auc: float | None = None
    windows: tuple[Monitored, ...] = ()
    history: tuple[Monitored, ...] = ()
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
    evidence = _evidence(state, window) | {
        "decided": {} if brake or cause == "data fault" else _decided(cause, partition, state)
    }
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
    if not {"loss", "data fault"} & set(found) and limit is not None and state.served >= limit and not state.age_decided:
        return "age", f"The champion has served {state.served.days} days; the use case allows {limit.days}.", None
    for cause in dict.fromkeys(_CAUSES.values()):
        if cause in found:
            return found[cause]
    return (
        "unknown",
        f"No window up to {partition.key} that v{state.champion.version} served is monitored with outcomes and not decided "
        "yet: without them nobody knows whether the model lost.",
        None,
    )


def _judge_window(use_case: UseCase, state: State, window: Monitored) -> tuple[str, str]:
    """Cause and reason, by what monitoring says of it."""
    before = [w for w in state.history if w.partition < window.partition]
    found = judge_window(use_case.monitoring, window, before)
    return _CAUSES[found.verdict], found.why


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
