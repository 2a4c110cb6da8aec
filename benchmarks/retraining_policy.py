"""When to train anew: policies replayed over the real year, week by week, by what they save and what they cost.

    .venv/bin/python benchmarks/retraining_policy.py [--scenarios ...] [--firsts ...] [--state FOLDER] [--quick]

2013 of the reference use case is ingested and its features are built once, by one Spark job, into the state folder, which
takes minutes; plain logistic regressions are fitted on all rows before each Monday, and what they say is kept there too. A
model that is trained at the end of a week serves from the next. `ours` asks what `pipelines.retraining` asks: what a
challenger, fitted on all but the newest week, saves on it, and what monitoring says of the week. How large a gain has to be
was not chosen on these weeks: see `shifted` and `reversed`, and simulated_years.py beside it. Seconds are CPU seconds of all
fits that a policy asked for, challengers too.

Scenarios: the `real` year, by the pipelines' own fits (`--quick`: as the others); `shifted`, from July to June; `reversed`, its
weeks from the last to the first; `shuffled`, its rows on days drawn anew, so that nothing changes. From 27 May on, in a calm,
watched with drift: faults for two weeks (`nulls`: the weather feed is empty; `unit`: visibility in km; `doubled`: each
flight twice), or for good `meaning`, late means from one minute on, and `flipped`, a label says the opposite; or `unchanged`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from real_year import CHANGED, FAULTS, MEANINGS, ORDERS, Fits, Floats, Quick, in_scenario, year  # noqa: E402
from simulated_years import Rule, newest, of_age  # noqa: E402
from watched_weeks import watched  # noqa: E402

from pipelines.local import REFERENCE  # noqa: E402
from pipelines.metrics import losses, scores  # noqa: E402
from pipelines.monitoring import Monitored  # noqa: E402
from pipelines.retraining import Gain, RetrainingDecision  # noqa: E402
from pipelines.retraining.challenger import gain  # noqa: E402
from pipelines.retraining.policy import judge  # noqa: E402
from pipelines.retraining.state import State  # noqa: E402
from pipelines.use_case import Grain, Partition, UseCase, load_use_case, money  # noqa: E402
from pipelines.use_case.retraining import Budget  # noqa: E402
from pipelines.workspace import Champion  # noqa: E402

LAST = date(2013, 12, 31)
FIRSTS = {"January-February": date(2013, 3, 1), "January-March": date(2013, 4, 1), "January-April": date(2013, 5, 1)}


@dataclass(frozen=True)
class Asked:
    """The end of a week: since when the champion serves, and what it lost against a challenger, week by week."""

    champion: date
    number: int  # from the first champion on
    start: date
    after: date
    labels: int
    gains: list[Gain]
    trained: list[date]
    windows: list[Monitored]


@dataclass
class Replayed:
    """What was served, the days before which a model was trained, and the CPU seconds of all fits that it took."""

    probability: Floats
    trained: list[date] = field(default_factory=list)
    seconds: float = 0.0


Policy = Callable[[Asked], bool]
# By simulated_years.py: of the rules within 0.003 of the largest share the one with the fewest trainings.
BUDGET = Budget(trainings=8, period=timedelta(days=364), pace=0.5)
SETTINGS = {"min_gain": 0.001, "gain_memory": 0.7, "false_gains": None, "cooldown": timedelta(days=20), "budget": BUDGET}
PLAIN = newest(0.002, 3)  # by the limit that simulated_years.py chooses for it
AGES = {"never": 99, "every 12 weeks": 12, "every 8 weeks": 8, "every month": 4, "every 2 weeks": 2, "every week": 1}


def by(rule: Rule) -> Policy:
    """A rule as the simulated years know it."""
    return lambda asked: rule(
        -((asked.champion - asked.after).days // 7), [gain.mean for gain in asked.gains], asked.number, len(asked.trained)
    )


class Ours:
    """The pipelines' own policy, with its brakes; `decisions` are what it said at the end of each week."""

    def __init__(self, case: UseCase) -> None:
        self.case = case.model_copy(update={"retraining": case.retraining.model_copy(update=SETTINGS)})
        self.decided: set[str] = set()
        self.decisions: list[RetrainingDecision] = []

    def __call__(self, asked: Asked) -> bool:
        moments = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (*asked.trained, asked.after)]
        version = len(asked.trained) + 1
        state = State(
            champion=Champion(version, asked.champion.isoformat(), "promoted", "replayed", moments[0].isoformat()),
            windows=tuple(w for w in asked.windows if w.model_version == version and w.partition not in self.decided),
            history=tuple(asked.windows),
            served=asked.after - asked.champion,
            new_labels=asked.labels,
            trained_until=asked.champion,
            train_on=Partition.of(asked.after - timedelta(days=1), Grain.DAY),
            gain=asked.gains[-1] if asked.gains else None,
            gains=tuple(asked.gains[:-1]),
            started=tuple(moments[:-1]),
            now=moments[-1],
        )
        decision = judge(self.case, Partition.of(asked.start, Grain.WEEK), state)
        self.decided |= set(decision.evidence["decided"])
        self.decisions.append(decision)
        return decision.retrain


def policies(case: UseCase) -> dict[str, Policy]:
    return {name: by(of_age(age)) for name, age in AGES.items()} | {"plain rule": by(PLAIN), "ours": Ours(case)}


def weeks(first: date, last: date = LAST) -> Iterator[tuple[date, date]]:
    """Half-open, from a day on; the first and the last may be shorter."""
    while first < last:
        after = min(first + timedelta(days=7 - first.weekday()), last)
        yield first, after
        first = after


def replay(fits: Fits, first: date, wants: Policy, last: date = LAST, asks: bool = True, drift: bool = False) -> Replayed:
    """A year under a policy: what each week's champion says, and what is decided at the week's end."""
    found, champion = Replayed(np.full(len(fits.day), np.nan)), first
    gains: list[Gain] = []
    windows: list[Monitored] = []
    for number, (start, after) in enumerate(weeks(first, last), 1):
        week = (fits.day >= start) & (fits.day < after)
        says = found.probability[week] = fits.before(champion)[0][week]
        if asks and champion < start:
            challenger, seconds = fits.before(start)
            lost, would_lose = (losses(fits.label[week], p) for p in (says, challenger[week]))
            key = Partition.of(start, Grain.WEEK).key
            gains.append(gain(key, fits.day[week], lost, would_lose, fits.use_case.gates.confidence))
            found.seconds += seconds
        if asks:
            key = Partition.of(start, Grain.WEEK).key
            windows.append(watched(fits, key, week, champion, len(found.trained) + 1, drift))
        labels = int(((fits.day >= champion) & (fits.day < after)).sum())
        if after < last and wants(Asked(champion, number, start, after, labels, gains, found.trained, windows)):
            champion, gains = after, []
            found.trained.append(after)
            found.seconds += fits.before(after)[1]
    return found


def table(fits: Fits, first: date, found: dict[str, Replayed]) -> pd.DataFrame:
    """Per policy the scores over all rows served, and its share of what training every week saves over never."""
    served, case = fits.day >= first, fits.use_case
    lines = {}
    for name, each in found.items():
        label, probability = fits.label[served], each.probability[served]
        quality = scores(label, probability)
        worth = money(label, probability, case.value, case.scoring.threshold) if case.value else None
        lines[name] = {
            "retrainings": len(each.trained), "log loss": quality["log_loss"], "AUC": quality["auc"], "money": worth,
            "CPU seconds": each.seconds,
        }  # fmt: skip
    told = pd.DataFrame(lines).T
    loss = told["log loss"]
    told["share of weekly's gain"] = (loss["never"] - loss) / (loss["never"] - loss["every week"])
    return told


def draw(fits: Fits, first: date, found: dict[str, Replayed], file: Path) -> None:
    """The log loss per week, and how far each policy is above training every week, with its retrainings marked."""
    from matplotlib.figure import Figure

    spans = list(weeks(first))
    within = [(fits.day >= start) & (fits.day < after) for start, after in spans]
    x = [start for start, _ in spans]
    loss = {name: np.array([losses(fits.label[w], each.probability[w]).mean() for w in within]) for name, each in found.items()}
    shown = [name for name in found if name not in ("every week", "every 2 weeks")]
    figure = Figure((13, 1.6 * len(shown) + 3), layout="constrained")
    top, *panels = figure.subplots(len(shown) + 1, 1, sharex=True, height_ratios=[2, *[1] * len(shown)])
    for name in ("never", "every week", "ours"):
        top.plot(x, loss[name], label=name)
    top.set_title("log loss per week", loc="left")
    top.legend(frameon=False, ncols=3)
    for panel, name in zip(panels, shown, strict=True):
        panel.bar(x, loss[name] - loss["every week"], width=6)
        for day in found[name].trained:
            panel.axvline(day, color="black", linewidth=1, linestyle="--")
        panel.set_title(f"{name}: above every week; {len(found[name].trained)} retrainings, dashed", loc="left", fontsize=10)
        panel.sharey(panels[0])
    figure.savefig(file)


def show(fits: Fits, name: str, file: Path) -> None:
    first = FIRSTS[name]
    found = {each: replay(fits, first, wants, asks=each not in AGES) for each, wants in policies(fits.use_case).items()}
    print(f"\nFirst champion of {name}; {first} to {LAST - timedelta(days=1)}:")
    print(table(fits, first, found).to_string(float_format="{:,.4f}".format))
    print(f"ours trains before {', '.join(map(str, found['ours'].trained))}; drawn in {file}", flush=True)
    draw(fits, first, found, file)


def shuffled(fits: Fits) -> None:
    print("\nA year without drift (at most one training is the goal):")
    for name, wants in {"ours": Ours(fits.use_case), "plain rule": by(PLAIN)}.items():
        trained = replay(fits, FIRSTS["January-March"], wants).trained
        print(f"{name} trains {len(trained)} times: {', '.join(map(str, trained))}", flush=True)


def by_limits(fits: Fits, name: str) -> None:
    """The same rule by other limits, on another year, from all first champions."""
    limits = (0.001, 0.0015, 0.002, 0.0025, 0.003, 0.004, 0.005)
    rules: dict[str, Policy] = {name: by(of_age(AGES[name])) for name in ("never", "every week")}
    rules |= {f"newest week > {limit}": by(newest(limit, 3)) for limit in limits}
    for champion, first in FIRSTS.items():
        rules["ours"] = Ours(fits.use_case)
        found = {each: replay(fits, first, wants, asks=each not in AGES) for each, wants in rules.items()}
        print(f"\nThe {name} year, first champion of its {champion}:")
        columns = ["retrainings", "log loss", "share of weekly's gain"]
        print(table(fits, first, found)[columns].round(4).to_string(), flush=True)


def changed(fits: Fits, scenario: str) -> None:
    """Five weeks about the change; the cooldown ends with the first changed week, so that it holds no answer up."""
    first, last = CHANGED - timedelta(weeks=2), CHANGED + timedelta(weeks=3)
    ours = Ours(fits.use_case)
    trained = replay(fits, first, ours, last, drift=True).trained
    blind = replay(fits, first, Ours(fits.use_case), last).trained
    told = ", ".join(map(str, trained)) or "none"
    print(f"\n{scenario}, from {CHANGED} on: trainings before {told}; with drift not measured {len(blind)}", flush=True)
    if scenario in MEANINGS:
        answer = next(((day - CHANGED).days // 7 for day in trained if day > CHANGED), None)
        print(f"answered after {answer} labelled weeks (at most two is the goal)")
    for decision in ours.decisions:
        print(f"{decision.partition} {decision.cause}: {decision.why[:300]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--firsts", nargs="+", choices=FIRSTS, default=list(FIRSTS), help="what the first champion knew")
    names = [*ORDERS, "unchanged", *FAULTS, *MEANINGS]
    parser.add_argument("--scenarios", nargs="+", choices=names, default=names)
    parser.add_argument("--state", type=Path, default=ROOT / "var" / "year", help="where rows, models and plots are kept")
    parser.add_argument("--quick", action="store_true", help="the real year by quick fits, too")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    case, state = load_use_case(REFERENCE), options.state.absolute()
    rows = year(case, state)
    recipe = next(name for name, candidate in case.training.candidates.items() if candidate.simple)
    for scenario in options.scenarios:
        quick = options.quick or scenario != "real"
        folder = state / "fits" / f"{scenario}-{recipe}{'-quick' if quick else ''}"
        fits = (Quick if quick else Fits)(case, in_scenario(case, rows, scenario), folder, recipe)
        if scenario == "real":
            for name in options.firsts:
                show(fits, name, state / f"retraining_policy_{name}{'_quick' if quick else ''}.png")
        elif scenario == "shuffled":
            shuffled(fits)
        elif scenario in ORDERS:
            by_limits(fits, scenario)
        else:
            changed(fits, scenario)


if __name__ == "__main__":
    main()
