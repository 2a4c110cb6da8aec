"""The forecast of a loss: when its level crosses the limit, an interval that keeps what it states, and no word too early."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from benchmarks.loss_forecast import CROSSING, KINDS, SLACK, UNTOLD, share, simulate
from pipelines.monitoring import Crossing, Performance, forecast, forecast_loss, publish
from pipelines.use_case import Grain, UseCase
from pipelines.workspace import Decision, Kind, StageRun, Workspace
from tests.conftest import changed

MONDAY, WEEK = date(2024, 1, 1), timedelta(days=7)


def weeks(losses: Any) -> list[tuple[date, float]]:
    return [(MONDAY + week * WEEK, float(loss)) for week, loss in enumerate(losses)]


def noisy(count: int, slope: float, noise: float = 0.004, seed: int = 0) -> list[tuple[date, float]]:
    return weeks(0.45 + slope * np.arange(count) + np.random.default_rng(seed).normal(0, noise, count))


def foretold(history: list[tuple[date, float]], threshold: float = 0.5, coverage: float = 0.8, days: int = 180) -> Crossing:
    return forecast(history, threshold, coverage, days, seed=0)


def inside(count: int) -> tuple[dict[str, float], float]:
    """The share of series whose interval held the crossing, by kind, and over all kinds that cross."""
    kinds = {kind: share(simulate(kind, 0.8, 0, i).inside for i in range(count)) for kind in KINDS if kind != UNTOLD}
    return kinds, float(np.mean([kinds[kind] for kind in CROSSING]))


def test_an_interval_holds_the_crossing_as_often_as_it_says() -> None:
    kinds, together = inside(12)
    assert 0.8 - SLACK <= together <= 0.8 + SLACK, kinds


@pytest.mark.long
def test_coverage_is_kept_within_ten_points_on_500_series_and_by_kind() -> None:
    kinds, together = inside(72)
    assert len(kinds) * 72 >= 500
    assert min(kinds.values()) >= 0.8 - SLACK, kinds
    assert together <= 0.8 + SLACK, kinds


def test_the_crossing_is_the_first_window_above_the_threshold_to_the_day() -> None:
    """Without noise nothing is uncertain: 0.1 a week from 0 is above 1.55 in week 16, not in week 15."""
    for threshold, week in ((1.55, 16), (1.65, 17)):
        found = foretold(weeks(0.1 * np.arange(12)), threshold)
        assert {found.earliest, found.expected, found.latest} == {MONDAY + week * WEEK}


def test_a_window_that_was_not_measured_is_a_gap_and_the_order_is_that_of_the_dates() -> None:
    history = weeks(0.1 * np.arange(14))
    found = foretold([*history[:4], *history[6:]][::-1], 1.55)
    assert (found.earliest, found.newest) == (MONDAY + 16 * WEEK, MONDAY + 13 * WEEK)


def test_one_window_above_the_threshold_is_noise_and_no_crossing() -> None:
    """Planted: the newest loss is above the threshold; the level is not."""
    losses = 0.45 + 0.002 * np.array([*np.resize([1.0, -1.0], 24), 3.0])
    found = foretold(weeks(losses), 0.4535)
    assert losses[-1] > 0.4535
    assert found.earliest
    assert found.newest
    assert found.earliest > found.newest
    assert found.expected is None


def test_a_level_above_the_threshold_has_crossed_already() -> None:
    found = foretold(noisy(20, 0.004), 0.47)
    assert found.earliest == found.latest == found.newest == MONDAY + 19 * WEEK
    assert "is above 0.47 already (80%)" in found.words


@pytest.mark.parametrize("count", [0, 1, 5, 7])
def test_not_enough_history_is_said_and_nothing_else(count: int) -> None:
    found = foretold(noisy(count, 0.002))
    assert found.lacking == f"not enough history: {count} window{'' if count == 1 else 's'} of at least 8"
    assert (found.earliest, found.expected, found.latest, found.origins) == (None, None, None, 0)
    assert found.lacking in found.words
    assert foretold(noisy(8, 0.002)).lacking is None


def test_what_lies_beyond_the_horizon_has_no_date() -> None:
    history = weeks(0.1 * np.arange(12))  # the newest is week 11
    assert foretold(history, 1.55, days=35).earliest == MONDAY + 16 * WEEK
    assert foretold(history, 1.55, days=34).earliest is None
    flat = foretold(noisy(30, 0), 0.5)
    assert (flat.earliest, flat.latest) == (None, None)
    assert flat.horizon
    assert f"stays within 0.5 through {flat.horizon}" in flat.words


def test_more_coverage_is_a_wider_interval_and_the_same_history_the_same_dates() -> None:
    history = noisy(24, 0.0015)
    half, most = foretold(history, coverage=0.5), foretold(history, coverage=0.95)
    assert half == foretold(history, coverage=0.5)
    assert half.earliest
    assert half.latest
    assert most.earliest
    assert most.earliest < half.earliest < half.latest < (most.latest or date.max)
    assert f"crosses 0.5 between {half.earliest} and {half.latest} (50%); back-tested: " in half.words


def test_the_back_test_tells_a_history_that_could_not_be_foretold() -> None:
    """Planted: a calm line that jumps ten times its noise, once: what was foretold before it did not come."""
    calm = noisy(24, 0, noise=0.001)
    jumped = [(day, loss + 0.02 * (number >= 18)) for number, (day, loss) in enumerate(calm)]
    assert foretold(calm).covered >= 0.7 * foretold(calm).origins > 5
    assert foretold(jumped).covered < 0.5 * foretold(jumped).origins
    assert "too short a history for a back-test" in foretold(calm[:8]).words


def monitored(workspace: Workspace, use_case: UseCase, key: str, version: int, loss: float | None) -> None:
    seen = Performance(
        model_version=version, rows=100, labels=100, auc=None, log_loss=loss, positive_share=None, mean_prediction=None,
        calibration_error=None, worth=None,
    )  # fmt: skip
    publish(StageRun(workspace, use_case, use_case.period(key)), None, seen)


@pytest.fixture
def watched(workspace: Workspace, use_case: UseCase) -> UseCase:
    """Twelve days under champion v2, 0.01 more each day from 0.5 on; planted: another version, no loss, a longer window."""
    workspace.ledger.record(
        Decision(
            "m", use_case.name, Kind.PROMOTED, "2024-03-01", "better", "ada", "r", model_version=2, effective_from="2024-03-01"
        )
    )
    for day in range(1, 13):
        monitored(workspace, use_case, f"2024-03-{day:02d}", 2, 0.49 + 0.01 * day)
    monitored(workspace, use_case, "2024-02-29", 1, 0.9)
    monitored(workspace, use_case, "2024-03-13", 2, None)
    monitored(workspace, use_case, "2024-W10", 2, 0.1)
    return use_case


def test_the_watched_loss_is_that_of_the_champion_by_its_windows(workspace: Workspace, watched: UseCase) -> None:
    """0.65 is the limit of the loss of `parcels`."""
    found = forecast_loss(workspace, changed(watched, "gates", max_log_loss=0.645))
    assert found.newest == date(2024, 3, 12)
    assert found.earliest == found.latest == date(2024, 3, 16)
    by_week = forecast_loss(workspace, changed(watched, "monitoring", window=Grain.WEEK))
    assert by_week.lacking == "not enough history: 1 window of at least 8"


def test_coverage_and_horizon_are_those_of_the_use_case(workspace: Workspace, watched: UseCase) -> None:
    limit = changed(watched, "gates", max_log_loss=0.645)
    near = changed(limit, "monitoring", forecast_coverage=0.5, forecast_horizon=timedelta(days=3))
    found = forecast_loss(workspace, near)
    assert found.coverage == 0.5
    assert (found.earliest, found.horizon) == (None, date(2024, 3, 15))
