"""The verdict on a window, on simulated outcomes of known probabilities: every verdict in both directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from pipelines.metrics import deviations
from pipelines.monitoring import Drift, Monitored, Performance, Verdict, judge_window
from pipelines.monitoring.observations import Reference, Slice
from pipelines.monitoring.performance import by_partition
from pipelines.monitoring.promise import slices
from pipelines.use_case.monitoring import Monitoring

SETTINGS = Monitoring()
LOSS = (Verdict.DRIFT_WITH_LOSS, Verdict.LOSS_WITHOUT_DRIFT)
CALM = Drift(
    1, 0.0, (), 0.0, {"distance": 0.01}, "page", sources={"distance": "shipments", "age": "planes"}, rows=700, partitions=7
)
DRIFTED = replace(CALM, drifted_share=0.6, drifted=("distance",), distances={"distance": 0.4})
Change = Callable[[Any], Any]


def doubled(p: Any) -> Any:
    return np.minimum(2 * p, 0.98)


def flipped(p: Any) -> Any:
    """For a third of the rows the label means the opposite."""
    return np.where(np.arange(len(p)) % 3 == 0, 1 - p, p)


def window(
    random: np.random.Generator,
    key: str,
    rows: int,
    days: int = 1,
    change: Change | None = None,
    weather: float = 0.0,
    odds: float = 1.1,
) -> Monitored:
    """Outcomes by the very probabilities that were served, unless changed; days differ by `weather` (log odds)."""
    p = 1 / (1 + np.exp(odds + random.normal(0, 0.9, rows * days)))
    day = np.repeat(np.arange(days), rows)
    true = 1 / (1 + (1 - p) / p * np.exp(-random.normal(0, weather, days)[day]))
    y = (random.random(len(p)) < (change(true) if change else true)).astype(float)
    found = {name: by_partition(measure, day) for name, measure in deviations(y, p).items()}
    seen = Performance(1, len(p), len(p), None, None, None, None, None, None, found)
    return Monitored(key, 1, CALM, seen)


def day(number: int) -> str:
    return (date(2024, 1, 1) + timedelta(number)).isoformat()


def served(random: np.random.Generator, rows: int, days: int, **how: Any) -> list[Monitored]:
    return [window(random, day(number), rows, **how) for number in range(days)]


def verdicts(windows: list[Monitored], settings: Monitoring = SETTINGS) -> list[Verdict]:
    return [judge_window(settings, w, windows[:number]).verdict for number, w in enumerate(windows)]


@pytest.mark.parametrize("runs", [40])
def test_days_of_six_rows_are_too_few_to_say(runs: int) -> None:
    random = np.random.default_rng(0)
    for _ in range(runs):
        assert set(verdicts(served(random, 6, 11))) == {Verdict.TOO_LITTLE}


@pytest.mark.parametrize("weather", [0.0, 0.4])
def test_unchanged_days_raise_alarms_at_most_at_the_declared_rate(weather: float) -> None:
    """Thirty days of 120 rows, 200 times: at 5 % a year 0.8 of them; 3 leave room for chance."""
    random, runs = np.random.default_rng(1), 200
    alarms = sum(bool(set(verdicts(served(random, 120, 30, weather=weather))) & set(LOSS)) for _ in range(runs))
    assert alarms <= 3


def test_the_declared_rate_of_false_alarms_is_obeyed() -> None:
    """The same window: a loss where many false alarms are accepted, none where few are."""
    random = np.random.default_rng(2)
    windows = served(random, 200, 20)
    last = window(random, day(20), 200, change=doubled)
    found = [judge_window(SETTINGS.model_copy(update={"false_alarms": rate}), last, windows).verdict for rate in (0.99, 1e-6)]
    assert found[0] in LOSS
    assert found[1] not in LOSS


@pytest.mark.parametrize("change", [doubled, flipped])
@pytest.mark.parametrize(("rows", "days", "before"), [(900, 7, 0), (900, 7, 4), (1000, 1, 20)])
def test_a_changed_meaning_is_found_within_two_labelled_windows(change: Change, rows: int, days: int, before: int) -> None:
    random = np.random.default_rng(3)
    for _ in range(5):
        keys = [f"2024-W{number + 1:02d}" if days > 1 else day(number) for number in range(before + 2)]
        windows = [window(random, k, rows, days, change if n >= before else None, 0.1) for n, k in enumerate(keys)]
        found = verdicts(windows)
        assert not set(found[:before]) & set(LOSS)
        assert set(found[before:]) & set(LOSS)


def test_days_that_differ_are_no_loss_and_rows_of_a_day_are_not_independent() -> None:
    """One bad day of weather among thirty: 120 rows that all hang together are less than 120 rows."""
    random = np.random.default_rng(4)
    windows = served(random, 120, 30, weather=0.6)
    stormy = window(random, day(30), 120, change=lambda p: p**0.4)
    assert judge_window(SETTINGS, stormy, windows).verdict not in LOSS
    calm = served(random, 120, 30)
    assert judge_window(SETTINGS, stormy, calm).verdict in LOSS


def test_what_was_lost_before_is_no_loss_of_a_window_that_is_as_promised() -> None:
    random = np.random.default_rng(5)
    windows = [window(random, f"2024-W{n + 1:02d}", 150, 7, doubled if n > 3 else None) for n in range(6)]
    assert set(verdicts(windows)[4:]) <= set(LOSS)
    after = window(random, "2024-W07", 150, 7)
    assert judge_window(SETTINGS, after, windows).verdict not in LOSS


def test_a_slow_loss_is_found_by_many_windows_that_show_nothing_each() -> None:
    random = np.random.default_rng(11)
    weeks = [f"2024-W{n + 1:02d}" for n in range(20)]
    windows = [window(random, week, 20, 7, (lambda p: 1.5 * p) if n > 5 else None) for n, week in enumerate(weeks)]
    found = verdicts(windows)
    assert not set(found[:7]) & set(LOSS)
    assert set(found[7:]) & set(LOSS)
    assert not any(judge_window(SETTINGS, w, []).verdict in LOSS for w in windows)


def test_rare_outcomes_in_few_rows_are_no_loss() -> None:
    """Two of six where two in a hundred were promised are five standard errors, and come once in 200 days."""
    random = np.random.default_rng(12)
    for _ in range(20):
        assert not set(verdicts(served(random, 6, 60, odds=4.0))) & set(LOSS)


def test_what_another_version_served_proves_nothing_about_this_one() -> None:
    random = np.random.default_rng(6)
    windows = served(random, 120, 20)
    others = [replace(w, performance=replace(w.performance, model_version=2)) for w in windows[:19]]
    assert judge_window(SETTINGS, windows[-1], windows[:19]).verdict is Verdict.HEALTHY
    assert judge_window(SETTINGS, windows[-1], others).verdict is Verdict.TOO_LITTLE


def test_too_little_evidence_says_how_much_more() -> None:
    random = np.random.default_rng(7)
    (only,) = served(random, 300, 1)
    found = judge_window(SETTINGS, window(random, "2024-W02", 40, 7), [])
    assert found.verdict is Verdict.TOO_LITTLE
    assert found.missing_labels
    assert found.why.endswith("which may be chance; more than 52 windows like it would tell.")
    enough = window(random, "2024-W02", 40 + found.missing_labels // 7 * 2, 7)
    assert judge_window(SETTINGS, enough, []).verdict is Verdict.HEALTHY
    no_outcomes = judge_window(SETTINGS, replace(only, performance=None), [])
    assert (no_outcomes.verdict, no_outcomes.missing_labels) == (Verdict.TOO_LITTLE, None)


FIRST = Reference("the training rows of the first champion, v1", ("age",), 0.6, 0.0)
YEAR_AGO = Reference("a year ago, 2023-W20", (), 0.0, 0.0)
GOOD, BAD = (window(np.random.default_rng(8), "2024-W20", 900, 7, change) for change in (None, doubled))


@pytest.mark.parametrize(
    ("seen", "drift", "verdict"),
    [
        (GOOD, CALM, Verdict.HEALTHY),
        (GOOD, DRIFTED, Verdict.DRIFT_WITHOUT_LOSS),
        (GOOD, replace(CALM, prediction_drift=0.2), Verdict.DRIFT_WITHOUT_LOSS),
        (GOOD, replace(CALM, told_apart=0.9, told_apart_noise=0.6), Verdict.DRIFT_WITHOUT_LOSS),
        (GOOD, replace(CALM, told_apart=0.9, told_apart_noise=0.8), Verdict.HEALTHY),
        (BAD, CALM, Verdict.LOSS_WITHOUT_DRIFT),
        (BAD, DRIFTED, Verdict.DRIFT_WITH_LOSS),
        (BAD, None, Verdict.LOSS_WITHOUT_DRIFT),
        (BAD, replace(CALM, nulls={"age": 0.5}), Verdict.DATA_FAULT),
        (BAD, replace(CALM, nulls={"age": -0.5}), Verdict.LOSS_WITHOUT_DRIFT),
        (GOOD, replace(CALM, nulls={"age": 0.05}), Verdict.HEALTHY),
        (GOOD, replace(CALM, unseen={"age": 0.5}), Verdict.DATA_FAULT),
        (GOOD, replace(CALM, unseen={"age": 0.05}), Verdict.HEALTHY),
        (GOOD, replace(CALM, factors={"distance": 1.609}), Verdict.DATA_FAULT),
        (GOOD, replace(CALM, slices_gone={"depot north": 0.3}), Verdict.DATA_FAULT),
        (GOOD, replace(CALM, slice_nulls={"depot north": {"age": 0.5}}), Verdict.DATA_FAULT),
        (GOOD, replace(CALM, slice_nulls={"depot north": {"age": 0.05}}), Verdict.HEALTHY),
        (GOOD, replace(CALM, baseline=FIRST), Verdict.DRIFT_WITHOUT_LOSS),
        (GOOD, replace(CALM, baseline=replace(FIRST, drifted_share=0.1)), Verdict.HEALTHY),
        (GOOD, replace(CALM, baseline=replace(FIRST, drifted_share=0.0, missing="gone")), Verdict.HEALTHY),
        (BAD, replace(CALM, baseline=FIRST), Verdict.LOSS_WITHOUT_DRIFT),
        (GOOD, replace(DRIFTED, season=YEAR_AGO), Verdict.SEASON),
        (GOOD, replace(CALM, season=YEAR_AGO), Verdict.HEALTHY),
        (GOOD, replace(CALM, season=YEAR_AGO, baseline=FIRST), Verdict.SEASON),
        (GOOD, replace(DRIFTED, season=replace(YEAR_AGO, prediction_drift=0.2)), Verdict.DRIFT_WITHOUT_LOSS),
        (GOOD, replace(DRIFTED, season=replace(YEAR_AGO, missing="gone")), Verdict.DRIFT_WITHOUT_LOSS),
        (BAD, replace(DRIFTED, season=YEAR_AGO), Verdict.DRIFT_WITH_LOSS),
    ],
)
def test_cause_first(seen: Monitored, drift: Drift | None, verdict: Verdict) -> None:
    found = judge_window(SETTINGS, replace(seen, drift=drift), [])
    assert found.verdict is verdict
    assert verdict.capitalize() in found.why
    if verdict is Verdict.DATA_FAULT and drift and drift.nulls:
        assert found.drivers[:2] == ("planes", "age")
        assert "planes: rows without a value: age +50%" in found.why


def test_other_references_are_told_by_name_and_drive_the_verdict() -> None:
    found = judge_window(SETTINGS, replace(GOOD, drift=replace(CALM, baseline=FIRST)), [])
    assert found.drivers == ("age",)
    assert "Against the training rows of the first champion, v1: age moved, the predictions by 0.00." in found.why
    gone = replace(CALM, baseline=replace(FIRST, drifted_share=0.0, missing="v1 is gone"))
    assert (
        "Not compared with the training rows of the first champion, v1: v1 is gone."
        in judge_window(SETTINGS, replace(GOOD, drift=gone), []).why
    )
    assert "As a year ago, 2023-W20." in judge_window(SETTINGS, replace(GOOD, drift=replace(DRIFTED, season=YEAR_AGO)), []).why


def test_a_fault_of_one_slice_is_told_once_and_names_it() -> None:
    drift = replace(CALM, slice_nulls={"depot north": {"age": 0.5}}, slices_gone={"depot east": 0.3})
    found = judge_window(SETTINGS, replace(GOOD, drift=drift), [])
    assert found.drivers[:5] == ("volume", "depot east", "planes", "age", "depot north")
    assert "depot east: not a row, of usually 30%." in found.why
    assert "planes: rows without a value where depot north: age +50%." in found.why
    everywhere = judge_window(SETTINGS, replace(GOOD, drift=replace(drift, nulls={"age": 0.4})), [])
    assert "where depot north" not in everywhere.why


def of_slices(window: Monitored, *given: Slice) -> Monitored:
    assert window.performance
    return replace(window, performance=replace(window.performance, slices={"excess_loss": given}))


def test_a_loss_of_one_slice_is_an_alarm_that_is_corrected_over_slices() -> None:
    """One that is beyond doubt by itself is not among forty; nor does it ask for a new model, as the whole does."""
    lost, calm = Slice("depot north", 300, 0.0, 1e-6, 1e-3), Slice("depot", 300, 0.0, 1e-6, 1e-3)
    (_, estimate), *_ = slices(of_slices(GOOD, lost), [], "excess_loss")
    chance = SETTINGS.false_alarms * 7 / 365 / 5 / 3
    half = (estimate.half_width(chance) + estimate.half_width(chance / 40)) / 2
    lost = replace(lost, value=SETTINGS.max_excess_loss + half)
    found = judge_window(SETTINGS, of_slices(GOOD, lost), [])
    assert (found.verdict, found.drivers) == (Verdict.SLICE_LOSS, ("depot north",))
    assert "Worst where depot north (+" in found.why
    assert judge_window(SETTINGS, of_slices(GOOD, lost, *[calm] * 39), []).verdict is Verdict.HEALTHY
    within = replace(lost, value=SETTINGS.max_excess_loss)
    assert judge_window(SETTINGS, of_slices(GOOD, within), []).verdict is Verdict.HEALTHY
    assert judge_window(SETTINGS, of_slices(BAD, lost), []).verdict in LOSS, "the whole speaks first"


def _weeks(rows: int, last: int) -> list[Monitored]:
    found = [replace(GOOD, partition=f"2024-W{number:02d}", drift=replace(CALM, rows=rows + number)) for number in range(1, 9)]
    return [*found, replace(GOOD, partition="2024-W09", drift=replace(CALM, rows=last))]


@pytest.mark.parametrize(
    ("last", "verdict"),
    [(1400, Verdict.DATA_FAULT), (340, Verdict.DATA_FAULT), (1000, Verdict.HEALTHY), (500, Verdict.HEALTHY)],
)
def test_a_feed_that_doubled_or_halved_is_a_fault(last: int, verdict: Verdict) -> None:
    *before, now = _weeks(700, last)
    assert judge_window(SETTINGS, now, before).verdict is verdict
    assert judge_window(SETTINGS, now, before[:1]).verdict is Verdict.HEALTHY, "a week says little of what is usual"
    seasonal = [replace(before[0], drift=replace(CALM, rows=last)), *before[1:]]
    assert judge_window(SETTINGS, now, seasonal).verdict is Verdict.HEALTHY, "it was there before"


def test_a_fault_that_a_person_accepted_by_name_is_none() -> None:
    *before, now = _weeks(700, 1400)
    accepted = SETTINGS.model_copy(update={"accepted_faults": ("2024-W09",)})
    assert judge_window(accepted, now, before).verdict is Verdict.HEALTHY


def test_a_window_as_a_year_ago_is_the_season() -> None:
    """Both missed their promise alike, and drifted alike; one that did so differently, or not at all, excuses nothing."""
    then = replace(BAD, partition="2023-W20", drift=DRIFTED)
    now = replace(window(np.random.default_rng(9), "2024-W20", 900, 7, doubled), drift=DRIFTED)
    assert judge_window(SETTINGS, now, [then]).verdict is Verdict.SEASON
    for other in (
        replace(GOOD, partition="2023-W20", drift=DRIFTED),
        replace(then, drift=CALM),
        replace(then, partition="2023-W21"),
    ):
        assert judge_window(SETTINGS, now, [other]).verdict is Verdict.DRIFT_WITH_LOSS


LIMITS = {
    "max_excess_loss": (BAD, CALM, 0.9), "max_calibration_gap": (BAD, CALM, 0.9), "max_auc_loss": (None, CALM, 0.9),
    "max_null_change": (GOOD, replace(CALM, nulls={"age": 0.5}), 0.9),
    "max_unseen_share": (GOOD, replace(CALM, unseen={"age": 0.5}), 0.9),
    "max_told_apart": (GOOD, replace(CALM, told_apart=0.9, told_apart_noise=0.6), 0.5),
}  # fmt: skip


@pytest.mark.parametrize("key", LIMITS)
def test_every_limit_of_the_verdict_alone_turns_it(key: str) -> None:
    """The measure that it limits is the only one that there is."""
    seen, drift, value = LIMITS[key]
    seen = seen or window(np.random.default_rng(10), "2024-W20", 900, 7, flipped)
    assert seen.performance
    only = {name: d for name, d in seen.performance.deviations.items() if name == key.replace("max_", "", 1)}
    given = replace(seen, drift=drift, performance=replace(seen.performance, deviations=only or seen.performance.deviations))
    other = SETTINGS.model_copy(update={key: value})
    assert judge_window(SETTINGS, given, []).verdict is not Verdict.HEALTHY
    assert judge_window(other, given, []).verdict is Verdict.HEALTHY


def test_the_volume_s_ratio_is_declared() -> None:
    *before, now = _weeks(700, 1400)
    assert judge_window(SETTINGS.model_copy(update={"max_volume_ratio": 3.0}), now, before).verdict is Verdict.HEALTHY


def test_where_nothing_is_to_be_done_it_says_so_in_one_line() -> None:
    windows = served(np.random.default_rng(6), 120, 20)
    quiet = judge_window(SETTINGS, windows[-1], windows[:19])
    assert quiet.short == "Healthy: the predictions are as good as promised: no new model." != quiet.why
    assert windows[-1].drift
    moved = replace(windows[-1], drift=replace(windows[-1].drift, prediction_drift=0.9))
    told = judge_window(SETTINGS, moved, windows[:19])
    assert told.short == told.why
    assert "have moved by 0.90" in told.short
    unknown = replace(windows[-1], drift=replace(windows[-1].drift, not_compared=("distance",)))
    assert "does not know distance: not compared" in judge_window(SETTINGS, unknown, windows[:19]).short
    assert "Drift was not measured" in judge_window(SETTINGS, replace(windows[-1], drift=None), windows[:19]).short
