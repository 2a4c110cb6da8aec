"""The retraining policy, case by case, and what of it is recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from pipelines import monitoring
from pipelines.monitoring import Deviation, Drift, Monitored, Performance
from pipelines.results import to_json
from pipelines.retraining import record_start
from pipelines.retraining.decision import decide, read_state
from pipelines.retraining.policy import RetrainingDecision, fingerprint, judge
from pipelines.retraining.state import State
from pipelines.use_case import Grain, Partition, UseCase
from pipelines.workspace import Champion, Kind, StageRun
from tests.conftest import World, changed

DAY = "2024-03-10"
ON = Partition.parse("2024-03-20", Grain.DAY)
CHAMPION = Champion(1, "2024-03-08", "promoted/2024-03-07/x", "first", "2024-03-08T00:00:00+00:00")


def drift(share: float) -> Drift:
    return Drift(1, share, ("distance",) if share else (), 0.0, {"distance": 0.4 if share else 0.01}, "page.html")


def performance(auc: float | None = 0.8, mean: float = 0.3, labels: int = 500, version: int = 1) -> Performance:
    gone = {"excess_loss": 0.0, "calibration_gap": mean - 0.3} | ({} if auc is None else {"auc_loss": 0.8 - auc})
    known = {name: Deviation(value, 1e-4, ((10, 10 * value, 1e-4),) * 50) for name, value in gone.items()}
    return Performance(version, 500, labels, auc, 0.5, 0.3, mean, 0.02, 10.0, known)


def monitored(seen: Performance | None, share: float | None = 0.0, version: int = 1, key: str = DAY) -> Monitored:
    return Monitored(key, version, None if share is None else drift(share), seen)


def state(**values: Any) -> State:
    usual: dict[str, Any] = {"champion": CHAMPION, "champion_auc": 0.8, "windows": (monitored(performance()),)}
    usual |= {"served": timedelta(days=5), "new_labels": 10_000, "train_on": ON, "trained_until": date(2024, 3, 8)}
    return State(**usual | values)


MOVED = replace(monitored(performance()), drift=replace(drift(0.0), prediction_drift=0.2))
LOSS = monitored(performance(auc=0.6), share=0.6)
FAULT = replace(LOSS, partition="2024-03-09", drift=replace(drift(0.6), nulls={"distance": 0.9}))
FEW = monitored(replace(performance(), deviations={"calibration_gap": Deviation(0.0, 1.0, ((20, 0.0, 4.0),))}))
DAYS = tuple((900, 135.0 + change, 180.0) for change in (-80, 80) * 7)
MAYBE = monitored(replace(performance(), labels=12_600, deviations={"calibration_gap": Deviation(0.15, 1.0, DAYS)}))
MAYBE_WORDS = (
    "+15.0% predicted beyond what came true (± 15.2%, 12,600 labels; 10.0% is allowed), which may be chance; about 103,641 "
    "more labels, 8 windows like it, would tell."
)
# case -> (state, retrain, cause, words of the reason)
CASES: dict[str, tuple[State, bool, str, str]] = {
    "healthy": (state(), False, "healthy", "no new model"),
    "a small loss": (state(windows=(monitored(performance(auc=0.77)),)), False, "healthy", "no new model"),
    "drift without loss": (state(windows=(monitored(performance(), share=0.6),)), False, "drift", "watched"),
    "the predictions moved": (state(windows=(MOVED,)), False, "drift", "The predictions have moved by 0.20"),
    "drift with loss": (state(windows=(LOSS,)), True, "loss", "AUC 0.200 below what was promised"),
    "loss without drift": (state(windows=(monitored(performance(auc=0.6)),)), True, "loss", "what they mean has changed"),
    "loss, drift unknown": (state(windows=(monitored(performance(auc=0.6), share=None),)), True, "loss", "not measured"),
    "promises too much": (state(windows=(monitored(performance(mean=0.55)),)), True, "loss", "+25.0% predicted beyond"),
    "promises too little": (state(windows=(monitored(performance(mean=0.05)),)), True, "loss", "-25.0% predicted beyond"),
    "a data fault": (state(windows=(FAULT, LOSS)), False, "data fault", "mend the data"),
    "too little evidence": (state(windows=(FEW,)), False, "too little evidence", "more labels, 7 windows like it, are needed"),
    "beyond the limit by chance": (state(windows=(MAYBE,)), False, "too little evidence", MAYBE_WORDS),
    "cooldown": (state(windows=(LOSS,), served=timedelta(days=1)), False, "loss", "the cooldown is 1"),
    "too few new labels": (state(windows=(LOSS,), new_labels=99), False, "loss", "100 are asked"),
    "under way": (state(windows=(LOSS,), under_way="training x is under way."), False, "loss", "not now: training x"),
    "no champion": (State(), False, "unknown", "no champion"),
    "nothing to decide": (state(windows=()), False, "unknown", "nobody knows whether the model lost"),
    "a loss among others": (state(windows=(LOSS, monitored(performance(), key="2024-03-11"))), True, "loss", f"{DAY}, of 2"),
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
    ("retraining", "cooldown"): ("cooldown", timedelta(0)),
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
    """Also where nothing is monitored: what nobody knows anything of grows old all the same."""
    aging = changed(use_case, "retraining", max_age=timedelta(days=10))
    for windows in ((monitored(performance()),), ()):
        given = state(served=timedelta(days=served), windows=windows)
        assert judge(aging, aging.partition(DAY), given).retrain is (served == 10)
        assert not judge(use_case, use_case.partition(DAY), given).retrain


@pytest.mark.parametrize(("day", "retrain"), [("2024-03-09", False), ("2024-03-10", True)])
def test_no_training_is_started_whose_champion_has_seen_its_holdout(day: str, retrain: bool, use_case: UseCase) -> None:
    """Trained through the seventh, three days of holdout: possible once the tenth has its outcomes, as the gate sees it."""
    found = judge(use_case, ON, state(windows=(LOSS,), train_on=use_case.partition(day)))
    assert found.retrain is retrain
    plan = use_case.partition(day).end - timedelta(days=use_case.training.holdout_days)
    assert retrain is (plan.isoformat() > "2024-03-07")  # what gates/evaluation.py asks
    if not retrain:
        assert "trained through 2024-03-07 and has seen days of the holdout" in found.why
        assert "possible with outcomes through 2024-03-10" in found.why
        assert not judge(use_case, ON, state(windows=(LOSS,), train_on=None)).retrain


def test_what_a_brake_held_up_stays_undecided(use_case: UseCase) -> None:
    healthy, held = state(), state(windows=(LOSS,), new_labels=0)
    assert list(judge(use_case, ON, healthy).evidence["decided"]) == [DAY]
    assert judge(use_case, ON, held).evidence["decided"] == {}
    faulty = state(windows=(FAULT, LOSS), served=timedelta(days=99))
    aging = changed(use_case, "retraining", max_age=timedelta(days=10))
    assert judge(aging, ON, replace(faulty, windows=(FAULT,))).cause == "data fault"
    assert judge(aging, ON, faulty).evidence["decided"] == {}, "neither the fault nor the loss beside it"
    accepted = changed(use_case, "monitoring", accepted_faults=("2024-03-09",))
    assert judge(accepted, ON, faulty).retrain


def test_windows_before_make_few_labels_enough(use_case: UseCase) -> None:
    before = tuple(replace(FEW, partition=f"2024-02-{day:02d}") for day in range(1, 29))
    assert judge(use_case, ON, state(windows=(FEW,), history=(*before, FEW))).cause == "healthy"


def test_without_a_champion_no_is_recorded_with_its_reason(published: World) -> None:
    decision = decide(StageRun(published.workspace, published.use_case, published.days[5]))
    (row,) = published.workspace.ledger.decisions(published.use_case.name)
    assert not decision.retrain
    assert (row.kind, row.partition, row.why) == (Kind.NOT_RETRAINED, published.days[5].key, decision.why)


def _watch(world: World, seen: Monitored) -> None:
    monitoring.publish(
        StageRun(world.workspace, world.use_case, world.use_case.period(seen.partition)), seen.drift, seen.performance
    )


def _read(world: World, number: int, use_case: UseCase | None = None) -> State:
    run = StageRun(world.workspace, use_case or world.use_case, world.days[number])
    ledger = world.workspace.ledger
    return read_state(run, ledger.champion("parcels"), ledger.decisions("parcels"))


def test_the_state_is_read_from_ledger_registry_labels_and_monitoring(one_champion: World) -> None:
    world = one_champion
    found = _read(world, 10)
    assert found.champion is not None
    assert (found.champion.version, found.windows, found.under_way, found.attempts, found.held) == (1, (), None, (), None)
    assert found.served == timedelta(days=3)  # days 8, 9 and 10
    labels = world.workspace.lake.partitions("parcels/labels")
    assert found.new_labels == sum(labels[d.key] for d in world.days[8:11])
    assert (found.trained_until, found.train_on) == (world.days[7].end, world.days[10])
    assert found.champion_auc is not None
    assert 0.5 < found.champion_auc < 1


def _decided_in(world: World, run: str, number: int) -> RetrainingDecision:
    return decide(StageRun(world.at(run), world.use_case, world.days[number]))


def _recorded(world: World) -> list[tuple[str, str]]:
    kinds = (Kind.STARTED, Kind.NOT_RETRAINED)
    return [(d.kind, d.why) for d in world.workspace.ledger.decisions("parcels") if d.kind in kinds]


def test_a_decision_is_recorded_once_for_the_same_state_and_again_for_another(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[10]
    unknown = _decided_in(world, "one", 10)
    assert _decided_in(world, "two", 10) == unknown
    assert _recorded(world) == [("not retrained", unknown.why)]
    _watch(world, Monitored(day.key, 1, drift(0.0), performance(auc=0.9)))
    healthy = _decided_in(world, "three", 10)
    assert healthy.cause == "healthy"
    assert _decided_in(world, "again", 10) == healthy
    assert _recorded(world) == [("not retrained", unknown.why), ("not retrained", healthy.why)]
    _watch(world, Monitored(day.key, 1, drift(0.9), performance(auc=0.5)))
    lost = _decided_in(world, "four", 10)
    assert (lost.retrain, lost.train_on, lost.training_run) == (True, day.key, f"retraining__{day.key}__1")
    assert len(_recorded(world)) == 2, "not before it was started"
    record_start(StageRun(world.at("four"), world.use_case, day), lost)
    assert _recorded(world)[2:] == [("training started", lost.why)]


def test_labels_that_came_after_the_cron_are_decided_by_the_next_one(one_champion: World) -> None:
    """Planted: when day 9 was asked about, it had no outcomes yet."""
    world = one_champion
    assert _decided_in(world, "cron 9", 9).cause == "unknown"
    _watch(world, Monitored(world.days[9].key, 1, drift(0.0), performance(auc=0.9)))
    found = _decided_in(world, "cron 11", 11)
    assert (found.cause, found.evidence["windows"]) == ("healthy", [world.days[9].key])
    assert found.why.startswith(f"{world.days[9].key}: ")
    nothing = _decided_in(world, "cron 12", 12)
    assert (nothing.cause, nothing.evidence["windows"]) == ("unknown", [])


def test_what_is_asked_about_a_past_partition_looks_at_nothing_later(one_champion: World) -> None:
    world = one_champion
    _watch(world, Monitored(world.days[11].key, 1, drift(0.9), performance(auc=0.5)))
    found = _decided_in(world, "back then", 10)
    assert found.cause == "unknown"


def test_what_another_version_served_says_nothing_of_this_one(one_champion: World) -> None:
    world = one_champion
    _watch(world, Monitored(world.days[10].key, 2, drift(0.9), performance(auc=0.5, version=2)))
    _watch(world, Monitored(world.days[9].key, 1, drift(0.9), None))
    _watch(world, Monitored(world.days[11].key, 1, drift(0.9), performance(auc=None, labels=0)))
    before = Monitored(world.days[7].key, 1, drift(0.9), performance(auc=0.5))
    _watch(world, before)  # it served then too, and came back by a rollback
    assert _decided_in(world, "one", 12).cause == "unknown"


def test_a_monthly_cron_over_days_asks_about_all_that_is_undecided(one_champion: World) -> None:
    """The tick is on a day that has not ended; a loss on one of the days before is not passed over."""
    world, monthly = one_champion, world_month(one_champion)
    for number in (8, 9, 10):
        _watch(world, Monitored(world.days[number].key, 1, drift(0.0), performance(auc=0.6 if number == 9 else 0.9)))
    for tick in (world.days[11], monthly):
        world.workspace.clock.set(world.days[11].starts_at("UTC") + timedelta(hours=6))
        found = decide(StageRun(world.workspace, world.use_case, tick))
        if tick is not monthly:
            assert (found.partition, found.train_on) == (world.days[10].key, world.days[10].key)
            assert found.evidence["windows"] == [d.key for d in world.days[8:11]]
            assert found.why.startswith(f"{world.days[9].key}, of 3 windows from {world.days[8].key} to {world.days[10].key}: ")
        else:
            assert (found.partition, found.evidence["windows"]) == (monthly.previous.key, []), "March has not ended"
    world.workspace.clock.set(monthly.ends_at("UTC"))
    found = decide(StageRun(world.workspace, world.use_case, monthly))
    assert (found.partition, found.train_on, found.retrain) == (monthly.key, world.days[13].key, True)


def test_a_window_longer_than_a_partition_is_decided_as_one(one_champion: World) -> None:
    """What was measured by days before the window was declared is not judged by its limits."""
    weekly = changed(one_champion.use_case, "monitoring", window=Grain.WEEK)
    world = replace(one_champion, use_case=weekly)
    _watch(world, Monitored(world.days[9].key, 1, drift(0.0), performance(auc=0.5)))
    assert _decided_in(world, "Sunday", 10).cause == "unknown"
    _watch(world, Monitored("2024-W10", 1, drift(0.0), performance(auc=0.6)))
    assert _decided_in(world, "before it ended", 8).cause == "unknown"
    found = _decided_in(world, "after it", 11)
    assert (found.retrain, found.evidence["windows"]) == (True, ["2024-W10"])


def world_month(world: World) -> Partition:
    return Partition.of(world.days[10].start, Grain.MONTH)


def test_outcomes_that_were_corrected_are_decided_anew(one_champion: World) -> None:
    world = one_champion
    _watch(world, Monitored(world.days[9].key, 1, drift(0.0), performance(auc=0.9)))
    assert _decided_in(world, "one", 9).cause == "healthy"
    _watch(world, Monitored(world.days[9].key, 1, drift(0.0), performance(auc=0.5)))
    assert _decided_in(world, "two", 10).retrain


def test_predictions_that_moved_too_far_are_drift(use_case: UseCase) -> None:
    """`monitoring.max_prediction_drift`: the inputs look the same, what comes out does not."""
    limit = use_case.monitoring.max_prediction_drift
    found = []
    for distance in (limit, limit * 1.01):
        seen = replace(monitored(performance()), drift=replace(drift(0.0), prediction_drift=distance))
        found.append(judge(use_case, use_case.partition("2024-03-08"), state(windows=(seen,))))
    assert [d.cause for d in found] == ["healthy", "drift"]
    assert "The predictions have moved by" in found[1].why
    assert found[1].evidence["prediction_drift"] > limit


def test_a_window_that_was_decided_by_an_earlier_version_of_this_code_is_the_same_window() -> None:
    """The digest is of the code before there were further references: its windows are not decided again."""
    drift = Drift(1, 0.0, (), 0.0, {"distance": 0.01}, "page")
    window = Monitored("2024-03-09", 1, drift, Performance(1, 9, 9, None, None, None, None, None, None))
    assert fingerprint(window) == "8d24ad6a"
    assert fingerprint(replace(window, drift=replace(drift, slices_gone={"depot north": 0.3}))) != "8d24ad6a"
