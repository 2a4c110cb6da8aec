"""The retraining policy, case by case, and what of it is recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipelines import monitoring
from pipelines.monitoring import Drift, Monitored, Performance
from pipelines.results import to_json
from pipelines.retraining.decision import decide, read_state
from pipelines.retraining.policy import RetrainingDecision, State, judge
from pipelines.use_case import UseCase
from pipelines.workspace import Champion, Kind, StageRun
from tests.conftest import World, changed

DAY = "2024-03-10"
CHAMPION = Champion(1, "2024-03-08", "promoted/2024-03-07/x", "first", "2024-03-08T00:00:00+00:00")


def drift(share: float) -> Drift:
    return Drift(1, share, ("distance",) if share else (), 0.0, {"distance": 0.4 if share else 0.01}, "page.html")


def performance(auc: float | None = 0.8, mean: float = 0.3, labels: int = 500, version: int = 1) -> Performance:
    return Performance(version, 500, labels, auc, 0.5, 0.3, mean, 0.02, 10.0)


def monitored(seen: Performance | None, share: float | None = 0.0, version: int = 1) -> Monitored:
    return Monitored(DAY, version, None if share is None else drift(share), seen)


def state(**values: Any) -> State:
    usual: dict[str, Any] = {"champion": CHAMPION, "champion_auc": 0.8, "monitored": monitored(performance())}
    return State(**{**usual, "partitions_served": 5, "new_labels": 10_000, **values})


MOVED = replace(monitored(performance()), drift=replace(drift(0.0), prediction_drift=0.2))
LOSS = monitored(performance(auc=0.6), share=0.6)
# case -> (state, retrain, cause, words of the reason)
CASES: dict[str, tuple[State, bool, str, str]] = {
    "healthy": (state(), False, "healthy", "no new model"),
    "a small loss": (state(monitored=monitored(performance(auc=0.77))), False, "healthy", "no new model"),
    "drift without loss": (state(monitored=monitored(performance(), share=0.6)), False, "drift", "watched"),
    "the predictions moved": (state(monitored=MOVED), False, "drift", "The predictions have moved by 0.20"),
    "drift with loss": (state(monitored=LOSS), True, "loss", "AUC fell from 0.800 at promotion to 0.600"),
    "loss without drift": (state(monitored=monitored(performance(auc=0.6))), True, "loss", "what they mean has changed"),
    "loss, drift unknown": (state(monitored=monitored(performance(auc=0.6), share=None)), True, "loss", "not measured"),
    "promises too much": (state(monitored=monitored(performance(mean=0.55))), True, "loss", "55.0% were predicted"),
    "promises too little": (state(monitored=monitored(performance(mean=0.05))), True, "loss", "30.0% came true"),
    "cooldown": (state(monitored=LOSS, partitions_served=1), False, "loss", "the cooldown is 1"),
    "too few new labels": (state(monitored=LOSS, new_labels=99), False, "loss", "100 are asked"),
    "no champion": (state(champion=None, monitored=None), False, "unknown", "no champion"),
    "not monitored": (state(monitored=None), False, "unknown", "not monitored"),
    "no outcomes yet": (state(monitored=monitored(None, share=0.9)), False, "unknown", "without them nobody knows"),
    "outcomes without labels": (state(monitored=monitored(performance(None, labels=0))), False, "unknown", "nobody knows"),
    "another version served": (state(monitored=monitored(performance(auc=0.5), version=2)), False, "healthy", "has not served"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_policy_decides(case: str, use_case: UseCase) -> None:
    given, retrain, cause, words = CASES[case]
    decision = judge(use_case, use_case.partition(DAY), given)
    assert (decision.retrain, decision.cause) == (retrain, cause)
    assert words in decision.why
    to_json(decision)


# Section, key -> a case, and another value of the key under which its cause or its answer is another one.
OTHER: dict[tuple[str, str], tuple[str, Any]] = {
    ("monitoring", "max_auc_loss"): ("loss without drift", 0.9),
    ("monitoring", "max_calibration_gap"): ("promises too much", 0.5),
    ("monitoring", "max_drifted_share"): ("drift without loss", 0.9),
    ("monitoring", "max_prediction_drift"): ("the predictions moved", 0.5),
    ("retraining", "cooldown_partitions"): ("cooldown", 0),
    ("retraining", "min_new_labels"): ("too few new labels", 10),
}


@pytest.mark.parametrize(("section", "key"), OTHER)
def test_every_limit_of_the_policy_decides(section: str, key: str, use_case: UseCase) -> None:
    case, value = OTHER[section, key]
    given, retrain, cause, _ = CASES[case]
    other = judge(changed(use_case, section, **{key: value}), use_case.partition(DAY), given)
    assert (other.retrain, other.cause) != (retrain, cause)


@pytest.mark.parametrize("served", [9, 10])
def test_a_champion_grows_too_old_where_the_use_case_says_so(served: int, use_case: UseCase) -> None:
    aging = changed(use_case, "retraining", max_age_partitions=10)
    assert judge(aging, aging.partition(DAY), state(partitions_served=served)).retrain is (served == 10)
    assert not judge(use_case, use_case.partition(DAY), state(partitions_served=served)).retrain


def test_without_a_champion_no_is_recorded_with_its_reason(published: World) -> None:
    decision = decide(StageRun(published.workspace, published.use_case, published.days[5]))
    (row,) = published.workspace.ledger.decisions(published.use_case.name)
    assert not decision.retrain
    assert (row.kind, row.partition, row.why) == (Kind.NOT_RETRAINED, published.days[5].key, decision.why)


def _watch(world: World, seen: Monitored) -> None:
    monitoring.publish(
        StageRun(world.workspace, world.use_case, world.use_case.partition(seen.partition)), seen.drift, seen.performance
    )


def test_the_state_is_read_from_ledger_registry_labels_and_monitoring(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[10]
    found = read_state(StageRun(world.workspace, world.use_case, day))
    assert found.champion is not None
    assert (found.champion.version, found.monitored) == (1, None)
    assert found.partitions_served == 3  # days 8, 9 and 10
    labels = world.workspace.lake.partitions("parcels/labels")
    assert found.new_labels == sum(labels[d.key] for d in world.days[8:11])
    assert found.champion_auc is not None
    assert 0.5 < found.champion_auc < 1


def test_a_decision_is_recorded_once_for_the_same_state_and_again_for_another(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[10]

    def decided_in(run: str) -> RetrainingDecision:
        return decide(StageRun(world.at(run), world.use_case, day))

    def recorded() -> list[tuple[str, str]]:
        kinds = (Kind.RETRAINED, Kind.NOT_RETRAINED)
        return [(d.kind, d.why) for d in world.workspace.ledger.decisions("parcels") if d.kind in kinds]

    unknown = decided_in("one")
    assert decided_in("two") == unknown
    assert recorded() == [("not retrained", unknown.why)]
    _watch(world, Monitored(day.key, 1, drift(0.0), performance(auc=0.9)))
    healthy = decided_in("three")
    assert healthy.cause == "healthy"
    assert recorded() == [("not retrained", unknown.why), ("not retrained", healthy.why)]
    _watch(world, Monitored(day.key, 1, drift(0.9), performance(auc=0.5)))
    lost = decided_in("four")
    assert lost.retrain
    assert recorded()[2:] == [("retrained", lost.why)]


def test_another_partition_s_state_decides_nothing_here(one_champion: World) -> None:
    world = one_champion
    _watch(world, Monitored(world.days[9].key, 1, drift(0.9), performance(auc=0.5)))
    assert decide(StageRun(world.workspace, world.use_case, world.days[10])).cause == "unknown"


def test_predictions_that_moved_too_far_are_drift(use_case: UseCase) -> None:
    """`monitoring.max_prediction_drift`: the inputs look the same, what comes out does not."""
    limit = use_case.monitoring.max_prediction_drift
    found = []
    for distance in (limit, limit * 1.01):
        seen = replace(monitored(performance()), drift=replace(drift(0.0), prediction_drift=distance))
        found.append(judge(use_case, use_case.partition("2024-03-08"), state(monitored=seen)))
    assert [d.cause for d in found] == ["healthy", "drift"]
    assert "The predictions have moved by" in found[1].why
    assert found[1].evidence["prediction_drift"] > limit
