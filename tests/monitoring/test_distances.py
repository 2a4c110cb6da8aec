"""Distances: Evidently's to the last bit; no drift of the same distribution; the same verdict whatever the number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.metrics import deviations, scores
from pipelines.monitoring.distances import Moved, blocks, distance, encoded, factor, measure, noise_of, telling_apart

LIMIT, SAMPLE = 0.1, 2000


def moved(reference: pd.DataFrame, current: pd.DataFrame, categorical: list[str], length: int = 1) -> dict[str, Moved]:
    """As the drift step does: a sample of the window, a pool of the reference, and a sample of that."""
    names = [n for n in reference.columns if n != "day"]
    current = current.sample(min(SAMPLE, len(current)), random_state=0)
    pool, now = encoded(reference, current, names, categorical)
    parts = list(blocks(reference["day"].astype(str).tolist(), length, len(current), 0))
    noise = noise_of(pool, categorical, parts)
    return measure(noise, {n: v[:SAMPLE] for n, v in pool.items()}, now, categorical, LIMIT)


def drifted(found: Moved) -> bool:
    return found.real and found.distance > LIMIT


def rows(random: np.random.Generator, count: int, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"day": random.integers(0, 30, count), **columns})


@pytest.mark.parametrize("categorical", [False, True])
def test_the_distances_are_evidently_s(categorical: bool) -> None:
    from evidently.legacy.calculations.stattests import jensenshannon_stat_test, wasserstein_stat_test

    random = np.random.default_rng(0)
    sides = [random.gamma(2, 5 + n, 400).round() for n in (0, 1)]
    test, kind = (jensenshannon_stat_test, "cat") if categorical else (wasserstein_stat_test, "num")
    theirs = test(*(pd.Series(s) for s in sides), kind, 0.1).drift_score
    assert distance(*sides, categorical) == pytest.approx(theirs, abs=1e-12)
    assert distance(np.full(3, np.nan), sides[0], categorical) == 1
    assert distance(np.full(3, np.nan), np.full(3, np.nan), categorical) == 0


def test_the_same_distribution_over_300_values_has_not_drifted() -> None:
    """Its distance at 2,000 rows is beyond the limit: it is all noise."""
    random = np.random.default_rng(1)
    before, now = (rows(random, n, city=random.integers(0, 300, n).astype(str)) for n in (20_000, 2000))
    pool, current = encoded(before, now, ["city"], ["city"])
    assert distance(pool["city"][:SAMPLE], current["city"], True) > LIMIT
    found = moved(before, now, ["city"])["city"]
    assert not found.real
    assert found.distance < LIMIT < found.noise


@pytest.mark.parametrize("count", [5_000, 500_000])
@pytest.mark.parametrize(("effect", "expected"), [(0.5, False), (2.0, True)])
def test_the_verdict_does_not_change_with_the_number_of_rows(count: int, effect: float, expected: bool) -> None:
    """A number moved by so many limits of its spread, and a category of 100 values by the same distance."""
    random = np.random.default_rng(2)
    ranks = np.arange(100)
    usual = np.ones(100) / 100
    tilt = 1 + np.where(ranks % 2 == 0, 1, -1) * min(
        effect * LIMIT * np.sqrt(8), 1
    )  # distance: tilt / sqrt(8), to second order
    sides = [
        rows(random, n, x=random.normal(shift * LIMIT, 1, n), c=random.choice(ranks, n, p=share).astype(str))
        for n, shift, share in ((20_000, 0.0, usual), (count, effect, usual * tilt))
    ]
    found = moved(sides[0], sides[1], ["c"])
    assert {name: drifted(m) for name, m in found.items()} == {"x": expected, "c": expected}


def test_days_that_always_differ_have_not_drifted() -> None:
    """Weather: all rows of a day share it. By single rows each day is far from the others; by days none is."""
    random = np.random.default_rng(3)
    wind = random.normal(0, 1, 31)
    before = pd.DataFrame({"day": np.repeat(np.arange(30), 300)})
    before["wind"] = wind[before["day"]] + random.normal(0, 0.1, len(before))
    usual = pd.DataFrame({"day": 30, "wind": 1 + random.normal(0, 0.1, 300)})
    storm = usual.assign(wind=usual["wind"] + 6)
    mixed = before.sample(frac=1, random_state=0)
    assert not moved(mixed, usual, [])["wind"].real
    assert drifted(moved(mixed, storm, [])["wind"])
    no_days = mixed.assign(day=np.arange(len(mixed)))
    assert drifted(moved(no_days, usual, [], 300)["wind"]), "what the days are there for"


def test_missing_values_beyond_chance_count_and_usual_ones_do_not() -> None:
    random = np.random.default_rng(4)
    found = []
    for share in (0.2, 0.22, 0.95):
        before, now = (
            rows(random, n, x=np.where(random.random(n) < s, np.nan, random.normal(0, 1, n)))
            for n, s in ((20_000, 0.2), (2000, share))
        )
        found.append(moved(before, now, [])["x"].nulls)
    assert abs(found[1]) < 0.1
    assert found[2] == pytest.approx(0.75, abs=0.03)


def test_values_that_the_reference_does_not_know_are_counted() -> None:
    random = np.random.default_rng(5)
    before, now = (rows(random, 2000, c=random.choice(list(names), 2000)) for names in ("abc", "abxy"))
    assert moved(before, now, ["c"])["c"].unseen == pytest.approx(0.5, abs=0.05)


def test_another_unit_is_told_from_another_distribution() -> None:
    random = np.random.default_rng(6)
    miles = random.gamma(2, 300, 3000)
    assert factor(miles, random.gamma(2, 300, 3000) * 1.609, LIMIT) == pytest.approx(1.609, rel=0.05)
    assert factor(miles, random.gamma(2, 300, 3000), LIMIT) is None
    assert factor(miles, random.gamma(2, 300, 3000) + 600, LIMIT) is None
    assert factor(miles, random.gamma(8, 150, 3000), LIMIT) is None


def test_columns_that_moved_together_only_are_told_apart_by_a_classifier() -> None:
    random = np.random.default_rng(7)
    x = random.normal(0, 1, (2, 2000))
    one = {"a": x[0], "b": x[0] + random.normal(0, 0.3, 2000)}
    other = {"a": x[1], "b": -x[1] + random.normal(0, 0.3, 2000)}
    same = {"a": x[1], "b": x[1] + random.normal(0, 0.3, 2000)}
    assert distance(one["b"], other["b"], False) < LIMIT
    assert telling_apart(one, other, ["a", "b"], 0) > 0.9
    assert abs(telling_apart(one, same, ["a", "b"], 0) - 0.5) < 0.05
    none = np.full(len(one["a"]), np.nan)  # nobody reports a gust on calm days
    assert abs(telling_apart({**one, "a": none}, {**other, "a": none}, ["a", "b"], 0) - 0.5) < 0.1
    assert telling_apart({"a": one["a"]}, {"a": none}, ["a"], 0) == 1.0


def test_what_was_promised_is_0_off_in_expectation_with_the_variance_that_is_told() -> None:
    """Where the probabilities are true, whatever their mix: mean and spread over 400 draws of 300 outcomes."""
    random = np.random.default_rng(8)
    p = random.beta(1, 4, 300).round(2).clip(0.01, 0.99)
    found = []
    for _ in range(400):
        of = deviations((random.random(300) < p).astype(float), p)
        found.append([d.value * len(p) / np.sqrt(d.variance.sum()) for d in of.values()])
    assert np.abs(np.mean(found, axis=0)).max() < 0.2
    assert np.abs(np.std(found, axis=0) - 1).max() < 0.12


def test_the_realized_side_of_the_auc_is_the_auc_and_of_the_loss_the_loss() -> None:
    random = np.random.default_rng(9)
    p = random.random(500).round(2).clip(0.01, 0.99)
    first, other = ((random.random(500) < q).astype(float) for q in (p, 1 - p))
    came = [scores(y, p) for y in (first, other)]
    off = [deviations(y, p) for y in (first, other)]
    assert off[1]["auc_loss"].value - off[0]["auc_loss"].value == pytest.approx(came[0]["auc"] - came[1]["auc"])
    assert off[1]["excess_loss"].value - off[0]["excess_loss"].value == pytest.approx(came[1]["log_loss"] - came[0]["log_loss"])
    assert off[0]["calibration_gap"].value == pytest.approx(p.mean() - first.mean())
    assert "auc_loss" not in deviations(np.zeros(5), p[:5])
