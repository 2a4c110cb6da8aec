"""Whether forecasts of a loss's crossing keep the coverage that they state, on simulated series whose crossing is known.

    .venv/bin/python benchmarks/loss_forecast.py [--series 500] [--coverage 0.8] [--seed 0]

Weekly windows, 8 to 40 of them known, noise of 0.004. The crossing is that of the level, the loss without its noise, and the
threshold hangs on nothing that comes after the newest window but by the drift. `inside` is the share of series whose interval
held the crossing (none within a year counts as later than all), `back-test` what the forecasts said of themselves. Exits with 1
where a kind falls short of the stated coverage by more than 10 points, or all kinds that cross together miss it by more than
that on either side. A step after the newest window announces itself by nothing: it is shown, and asked for nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.monitoring import Crossing, forecast  # noqa: E402

AHEAD, WEEK, START, NOISE, SLACK = 52, timedelta(days=7), date(2024, 1, 1), 0.004, 0.1
Floats = NDArray[np.floating[Any]]
Level = Callable[[Floats, int, np.random.Generator], Floats]  # of all windows, the known ones first; in units of the noise


def line(times: Floats, known: int, random: np.random.Generator) -> Floats:
    return random.uniform(0.05, 0.4) * times


def walk(times: Floats, known: int, random: np.random.Generator) -> Floats:
    return line(times, known, random) + np.cumsum(random.normal(0, random.uniform(0.2, 1), len(times)))


def step(times: Floats, known: int, random: np.random.Generator) -> Floats:
    return line(times, known, random) + random.uniform(1, 4) * (times >= random.integers(2, known - 1))


def wiggle(times: Floats, known: int, random: np.random.Generator) -> Floats:
    season = np.sin(2 * np.pi * (times / random.uniform(8, 52) + random.random()))
    return line(times, known, random) + random.uniform(0.5, 1.5) * season


def onset(times: Floats, known: int, random: np.random.Generator) -> Floats:
    return line(np.maximum(times - random.integers(0, known - 3), 0), known, random)


def flat(times: Floats, known: int, random: np.random.Generator) -> Floats:
    return 0 * times


def step_to_come(times: Floats, known: int, random: np.random.Generator) -> Floats:
    return 5.0 * (times >= known + random.integers(3, AHEAD))


CROSSING: dict[str, Level] = {
    "line": line, "line, heavy tails": line, "random walk with drift": walk, "step, then line": step,
    "line with season": wiggle, "flat, then line": onset,
}  # fmt: skip
UNTOLD = "step yet to come"
KINDS = CROSSING | {"flat, never crosses": flat, UNTOLD: step_to_come}


@dataclass(frozen=True)
class Told:
    """A forecast, and the date that it was about; None beyond the year."""

    crossing: Crossing
    truth: date | None

    @property
    def inside(self) -> bool:
        low, truth, high = (each or date.max for each in (self.crossing.earliest, self.truth, self.crossing.latest))
        return low <= truth <= high

    @property
    def weeks(self) -> float:
        """From the earliest to the latest date; what lies beyond the horizon ends with it."""
        end = self.crossing.horizon or date.max
        return ((self.crossing.latest or end) - (self.crossing.earliest or end)) / WEEK


def simulate(kind: str, coverage: float, seed: int, number: int) -> Told:
    """One series of the kind, by its number."""
    random = np.random.default_rng([seed, list(KINDS).index(kind), number])
    known = int(random.integers(8, 41))
    level = KINDS[kind](np.arange(known + AHEAD + 1, dtype=float), known, random)
    noise = random.standard_t(3, known) / np.sqrt(3) if "heavy" in kind else random.standard_normal(known)
    pace = max((level[known - 1] - level[0]) / (known - 1), 0.05) if kind in CROSSING else 0.2
    threshold = level[known - 1] + pace * random.uniform(5, 20)
    above = np.flatnonzero(level[known - 1 :] > threshold)
    history = [(START + week * WEEK, NOISE * float(loss)) for week, loss in enumerate(level[:known] + noise)]
    found = forecast(history, NOISE * float(threshold), coverage, (AHEAD * WEEK).days, number)
    return Told(found, history[-1][0] + int(above[0]) * WEEK if len(above) else None)


def share(values: Iterable[bool]) -> float:
    return float(np.mean(list(values)))


def row(name: str, told: Sequence[Told]) -> str:
    tested = sum(t.crossing.covered for t in told) / sum(t.crossing.origins for t in told)
    never, known = share(t.truth is None for t in told), share(t.crossing.latest is not None for t in told)
    width = f"{np.median([t.weeks for t in told]):5.0f}"
    return f"{name:24}{len(told):7}{share(t.inside for t in told):9.1%}{tested:11.1%}{never:9.1%}{known:12.1%}{width:>8}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=500, help="of each kind")
    parser.add_argument("--coverage", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began, least, most = time.perf_counter(), options.coverage - SLACK, options.coverage + SLACK
    print(f"stated coverage {options.coverage:.0%}, seed {options.seed}")
    print(f"{'kind':24}{'series':>7}{'inside':>9}{'back-test':>11}{'never':>9}{'latest known':>12}{'weeks':>8}")
    told: dict[str, list[Told]] = {}
    for kind in KINDS:
        told[kind] = [simulate(kind, options.coverage, options.seed, number) for number in range(options.series)]
        print(row(kind, told[kind]), flush=True)
    together = [each for kind in CROSSING for each in told[kind]]
    print(row("all kinds that cross", together))
    short = [kind for kind in KINDS if kind != UNTOLD and share(t.inside for t in told[kind]) < least]
    missed = not least <= share(t.inside for t in together) <= most
    print(f"{(time.perf_counter() - began) / sum(map(len, told.values())):.3f} s a forecast with its back-test")
    print(f"missed: {short or ''}{' together' if missed else ''}" if short or missed else "kept, within 10 points")
    sys.exit(bool(short or missed))


if __name__ == "__main__":
    main()
