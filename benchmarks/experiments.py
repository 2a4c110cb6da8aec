"""Simulated experiments, looked at after every partition: false "better", value gained, harm stopped, broken shares found.

    .venv/bin/python benchmarks/experiments.py [--experiments 1000] [--rows 1000] [--days 120] [--day-effect 0.3]

Champion and challenger disagree on a tenth of the rows: one acts and the other does not. Acting is worth 45 on a positive row
and -15 on another; of the rows that are disagreed on 35 % are positive, so that both are worth the same. A *better* challenger
acts on more positive rows, by `--effect` money a row, the minimum useful effect; a *harmful* one on fewer, by ten times that.
Rows of a day hang together: a day moves the share of positive ones, and who of the two acts more, by a normal step in logits.
So a day's difference is a sum of multinomial counts, drawn exactly; intervals, guards and weights are the pipelines' own
functions. Labels of a day are there before the next but one is scored (`--lag 1`).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.experiments.intervals import Floats, Sums, against_shares, interval  # noqa: E402
from pipelines.experiments.measuring import SURE  # noqa: E402
from pipelines.experiments.policies import harmful, next_weights  # noqa: E402
from pipelines.use_case import Experiment  # noqa: E402

WORTH = np.array([45.0, -15.0, -45.0, 15.0, 0.0])  # challenger acts on a positive, a negative; champion does; they agree
DISAGREED, POSITIVE = 0.1, 0.35
BROKEN = 0.95  # of the units that it should get, the challenger gets so many


@dataclass(frozen=True)
class Setting:
    """`effect`: what the challenger is worth a row, against the champion."""

    rows: int
    days: int
    day_effect: float
    lag: int
    effect: float = 0.0


@dataclass(frozen=True)
class Lived:
    """Of one experiment: the day of the first "better" and of the guard, the challenger's weight by day, what it gained."""

    better: int | None
    stopped: int | None
    weights: list[float]
    gained: float


def declared(policy: str, minimum_effect: float) -> Experiment:
    words = {"name": "simulated", "question": "?", "challengers": {"newer": 2}, "first": "1", "last": "2"}
    return Experiment(**words, policy=policy, minimum_effect=minimum_effect, shares=(0.5,))


def drawn(setting: Setting, random: np.random.Generator) -> Sums:
    """The challenger's gain on the rows of each day."""
    steps = setting.day_effect * random.standard_normal((2, setting.days))
    acts = DISAGREED / (1 + np.exp(-steps[0]))  # share of rows on which the challenger alone acts
    shift = setting.effect / 60 / DISAGREED  # a share of positives that moves by s is worth 60 s, for both in turn
    positive = 1 / (1 + np.exp(-(math.log(POSITIVE / (1 - POSITIVE)) + steps[1])))
    mine, other = np.clip(positive + shift, 0, 1), np.clip(positive - shift, 0, 1)
    champion = DISAGREED - acts
    cells = np.column_stack([acts * mine, acts * (1 - mine), champion * other, champion * (1 - other)])
    counts = random.multinomial(setting.rows, np.column_stack([cells, 1 - cells.sum(axis=1)]))
    return Sums(np.full(setting.days, float(setting.rows)), counts @ WORTH, counts @ WORTH**2)


def until(sums: Sums, day: int) -> Sums:
    return Sums(sums.rows[:day], sums.total[:day], sums.squares[:day])


def lived(spec: Experiment, setting: Setting, seed: np.random.SeedSequence) -> Lived:
    sums, better, stopped = drawn(setting, np.random.default_rng(seed)), None, None
    weights: list[float] = []
    for day in range(setting.days):
        known = until(sums, max(0, day - setting.lag))
        looked = len(known.rows) > 0
        if stopped is None and looked and harmful(spec, {"newer": known}, {}):
            stopped = day
        if better is None and looked and interval(known, spec.false_better, setting.days)[0] > 0:
            better = day
        paired = {"newer": known} if stopped is None else {}
        weights.append(next_weights(spec, paired, setting.days).weights.get("newer", 0.0))
    return Lived(better, stopped, weights, float(np.dot(weights, sums.total)))


def simulated(spec: Experiment, setting: Setting, options: argparse.Namespace) -> list[Lived]:
    seeds = np.random.SeedSequence(options.seed).spawn(options.experiments)
    with ProcessPoolExecutor(options.processes) as pool:
        return list(pool.map(partial(lived, spec, setting), seeds, chunksize=max(1, len(seeds) // (4 * options.processes))))


def stopped_shares(options: argparse.Namespace, broken: float, changing: bool) -> list[int | None]:
    """The day on which the check of the shares stopped each; the challenger gets `broken` of its units."""
    random, found = np.random.default_rng(options.seed), []
    for _ in range(options.experiments):
        steps = random.uniform(0.05, 0.95, options.days) if changing else np.full(options.days, 0.5)
        shares = np.column_stack([1 - steps, steps])
        newer = random.binomial(options.rows, steps * broken)
        counts = np.column_stack([options.rows - newer, newer]).astype(float)
        found.append(first_stop(shares, counts))
    return found


def first_stop(shares: Floats, counts: Floats) -> int | None:
    """The first of its looks, one after each day."""
    beyond = np.flatnonzero(against_shares(shares, counts) > math.log(1 / SURE))
    return int(beyond[0]) + 1 if len(beyond) else None


class Report:
    """A line per figure; `kept` is whether every goal was."""

    def __init__(self) -> None:
        self.kept, self.began = True, time.perf_counter()

    def line(self, name: str, value: float, goal: str = "none: it is said", kept: bool = True) -> None:
        seconds, self.began = time.perf_counter() - self.began, time.perf_counter()
        print(f"{name:<64} | {value:>6.1%} | {goal:<22} | {seconds:4.0f} s | {'ok' if kept else 'MISSED'}", flush=True)
        self.kept = self.kept and kept


def share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


def judged(options: argparse.Namespace, report: Report) -> None:
    """Paired outcomes: no difference, better, harmful."""
    base = Setting(options.rows, options.days, options.day_effect, options.lag)
    same = simulated(declared("fixed", options.effect), base, options)
    most = 0.05 + 2 * math.sqrt(0.05 * 0.95 / options.experiments)
    false = share([each.better is not None for each in same])
    report.line("no difference: called better, ever", false, "at most 5 % + 2 s.e.", false <= most)
    report.line("no difference: taken out by a guard, ever", share([each.stopped is not None for each in same]))
    better = replace(base, effect=options.effect)
    for policy in ("thompson", "winner"):
        found = simulated(declared(policy, options.effect), better, options)
        value = float(np.mean([each.gained for each in found])) / (options.effect * options.rows * options.days)
        goal = ("at least 80 %", value >= 0.8) if policy == "thompson" else ("none: it is said", True)
        report.line(f"better, {policy}: value of knowing it in advance", value, *goal)
    report.line("better: called better within the budget", share([each.better is not None for each in found]))
    harm = simulated(declared("fixed", options.effect), replace(base, effect=-10 * options.effect), options)
    in_time = share([each.stopped is not None and each.stopped <= 2 + options.lag for each in harm])
    report.line("harmful: no weight after two labelled days", in_time, "at least 95 %", in_time >= 0.95)


def assigned(options: argparse.Namespace, report: Report) -> None:
    """Shares that are right, and shares that are not."""
    most = 0.001 + 2 * math.sqrt(0.001 / options.experiments)
    for changing, words in ((False, "half and half"), (True, "shares that change daily")):
        right = share([day is not None for day in stopped_shares(options, 1.0, changing)])
        report.line(f"{words}, right: stopped, ever", right, "at most 0.1 % + 2 s.e.", right <= most)
        wrong = stopped_shares(options, BROKEN, changing)
        found, day = share([day is not None for day in wrong]), np.median([day or math.inf for day in wrong])
        report.line(f"{words}, a twentieth lost: found (median: day {day:.0f})", found, "at least 95 %", found >= 0.95)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1000, help="a day")
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--day-effect", type=float, default=0.3, help="standard deviation of a day's steps, in logits")
    parser.add_argument("--effect", type=float, default=0.2, help="minimum useful effect, money per row")
    parser.add_argument("--lag", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    report = Report()
    judged(options, report)
    assigned(options, report)
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
