"""How often the retraining policy starts a training for nothing: years without change, and a champion that nobody beats.

    .venv/bin/python benchmarks/policy_simulation.py [--years 200] [--rows 20 120 2000] [--day-effect 0.0] [--processes 2]

Days of rows are drawn, formed into windows by monitoring's own measures, and decided on each morning by the policy's own
`judge`, with defaults of `monitoring:` and `retraining:` but without what would only lower the counts: no cooldown, no
minimum of labels, no budget, no maximum age, so that every training is one beyond the age rule. The gates keep the champion.

*Nothing changes*: a row's probability p is Beta(1.5, 4), its outcome comes with p, and the champion says p. A day effect moves
all of a day's outcomes by a normal step in logits. *Nobody beats it*: from the first day on outcomes come with more than the
champion says, and no training mends it. The estimate of the gain is the policy's own (`challenger.gain`) on the newest three
days, with a challenger that has learnt the truth from all rows before, so that its logits err by sqrt(10 / (I n)): ten
parameters, I the mean of p (1 - p). Without it, as when it fails, nothing but verdicts and pauses hold trainings back. Of
days that a brake left undecided the newest 14 are judged again each morning, which bounds the time and changes no count.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.metrics import Floats, clip, deviations, losses  # noqa: E402
from pipelines.monitoring import Deviation, Monitored, Performance  # noqa: E402
from pipelines.retraining import Gain  # noqa: E402
from pipelines.retraining.challenger import gain  # noqa: E402
from pipelines.retraining.policy import judge  # noqa: E402
from pipelines.retraining.state import Attempt, State  # noqa: E402
from pipelines.use_case import Grain, Partition, UseCase, read_use_case  # noqa: E402
from pipelines.use_case.monitoring import Monitoring  # noqa: E402
from pipelines.use_case.retraining import Budget, Retraining  # noqa: E402
from pipelines.workspace import Champion  # noqa: E402

FIRST = date(2023, 1, 1)
CHAMPION = Champion(1, FIRST.isoformat(), "promoted/1", "the first", "2023-01-01T00:00:00+00:00")
JUDGED_DAYS, TRAINED_DAYS, PARAMETERS, UNDECIDED = 3, 90, 10, 14
ATTEMPTS_A, ATTEMPTS_B = 2, 2  # attempts stay below a + b log2(days)
SHIFT = 0.8  # in logits, where nobody beats the champion


@dataclass(frozen=True)
class Setting:
    rows: int
    days: int
    shift: float
    day_effect: float
    estimated: bool


@dataclass(frozen=True)
class Day:
    label: Floats
    served: Floats
    truth: Floats


@cache
def configured() -> UseCase:
    """A use case by days, with the defaults that are asked about and nothing that would only lower the counts."""
    settings = {"cooldown": timedelta(0), "min_new_labels": 0, "budget": Budget(trainings=10**6)}
    parts = {"grain": Grain.DAY, "monitoring": Monitoring(window=Grain.DAY), "retraining": Retraining(**settings)}
    return read_use_case(ROOT / "conf" / "use_cases" / "flight_delay.yaml").model_copy(update=parts)


def drawn(setting: Setting, rng: np.random.Generator) -> Day:
    served = clip(rng.beta(1.5, 4, setting.rows))
    truth = moved(served, setting.shift + setting.day_effect * rng.standard_normal())
    return Day((rng.random(setting.rows) < truth).astype(float), served, truth)


def moved(probability: Floats, logits: Floats | float) -> Floats:
    return clip(1 / (1 + np.exp(-(np.log(probability / (1 - probability)) + logits))))


def window(key: str, day: Day) -> Monitored:
    """As monitoring publishes a window of one partition, as far as a verdict looks at it."""
    rows, found = len(day.label), deviations(day.label, day.served)
    parts = {n: Deviation(d.value, d.most, ((rows, float(d.rows.sum()), float(d.variance.sum())),)) for n, d in found.items()}
    return Monitored(key, 1, None, Performance(1, rows, rows, *[None] * 6, deviations=parts))


def estimate(use_case: UseCase, key: str, newest: list[Day], learnt_from: int, rng: np.random.Generator) -> Gain:
    label, served = (np.concatenate([getattr(day, name) for day in newest]) for name in ("label", "served"))
    truth = np.concatenate([day.truth for day in newest])
    error = math.sqrt(PARAMETERS / (float((truth * (1 - truth)).mean()) * learnt_from))
    challenger = moved(truth, error * rng.standard_normal(len(truth)))
    days = np.repeat(np.arange(len(newest)), len(newest[0].label))
    return gain(key, days, losses(label, served), losses(label, challenger), use_case.gates.confidence)


def lived(setting: Setting, seed: np.random.SeedSequence) -> list[tuple[int, str]]:
    """The days on which a training was started, with its cause."""
    use_case, rng = configured(), np.random.default_rng(seed)
    history: list[Monitored] = []
    undecided: list[Monitored] = []  # the newest of them
    attempts: list[Attempt] = []
    newest: list[Day] = []
    found = []
    for number in range(setting.days):
        today = Partition.of(FIRST + timedelta(days=number), Grain.DAY)
        newest = [*newest, drawn(setting, rng)][-JUDGED_DAYS:]
        seen = window(today.key, newest[-1])
        history.append(seen)
        undecided = [*undecided, seen][-UNDECIDED:]
        known = setting.estimated and number >= JUDGED_DAYS
        learnt_from = setting.rows * (TRAINED_DAYS + number - JUDGED_DAYS)
        state = State(
            champion=CHAMPION,
            windows=tuple(undecided),
            history=tuple(history),
            served=timedelta(days=number + 1),
            trained_until=FIRST - timedelta(days=TRAINED_DAYS),
            train_on=today,
            gain=estimate(use_case, today.key, newest, learnt_from, rng) if known else None,
            attempts=tuple(attempts),
            now=datetime(today.end.year, today.end.month, today.end.day, 6, tzinfo=UTC),
        )
        decision = judge(use_case, today, state)
        undecided = [w for w in undecided if w.partition not in decision.evidence["decided"]]
        if decision.retrain:
            found.append((number, decision.cause))
            attempts.append(Attempt(f"training {number}", state.now, "v1 stays.", state.gain))
    return found


def simulated(setting: Setting, years: int, seed: int, processes: int) -> list[list[tuple[int, str]]]:
    seeds = np.random.SeedSequence(seed).spawn(years)
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(lived, [setting] * years, seeds, chunksize=max(1, years // (4 * processes))))


def unchanged(setting: Setting, options: argparse.Namespace) -> bool:
    """Trainings in a year without change, against the rates that are declared."""
    began = time.perf_counter()
    years = simulated(setting, options.years, options.seed, options.processes)
    use_case = configured()
    declared = use_case.monitoring.false_alarms + (use_case.retraining.false_gains or 0 if setting.estimated else 0)
    limit = declared + 2 * math.sqrt(declared / options.years)
    rate, causes = sum(map(len, years)) / options.years, Counter(cause for year in years for _, cause in year)
    share = sum(bool(year) for year in years) / options.years
    print(
        f"{setting.rows:>6,} | {'yes' if setting.estimated else 'no':>8} | {rate:.3f} | {share:.1%} | {dict(causes)} | "
        f"{declared:.2f} | {limit:.3f} | {time.perf_counter() - began:.0f} s | {'ok' if rate <= limit else 'TOO MANY'}",
        flush=True,
    )
    return rate <= limit


def unbeaten(setting: Setting, options: argparse.Namespace) -> bool:
    """Attempts against a champion that nobody beats, at each attempt."""
    years = simulated(setting, options.unbeaten, options.seed, options.processes)
    counts = [len(year) for year in years]
    within = all(n + 1 < ATTEMPTS_A + ATTEMPTS_B * math.log2(day + 2) for year in years for n, (day, _) in enumerate(year))
    most, known = ATTEMPTS_A + ATTEMPTS_B * math.log2(setting.days), "yes" if setting.estimated else "no"
    told = f"{np.mean(counts):.1f} | {max(counts)} | {most:.1f} | {'ok' if within else 'TOO MANY'}"
    print(f"{setting.rows:>6,} | {known:>8} | {told}", flush=True)
    return within


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=200, help="so many unchanged years per setting")
    parser.add_argument("--rows", type=int, nargs="+", default=[20, 120, 2000], help="rows a day")
    parser.add_argument("--day-effect", type=float, default=0.0, help="standard deviation of a day's step, in logits")
    parser.add_argument("--unbeaten", type=int, default=10, help="so many spans of two years with an unbeaten champion")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    held = []
    print(f"{options.years} years without change, day effect {options.day_effect}")
    print("rows a day | estimate | trainings a year | years with one | causes | declared | at most (+ 2 s.e.) | time | verdict")
    for rows in options.rows:
        for estimated in (True, False):
            held.append(unchanged(Setting(rows, 365, 0.0, options.day_effect, estimated), options))
    print(f"a champion that nobody beats, two years, {options.unbeaten} times: a = {ATTEMPTS_A}, b = {ATTEMPTS_B}")
    print("rows a day | estimate | attempts, mean | most | a + b log2(days) | verdict (at every attempt)")
    for rows in options.rows:
        for estimated in (True, False):
            held.append(unbeaten(Setting(rows, 730, SHIFT, options.day_effect, estimated), options))
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
