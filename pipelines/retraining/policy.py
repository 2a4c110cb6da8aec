"""The retraining policy: a pure function of state, never of counts of events, to a decision.

The cause comes first: a data fault is mended, not learnt; a loss asks for a new model, and so does an age, a gain that a
challenger has shown, or, where configured, a loss that is forecast; drift without loss is watched. What became of a window
is monitoring's verdict. Then the brakes, see `brakes`: what one held up stays undecided.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pipelines.monitoring import Monitored, Verdict, judge_window
from pipelines.retraining import worth
from pipelines.retraining.brakes import brakes, tried
from pipelines.retraining.state import State
from pipelines.use_case import Partition, UseCase

# In the order in which they speak where there are several windows: what is faulty is not learnt.
_CAUSES = {
    Verdict.DATA_FAULT: "data fault",
    Verdict.DRIFT_WITH_LOSS: "loss",
    Verdict.LOSS_WITHOUT_DRIFT: "loss",
    Verdict.SLICE_LOSS: "slice loss",
    Verdict.DRIFT_WITHOUT_LOSS: "drift",
    Verdict.SEASON: "season",
    Verdict.MENDED: "mended",
    Verdict.TOO_LITTLE: "too little evidence",
    Verdict.HEALTHY: "healthy",
}
_LATER = ("present", "slices_gone", "slice_nulls", "baseline", "season")
_ASKING = ("loss", "age", "gain", "forecast")  # the gravest first; `retraining.reasons` says which of them may start a training


@dataclass(frozen=True)
class RetrainingDecision:
    """`retrain`, and why in plain words; `cause` is one of loss, age, gain, forecast, or what asks for nothing: data fault,
    slice loss, drift, season, mended, too little evidence, healthy, unknown.

    With a yes: the partition, or period, to train on, and the id of the run to start.
    """

    partition: str
    retrain: bool
    cause: str
    why: str
    evidence: dict[str, Any]
    train_on: str | None = None
    training_run: str | None = None


class _Cause(NamedTuple):
    name: str
    why: str
    window: Monitored | None = None


def judge(use_case: UseCase, partition: Partition, state: State) -> RetrainingDecision:
    """The policy, as a pure function of the state: the gravest cause that is accepted and that no brake holds up."""
    causes = _causes(use_case, partition, state)
    accepted = [cause for cause in causes if cause.name in use_case.retraining.reasons]
    held_up = {cause.name: brakes(use_case, cause.name, partition.end, state) for cause in accepted}
    free = [cause for cause in accepted if not held_up[cause.name]]
    cause = (free or accepted or causes)[0]
    told = (
        cause.why,
        _gain_in_words(state, cause.name),
        worth.in_words(use_case, state),
        *_so(state, cause, held_up.get(cause.name)),
    )
    open_still = cause.name == "data fault" or (accepted and not free)
    evidence = _evidence(state, cause.window) | {"cause": cause.name, "decided": {} if open_still else _decided(state)}
    train_on = state.train_on.key if free and state.train_on else None
    return RetrainingDecision(partition.key, bool(free), cause.name, " ".join(filter(None, told)), evidence, train_on)


def _so(state: State, cause: _Cause, held_up: list[str] | None) -> list[str]:
    """What follows from the cause, beyond what it says itself."""
    if held_up:
        return [f"But not now: {' Also: '.join(held_up)}"]
    if cause.name not in _ASKING:
        return []
    if held_up is None:
        return [f"But `retraining.reasons` does not accept {cause.name}: no training."]
    over = "The hold of the rollback is over, as `retraining.hold_until_gain` declares: the gain is sure." if state.held else ""
    return [f"Tried again: {tried(state)}" if state.attempts else "", over]


def _causes(use_case: UseCase, partition: Partition, state: State) -> list[_Cause]:
    """What asks for a training, the gravest first; what asks for nothing, last.

    Of all windows the worst speaks, and of equal ones the newest: what was asked after each of them would have said.
    """
    if state.champion is None:
        return [_Cause("unknown", "There is no champion: a first training is started by hand, not by drift.")]
    found = {}
    for window in state.windows:
        name, why = _judge_window(use_case, state, window)
        found[name] = _Cause(name, _among(state, window, why), window)
    if "data fault" in found:
        return [found["data fault"]]
    limit = use_case.retraining.max_age
    if limit is not None and state.served >= limit:
        found["age"] = _Cause("age", f"The champion has served {state.served.days} days; the use case allows {limit.days}.")
    if worth.worth_it(use_case, state):
        found["gain"] = _Cause("gain", "A new model would be better by more than what is asked.")
    crossing, lead = state.crossing, use_case.retraining.forecast_lead
    if crossing and crossing.expected and crossing.expected <= partition.end + lead:
        found["forecast"] = _Cause("forecast", f"{crossing.words} A new model is needed before.")
    unknown = _Cause(
        "unknown",
        f"No window up to {partition.key} that v{state.champion.version} served is monitored with outcomes and not decided "
        "yet: without them nobody knows whether the model lost.",
    )
    return [found[name] for name in dict.fromkeys((*_ASKING, *_CAUSES.values())) if name in found] or [unknown]


def _judge_window(use_case: UseCase, state: State, window: Monitored) -> tuple[str, str]:
    """Cause and reason, by what monitoring says of it."""
    before = [w for w in state.history if w.partition < window.partition]
    found = judge_window(use_case.monitoring, window, before)
    return _CAUSES[found.verdict], found.short


def _among(state: State, window: Monitored, why: str) -> str:
    keys = [w.partition for w in state.windows]
    return f"{window.partition}: {why}" if len(keys) == 1 else (
        f"{window.partition}, of {len(keys)} windows from {keys[0]} to {keys[-1]}: {why}"
    )  # fmt: skip


def fingerprint(window: Monitored) -> str:
    """Of what was measured: corrected outcomes make another window of it, which is decided anew."""
    told = asdict(window)
    if told["drift"]:  # a window from before there were these is the same as it was
        told["drift"] = {name: value for name, value in told["drift"].items() if value or name not in _LATER}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]


def _decided(state: State) -> dict[str, str]:
    """What needs no further decision."""
    return {window.partition: fingerprint(window) for window in state.windows}


def _gain_in_words(state: State, cause: str) -> str:
    gain = state.gain
    if gain is None:
        asks = state.champion and cause in _ASKING
        return f"What a new model would gain could not be estimated: {state.no_gain}." if asks else ""
    return (
        f"A challenger that has not seen {gain.window} saves {gain.mean:+.4f} of log loss per row on it, "
        f"{gain.low:+.4f} to {gain.high:+.4f} ({gain.rows:,} rows)."
    )


def _evidence(state: State, window: Monitored | None) -> dict[str, Any]:
    seen, drift = (window.performance, window.drift) if window else (None, None)
    return {
        "champion": state.champion.version if state.champion else None,
        "champion_since": state.champion.decision if state.champion else None,
        "champion_auc": state.champion_auc,
        "served_days": state.served.days,
        "new_labels": state.new_labels,
        "gain": asdict(state.gain) if state.gain else None,
        "attempts": [attempt.run for attempt in state.attempts],
        "windows": [w.partition for w in state.windows],
        "performance": asdict(seen) if seen else None,
        "drifted_share": drift.drifted_share if drift else None,
        "prediction_drift": drift.prediction_drift if drift else None,
    }
