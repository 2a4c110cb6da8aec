"""An experiment between two versions of the demo over seven live days in real Airflow; then computed again by other code.

    .venv/bin/python benchmarks/experiment_live.py [--state var] [--to /tmp/live] [--challenger 2] [--policy thompson]

Needs the state of `make demo`, which stays as it is: its copy knows nothing of December, and of no Airflow. A person fills in
the form of the DAG `experiment_form`; no file declares anything. December up to `FIRST` comes at once; from then on plans and
outcomes come by the clock, and each stage runs because of the one before. Exit status 1: something differs
(`experiment_recomputed.py`), or a run failed.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from experiment_recomputed import differences  # noqa: E402
from rewound import EACH_DAY, NAME, rewound  # noqa: E402

from pipelines.local import services  # noqa: E402
from pipelines.local.api import Airflow  # noqa: E402
from pipelines.local.demo import STAGES  # noqa: E402
from pipelines.local.replay import Replay  # noqa: E402
from pipelines.use_case import Partition, load_use_case, span  # noqa: E402
from pipelines.workspace import open_workspace  # noqa: E402

BEFORE, REST = "2013-12-01", "2013-12-01--2013-12-22"
FIRST, LAST = "2013-12-24", "2013-12-30"  # the day between is caught up with, as after an outage
EXPERIMENT, FORM = "experiments", "experiment_form"


class Watched(Replay):
    """The live days of the demo, each over once the experiment was looked at with the labels that came."""

    def open_experiment(self, before: Partition, asked: dict[str, Any]) -> None:
        since = datetime.now(UTC)
        self._set_clock(before, before.ends_at(self.use_case.timezone))
        self.airflow.trigger(self._dag(FORM), "by_hand", conf=asked)
        self._watch(before, (FORM,), since, lambda run: True, lambda: bool(self.airflow.runs(self._dag(FORM))))

    def _live(self, day: Partition, known: list[Partition], days: list[Partition], now: datetime) -> None:
        since, complete = datetime.now(UTC), self.use_case.sources[self.use_case.label.source].complete_at
        super()._live(day, known, days, now)
        labelled = [each.key for each in days if complete(each, self.use_case.timezone) <= now]
        self._watch(day, (*self._chain, EXPERIMENT), since, lambda run: True, lambda: self._looked(labelled))

    def _looked(self, keys: list[str]) -> bool:
        runs = self.airflow.runs(self._dag(EXPERIMENT))
        return set(keys) <= {run.partition_key for run in runs if run.state == "success"}


def page_in_airflow(airflow: Airflow) -> str:
    address = f"{airflow.address}/lifecycle/use-cases/{NAME}/experiment"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {airflow.token()}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def run(options: argparse.Namespace, asked: dict[str, Any], report: Callable[[str, str, str, float | None], None]) -> str:
    """The page as Airflow shows it at the end."""
    workspace, case = open_workspace("live"), load_use_case(NAME)
    days = span(case.partition(FIRST), case.partition(LAST))
    with services.running(options.to / "var") as at:
        airflow = Airflow(at.airflow, at.user, at.password)
        replay = Watched(workspace, case, airflow, report)
        replay.prepare((*STAGES, EXPERIMENT, FORM))
        replay.open_experiment(case.partition(BEFORE).previous, asked)
        replay.bulk(case.period(REST))
        replay.live(days)
        return page_in_airflow(airflow)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=ROOT / "var")
    parser.add_argument("--to", type=Path, default=Path("/tmp/live"))
    parser.add_argument("--challenger", type=int, default=2)
    parser.add_argument("--policy", default="thompson")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    began, state = time.monotonic(), options.to / "var"
    rewound(options.state.absolute(), state, BEFORE, EACH_DAY)
    for file in (state / "landing" / NAME).glob("*/2013-12-*"):
        file.unlink()
    asked = {"name": "seven_days", "question": f"Is v{options.challenger} worth more per flight than the champion?"}
    asked |= {"challengers": {"other": options.challenger}, "first": FIRST, "last": LAST, "policy": options.policy}
    asked |= {"minimum_effect": 0.5, "shares": [0.3]}

    def report(partition: str, stage: str, told: str, seconds: float | None) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {partition:<12} {stage:<20} {told}", flush=True)

    page = run(options, asked, report)
    (options.to / "experiment.html").write_text(page)
    return 0 if differences(state, "seven_days", page) else 1


if __name__ == "__main__":
    sys.exit(main())
