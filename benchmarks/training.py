"""How long training takes with the reference budget, whether it uses the cores, and what the gates cost beside it.

    .venv/bin/python benchmarks/training.py [--rows 100000] [--features 25]

Seeded rows over three months, in a lake of its own that is thrown away. Candidates, search spaces and budget are those
of conf/use_cases/flight_delay.yaml. Training is what the candidates and the refit cost; the gates' cost is everything
that a model would not need to be trained: scoring the holdout, the champion's comparison, slices, disturbed input and the
fresh process that loads it (twice: what was judged, and what was fitted anew).
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines import gates, monitoring, promotion, scoring, training  # noqa: E402
from pipelines.commands import stages  # noqa: E402
from pipelines.use_case import UseCase, feature_definitions, features_table, labels_table  # noqa: E402
from pipelines.workspace import CommitRecord, StageRun, Workspace, open_workspace  # noqa: E402

MONTHS = ("2013-01", "2013-02", "2013-03")
CATEGORIES = ("carrier", "origin", "dest")


class Clock:
    """Wall seconds and CPU seconds, of this process and its children, per part."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        print(f"{name} ...", flush=True)
        wall, cpu = time.perf_counter(), _cpu()
        yield
        self.wall[name] = self.wall.get(name, 0) + time.perf_counter() - wall
        self.cpu[name] = self.cpu.get(name, 0) + _cpu() - cpu


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def use_case(features: int) -> UseCase:
    """The reference use case with so many features, three of them categories, and no history."""
    document = yaml.safe_load((ROOT / "conf" / "use_cases" / "flight_delay.yaml").read_text())
    numeric = {f"x{number}": "distance" for number in range(features - len(CATEGORIES))}
    document["grain"] = "month"  # three partitions, as the rows are made here
    document["features"] |= {"sparse": [], "expressions": {**{c: c for c in CATEGORIES}, **numeric}, "history": [], "joins": []}
    return UseCase.model_validate(document)


def publish(workspace: Workspace, case: UseCase, rows: int) -> None:
    """Seeded rows whose label hangs on some of the features."""
    import pandas as pd
    import pyarrow as pa

    for number, month in enumerate(MONTHS):
        partition, random = case.partition(month), np.random.default_rng(number)
        count = rows // len(MONTHS)
        frame = pd.DataFrame(random.normal(size=(count, len(case.numeric))), columns=list(case.numeric))
        choices = {
            "carrier": [f"C{i}" for i in range(16)],
            "origin": ["EWR", "JFK", "LGA"],
            "dest": [f"D{i}" for i in range(100)],
        }
        for name, values in choices.items():
            frame[name] = random.choice(values, count)
        cause = frame["x0"] + 0.5 * frame["x1"] * frame["x2"] - 1.5 + 0.4 * (frame["origin"] == "EWR")
        days = pd.to_datetime(partition.start) + pd.to_timedelta(random.integers(0, 28, count), unit="D")
        keys = [case.features.key, case.features.date]
        frame[keys[0]], frame[keys[1]] = [f"{month}-{i:06d}" for i in range(count)], days.date
        label = (random.random(count) < 1 / (1 + np.exp(-cause))).astype("int64")
        for table, part in ((features_table(case), frame), (labels_table(case), frame[keys].assign(label=label))):
            staged = workspace.lake.stage(
                table, month, pa.Table.from_pandas(part, preserve_index=False).replace_schema_metadata(None)
            )
            workspace.lake.publish(table, month, [staged], CommitRecord(definitions=feature_definitions(case)))


def run(workspace: Workspace, case: UseCase, clock: Clock) -> Any:
    """Train, judge and register, part by part."""
    stage = StageRun(workspace, case, case.partition(MONTHS[-1]))
    at_work = training.TrainingRun(workspace, case, training.plan_training(stage))
    steps = scoring.rehearse, monitoring.rehearse, promotion.rehearse
    with clock.part("training"):
        trained = stages.train_all(at_work)
    with clock.part("gates"):
        judged = gates.Judged(at_work, gates.evaluate_candidates(at_work, trained, steps))
    with clock.part("training"):
        refitted = promotion.refit(judged)
    with clock.part("gates"):
        promotion.refuse_unserved(refitted)
    return judged.evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=25)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    case, clock = use_case(options.features), Clock()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRAINYARD_STATE"] = folder
        workspace = open_workspace("benchmark")
        publish(workspace, case, options.rows)
        workspace.registry.client.search_experiments()  # makes MLflow's database, which is no part of a training
        judged = run(workspace, case, clock)
    train, gate = clock.wall["training"], clock.wall["gates"]
    print(f"{options.rows} rows x {options.features} features, {len(case.training.candidates)} candidates, "
          f"{case.training.trials} trials each, best: {judged.chosen.candidate}")  # fmt: skip
    print(
        f"training {train:6.1f} s   (at most 180 asked)   cores used: {clock.cpu['training'] / train:.2f} of {os.cpu_count()}"
    )
    print(f"gates    {gate:6.1f} s   ratio to training {gate / train:.2f}   (below 0.25 is the goal)")


if __name__ == "__main__":
    main()
