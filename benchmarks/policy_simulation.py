"""How often the retraining policy starts a training for nothing: years without change, and a champion that nobody beats.

    .venv/bin/python benchmarks/policy_simulation.py [--years 200] [--rows 20 120 2000] [--window day] [--day-effect 0.0]

Days of rows are drawn, formed into windows by monitoring's own measures, and decided on after each window by the policy's own
`judge`, with defaults of `monitoring:` and `retraining:` but without what would only lower the counts: no cooldown, no
minimum of labels, no budget, no maximum age, so that every training is one beyond the age rule. The gates keep the champion.

*Nothing changes*: a row's probability p is Beta(1.5, 4), its outcome comes with p, and the champion says p. A day effect moves
all of a day's outcomes by a normal step in logits. *Nobody beats it*: from the first day on outcomes come with more than the
champion says, and no training mends it. The estimate of the gain is the policy's own (`challenger.gain`) on the newest window,
three days at least, with a challenger that has learnt the truth from all rows before, so that its logits err by
sqrt(10 / (I n)): ten parameters, I the mean of p (1 - p). Without it, as when it fails, nothing but verdicts and pauses hold
trainings back: then the years with a training are those in which a window was called a loss, with drift or without it. Of
windows that a brake left undecided the newest 14 are judged again each time, which bounds the time and changes no count.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.metrics import Floats, clip, deviations, losses  # noqa: E402
from pipelines.monitoring import Judgement, Monitored, Performance, judge_window  # noqa: E402
from pipelines.monitoring.performance import by_partition  # noqa: E402
from pipelines.retraining import Gain, policy  # noqa: E402
from pipelines.retraining.challenger import gain  # noqa: E402
from pipelines.retraining.state import Attempt, State  # noqa: E402
from pipelines.use_case import Grain, Partition, UseCase, read_use_case  # noqa: E402
from pipelines.use_case.monitoring import Monitoring  # noqa: E402
from pipelines.use_case.retraining import Budget, Retraining  # noqa: E402
from pipelines.workspace import Champion  # noqa: E402

FIRST = date(2024, 1, 1)  # a Monday
CHAMPION = Champion(1, FIRST.isoformat(), "promoted/1", "the first", "2024-01-01T00:00:00+00:00")
BEGAN = time.perf_counter()
JUDGED_DAYS, TRAINED_DAYS, PARAMETERS, UNDECIDED = 3, 90, 10, 14
ATTEMPTS_A, ATTEMPTS_B = 2, 2  # attempts stay below a + b log2(days)
SHIFT = 0.8  # in logits, where nobody beats the champion


@dataclass(frozen=True)
class Setting:
    window: Grain
    rows: int
    days: int
    shift: float
    day_effect: float


@dataclass(frozen=True)
class Day:
    label: Floats
    served: Floats
    truth: Floats


@cache
def configured(window: Grain) -> UseCase:
    """A use case of days, watched by such windows, with the defaults that are asked about alone."""
    settings = {"cooldown": timedelta(0), "min_new_labels": 0, "budget": Budget(trainings=10**6)}
    parts = {"grain": Grain.DAY, "monitoring": Monitoring(window=window), "retraining": Retraining(**settings)}
    return read_use_case(ROOT / "conf" / "use_cases" / "flight_delay.yaml").model_copy(update=parts)


def drawn(setting: Setting, rng: np.random.Generator) -> Day:
    served = clip(rng.beta(1.5, 4, setting.rows))
    truth = moved(served, setting.shift + setting.day_effect * rng.standard_normal())
    return Day((rng.random(setting.rows) < truth).astype(float), served, truth)


def moved(probability: Floats, logits: Floats | float) -> Floats:
    return clip(1 / (1 + np.exp(-(np.log(probability / (1 - probability)) + logits))))


def window(key: str, days: list[Day]) -> Monitored:
    """As monitoring publishes a window, as far as a verdict looks at it."""
    label, served, number = together(days)
    parts = {name: by_partition(measure, number) for name, measure in deviations(label, served).items()}
    return Monitored(key, 1, None, Performance(1, len(label), len(label), *[None] * 6, deviations=parts))


def together(days: list[Day]) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Outcomes, what was served, and the number of the day, of all rows."""
    label, served = (np.concatenate([getattr(day, name) for day in days]) for name in ("label", "served"))
    return label, served, np.repeat(np.arange(len(days)), len(days[0].label))


def estimate(use_case: UseCase, key: str, newest: list[Day], learnt_from: int, rng: np.random.Generator) -> Gain:
    label, served, number = together(newest)
    truth = np.concatenate([day.truth for day in newest])
    error = math.sqrt(PARAMETERS / (float((truth * (1 - truth)).mean()) * learnt_from))
    challenger = moved(truth, error * rng.standard_normal(len(truth)))
    return gain(key, number, losses(label, served), losses(label, challenger), use_case.gates.confidence)


def lived(setting: Setting, seed: np.random.SeedSequence) -> tuple[list[tuple[int, str]], ...]:
    """The days after which a training was started, with its cause: with the estimate, and without it."""
    use_case, (rows, luck) = configured(setting.window), map(np.random.default_rng, seed.spawn(2))
    days: list[Day] = []
    windows: list[Monitored] = []
    gains: list[Gain | None] = []
    periods = list(_periods(setting))
    for period in periods:
        length = (period.end - period.start).days
        days += [drawn(setting, rows) for _ in range(length)]
        windows.append(window(period.key, days[-length:]))
        newest = days[-max(length, JUDGED_DAYS) :]
        learnt_from = setting.rows * (TRAINED_DAYS + len(days) - len(newest))
        enough = len(days) > JUDGED_DAYS
        gains.append(estimate(use_case, period.key, newest, learnt_from, luck) if enough else None)
    # Monitoring's verdict, once per window: what came before it is the same on each later day, with the estimate or without.
    verdicts: dict[str, Judgement] = {}

    def judged(settings: Monitoring, seen: Monitored, before: Sequence[Monitored]) -> Judgement:
        if seen.partition not in verdicts:
            verdicts[seen.partition] = judge_window(settings, seen, before)
        return verdicts[seen.partition]

    policy.judge_window = judged
    return tuple(decided(use_case, periods, windows, known) for known in (gains, [None] * len(gains)))


def _periods(setting: Setting) -> Iterator[Partition]:
    now = Partition.of(FIRST, setting.window)
    while (now.end - FIRST).days <= setting.days:
        yield now
        now = Partition.of(now.end, setting.window)


def decided(
    use_case: UseCase, periods: list[Partition], windows: list[Monitored], gains: Sequence[Gain | None]
) -> list[tuple[int, str]]:
    undecided: list[Monitored] = []  # the newest of them
    attempts: list[Attempt] = []
    found = []
    for number, (now, seen, known) in enumerate(zip(periods, windows, gains, strict=True)):
        undecided, served = [*undecided, seen][-UNDECIDED:], now.end - FIRST
        state = State(
            champion=CHAMPION,
            windows=tuple(undecided),
            history=tuple(windows[: number + 1]),
            served=served,
            trained_until=FIRST - timedelta(days=TRAINED_DAYS),
            train_on=now,
            gain=known,
            attempts=tuple(attempts),
            now=datetime(now.end.year, now.end.month, now.end.day, 6, tzinfo=UTC),
        )
        decision = policy.judge(use_case, now, state)
        undecided = [w for w in undecided if w.partition not in decision.evidence["decided"]]
        if decision.retrain:
            found.append((served.days, decision.cause))
            attempts.append(Attempt(f"training {number}", state.now, "v1 stays.", known))
    return found


def simulated(setting: Setting, years: int, options: argparse.Namespace) -> list[list[list[tuple[int, str]]]]:
    """By year, with the estimate and without it."""
    seeds = np.random.SeedSequence(options.seed).spawn(years)
    with ProcessPoolExecutor(options.processes) as pool:
        found = pool.map(lived, [setting] * years, seeds, chunksize=max(1, years // (8 * options.processes)))
        return [list(years) for years in zip(*found, strict=True)]


def unchanged(setting: Setting, options: argparse.Namespace) -> bool:
    """Trainings in a year without change, against the rates that are declared."""
    use_case, held = configured(setting.window), True
    for estimated, years in zip((True, False), simulated(setting, options.years, options), strict=True):
        declared = use_case.monitoring.false_alarms + (use_case.retraining.false_gains or 0 if estimated else 0)
        limit = declared + 2 * math.sqrt(declared / options.years)
        rate, causes = sum(map(len, years)) / options.years, Counter(cause for year in years for _, cause in year)
        share, known = sum(bool(year) for year in years) / options.years, "yes" if estimated else "no"
        print(
            f"{setting.rows:>6,} | {known:>8} | {rate:.3f} | {share:.1%} | {dict(causes)} | {declared:.2f} | {limit:.3f} | "
            f"{time.perf_counter() - BEGAN:.0f} s | {'ok' if rate <= limit else 'TOO MANY'}",
            flush=True,
        )
        held &= rate <= limit
    return held


def unbeaten(setting: Setting, options: argparse.Namespace) -> bool:
    """Attempts against a champion that nobody beats, at each attempt."""
    held, most = True, ATTEMPTS_A + ATTEMPTS_B * math.log2(setting.days)
    for known, years in zip(("yes", "no"), simulated(setting, options.unbeaten, options), strict=True):
        counts = [len(year) for year in years]
        within = all(n + 1 < ATTEMPTS_A + ATTEMPTS_B * math.log2(day + 1) for year in years for n, (day, _) in enumerate(year))
        told = f"{np.mean(counts):.1f} | {max(counts)} | {most:.1f} | {'ok' if within else 'TOO MANY'}"
        print(f"{setting.rows:>6,} | {known:>8} | {told}", flush=True)
        held &= within
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=200, help="so many unchanged years per setting")
    parser.add_argument("--rows", type=int, nargs="+", default=[20, 120, 2000], help="rows a day")
    parser.add_argument("--window", type=Grain, choices=[Grain.DAY, Grain.WEEK], default=Grain.DAY, help="judged at a time")
    parser.add_argument("--day-effect", type=float, default=0.0, help="standard deviation of a day's step, in logits")
    parser.add_argument("--unbeaten", type=int, default=10, help="so many spans of two years with an unbeaten champion")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    held = []
    print(f"{options.years} years without change, by the {options.window}, day effect {options.day_effect}")
    print("rows a day | estimate | trainings a year | years with one | causes | declared | at most (+ 2 s.e.) | time | verdict")
    for rows in options.rows:
        held.append(unchanged(Setting(options.window, rows, 365, 0.0, options.day_effect), options))
    print(f"a champion that nobody beats, two years, {options.unbeaten} times: a = {ATTEMPTS_A}, b = {ATTEMPTS_B}")
    print("rows a day | estimate | attempts, mean | most | a + b log2(days) | verdict (at every attempt)")
    for rows in options.rows:
        held.append(unbeaten(Setting(options.window, rows, 730, SHIFT, options.day_effect), options))
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
