"""Simulated years, on which the rule of `retraining_policy.py` is chosen: the year that judges it has no say in it.

    .venv/bin/python benchmarks/simulated_years.py

The coefficients of a logistic model wander, turn with the season, jump or go one way, at four speeds; each day is a shock to
them that its rows share, some days a large one. A model is fitted on all days before its week, so it knows the mean of what
they said; what it loses on a day is the quadratic form around what that day says (White, "Maximum likelihood estimation of
misspecified models", 1982). Speeds and shocks are of the order that February and March of 2013 show, before any champion
serves: a week's gain is known to about its own size.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BEFORE, WEEKS, COEFFICIENTS, ROWS, SHOCK = 13, 39, 20, 900, 0.25
CURVATURE = 0.16  # p (1 - p) of a base rate of one in five
KINDS, SPEEDS = ("wandering", "season", "jumps", "one way"), (0.4, 0.5, 0.6, 0.8)
Floats = NDArray[np.float64]
# The champion's age in weeks, the gains of the weeks since its training; weeks since the first champion, trainings since.
Rule = Callable[[int, Sequence[float], int, int], bool]


def newest(min_gain: float, cooldown: int) -> Rule:
    """The newest week's gain is more than `min_gain`."""
    return lambda age, gains, *_: age >= cooldown and bool(gains) and gains[-1] > min_gain


def summed(min_gain: float, cooldown: int) -> Rule:
    """The gains since the training, summed, are more than `min_gain`; a sum below 0 starts anew (Page's CUSUM, 1954)."""

    def rule(age: int, gains: Sequence[float], *_: int) -> bool:
        total = 0.0
        for gain in gains:
            total = max(0.0, total + gain)
        return age >= cooldown and total > min_gain

    return rule


def paced(min_gain: float, cooldown: int, pace: float, memory: float = 0.7, trainings: int = 8) -> Rule:
    """As `retraining:` has it with `gain_memory` and `budget.pace`: the newest gain is one, and with those since the training,
    each worth `memory` of the one after it, more than `min_gain`, which is raised by exp(`pace`) for each training ahead of an
    even pace of so many a year; none beyond them."""
    starts: list[int] = []

    def rule(age: int, gains: Sequence[float], week: int, used: int) -> bool:
        del starts[used:]
        total = ahead = 0.0
        for gain in gains:
            total = total * memory + gain
        for start, after in pairwise((*starts, week)):
            ahead = max(0.0, ahead + 1 - trainings * (after - start) / 52)
        enough = bool(gains) and gains[-1] > 0 and total > min_gain * np.exp(pace * ahead)
        yes = bool(enough) and age >= cooldown and used < trainings
        starts.extend([week] if yes else [])
        return yes

    return rule


def of_age(most: int) -> Rule:
    return lambda age, *_: age >= most


def drift(random: np.random.Generator, kind: str, speed: float) -> Floats:
    """The coefficients, weeks x coefficients."""
    weeks, size = BEFORE + WEEKS, COEFFICIENTS
    week = np.arange(weeks)[:, None]
    if kind == "wandering":
        return np.cumsum(random.normal(0, 0.03 * speed, (weeks, size)), axis=0)
    if kind == "season":
        return random.normal(0, 0.15 * speed, size) * np.sin(2 * np.pi * week / 52 + random.uniform(0, 2 * np.pi, size))
    if kind == "jumps":
        jumps = random.normal(0, 0.12 * speed, (weeks, size))
        return np.cumsum(jumps * (random.permutation(weeks) < random.integers(1, 5))[:, None], axis=0)
    if kind == "one way":
        return week / weeks * random.normal(0, 0.2 * speed, size)
    return np.zeros((weeks, size))


def year(random: np.random.Generator, kind: str, speed: float) -> Floats:
    """Loss per row, up to a constant, of the model fitted before each week on each week: weeks x weeks."""
    says = np.repeat(drift(random, kind, speed), 7, axis=0)
    says = says + SHOCK * random.normal(size=says.shape) * np.abs(random.standard_t(4, (len(says), 1)))
    says = says + random.normal(0, 1 / np.sqrt(CURVATURE * ROWS), says.shape)
    says[:, 0] += random.normal(0, 0.35, len(says))  # some days are late everywhere
    known = 7 * (BEFORE + np.arange(WEEKS))
    models = np.cumsum(says, axis=0)[known - 1] / known[:, None]
    loss = 0.5 * CURVATURE * ((models[:, None] - says[None, 7 * BEFORE :]) ** 2).sum(axis=2)
    return loss.reshape(WEEKS, WEEKS, 7).mean(axis=2)


def replay(loss: Floats, rule: Rule) -> tuple[float, int]:
    """Mean loss under a rule, and how often it trained."""
    champion, total, trained = 0, 0.0, 0
    gains: list[float] = []
    for week in range(WEEKS):
        total += loss[champion, week] / WEEKS
        if champion < week:
            gains.append(loss[champion, week] - loss[week, week])
        if week + 1 < WEEKS and rule(week + 1 - champion, gains, week + 1, trained):
            champion, gains, trained = week + 1, [], trained + 1
    return total, trained


def told(rules: dict[str, Rule], years: int, seed: int = 0) -> pd.DataFrame:
    """By rule, over so many years of each kind and speed: the share of weekly training's gain over never, and how often it
    trained, also in years without any change."""
    random = np.random.default_rng(seed)
    moving = [year(random, kind, speed) for kind in KINDS for speed in SPEEDS for _ in range(years)]
    still = [year(random, "none", 0.0) for _ in range(years * len(SPEEDS))]
    never, weekly = (np.array([replay(loss, of_age(age))[0] for loss in moving]) for age in (WEEKS, 1))
    lines = {}
    for name, rule in rules.items():
        lost, trained = np.transpose([replay(loss, rule) for loss in moving])
        lines[name] = {
            "share of weekly's gain": (never - lost).sum() / (never - weekly).sum(),
            "in one of ten below": np.quantile((never - lost) / (never - weekly), 0.1),
            "retrainings": trained.mean(),
            "in nine of ten at most": np.quantile(trained, 0.9),
            "without any change": np.mean([replay(loss, rule)[1] for loss in still]),
        }
    return pd.DataFrame(lines).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=25, help="of each of four kinds at each of four speeds")
    parser.add_argument("--cooldown", type=int, default=3, help="weeks")
    options = parser.parse_args()
    limits = (0.001, 0.0015, 0.002, 0.0025, 0.003, 0.004, 0.006)
    rules = {f"newest week > {limit}": newest(limit, options.cooldown) for limit in limits}
    rules |= {f"sum of weeks > {limit}": summed(limit, options.cooldown) for limit in limits}
    for memory, pace, limit in product((0.3, 0.5, 0.7), (0.3, 0.5, 0.8), (0.0005, 0.00075, 0.001, 0.00125, 0.0015)):
        rules[f"memory {memory}, pace {pace} > {limit}"] = paced(limit, options.cooldown, pace, memory)
    rules |= {f"every {age} weeks": of_age(age) for age in (4, 5, 6, 8)}
    print(told(rules, options.years).round(3).to_string())


if __name__ == "__main__":
    main()
