"""An experiment over months of the demo's real flights, day by day by a set clock; then all of it computed again by other code.

    .venv/bin/python benchmarks/experiment_months.py [--state var] [--to /tmp/months] [--first 2013-08-01] [--last 2013-11-30]
        [--champion 1] [--challengers newer=2] [--harmful 2013-07] [--policy thompson] [--metric money] [--until 2013-09-15]

Needs the state of `make demo`, which stays as it is: its copy knows no prediction, label or decision of `--first` and later. A
person rolls back to `--champion`, and the experiment is declared. At five past each midnight the day is scored, the labels
come that are complete by then, and it is looked at: the functions behind `python -m pipelines run`. Exit status 1: something
differs (`experiment_recomputed.py`). `--harmful` plants a challenger that learnt turned labels, up to that month; `--until`
stops there, for a look at the page.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from experiment_recomputed import differences  # noqa: E402
from rewound import NAME, declare, plant_harmful, rewound  # noqa: E402

from pipelines.use_case import load_use_case  # noqa: E402
from pipelines.workspace import StageRun, open_workspace  # noqa: E402

AFTER = timedelta(minutes=5)


def declared(options: argparse.Namespace) -> dict[str, Any]:
    pairs = (each.split("=") for each in options.challengers)
    challengers = {name: int(version) for name, version in pairs}
    if options.harmful:
        challengers["harmful"] = plant_harmful(load_use_case(NAME), options.harmful)
    asked = " or ".join(f"v{version}" for version in challengers.values())
    question = f"Is {asked} worth more per flight than v{options.champion}?"
    told = {key: getattr(options, key) for key in ("name", "first", "last", "policy", "metric", "shares")}
    return told | {"question": question, "challengers": challengers, "minimum_effect": options.effect}


class Seconds:
    """How long each step took, in order of the days."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.spent[step].append(time.perf_counter() - began)

    def tell(self) -> None:
        for step, each in self.spent.items():
            first, last = each[: len(each) // 10 or 1], each[-(len(each) // 10 or 1) :]
            told = f"first tenth {sum(first) / len(first):.2f} s, last tenth {sum(last) / len(last):.2f} s"
            print(f"{step:<12} {len(each):>4} times, {sum(each):6.1f} s; a look: {told}, longest {max(each):.2f} s")


def run(options: argparse.Namespace) -> Path:
    """The file of the page, once it has ended or `--until` is over."""
    from pipelines.commands.stages import STAGES
    from pipelines.pages import experiment_page, experiment_view
    from pipelines.promotion import rollback

    workspace, case, seconds = open_workspace("months"), load_use_case(NAME), Seconds()
    now = workspace.ledger.champion(NAME)
    workspace.clock.set(case.partition(options.first).starts_at(case.timezone) + AFTER)
    if now and now.version != options.champion:
        rollback(workspace, case, options.champion, "to be compared on the rows that come", "a person")
    ready = case.sources[case.label.source].complete_at
    last = case.partition(options.last)
    day, waiting = case.partition(options.first), []

    def step(stage: str, about: Any) -> None:
        with seconds.of(stage):
            STAGES[stage](StageRun(workspace, case, about))

    step("experiments", day.previous)
    while day <= last or waiting:
        if options.until and day.key > options.until:
            break
        clock = day.starts_at(case.timezone) + AFTER
        workspace.clock.set(clock)
        if day <= last:
            step("scoring", day)
            waiting.append(day)
        complete = [each for each in waiting if ready(each, case.timezone) <= clock]
        for each in complete:
            waiting.remove(each)
            step("labels", each)
            step("experiments", each)
        day = day.next
    with seconds.of("page"):
        page = experiment_page(case.title, NAME, experiment_view(workspace, case))
    seconds.tell()
    file = options.to / "experiment.html"
    file.write_text(page)
    return file


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=ROOT / "var")
    parser.add_argument("--to", type=Path, default=Path("/tmp/months"))
    parser.add_argument("--first", default="2013-08-01")
    parser.add_argument("--last", default="2013-11-30")
    parser.add_argument("--until")
    parser.add_argument("--champion", type=int, default=1)
    parser.add_argument("--challengers", nargs="*", default=["newer=2"])
    parser.add_argument("--harmful", metavar="MONTH")
    parser.add_argument("--name", default="worth_more")
    parser.add_argument("--policy", default="thompson")
    parser.add_argument("--metric", default="money")
    parser.add_argument("--effect", type=float, default=0.5, help="minimum useful effect per row")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.2])
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    state = options.to / "var"
    rewound(options.state.absolute(), state, options.first)
    declare(state, declared(options))
    page = run(options)
    print(f"page: {page}")
    return 0 if differences(state, options.name, page.read_text()) else 1


if __name__ == "__main__":
    sys.exit(main())
