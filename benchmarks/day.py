"""What a day of a few rows costs by the command line, with a JVM of its own for its features and with the warm Spark.

    .venv/bin/python benchmarks/day.py [--rows 24] [--rounds 2]

The tests' use case `parcels`, in a state folder of its own that is thrown away: a champion trained on eight days serves, and
the ninth comes in. Each stage is one command, `python -m pipelines run STAGE`; then all of a day in one, `backfill`. Nearly
all of it is fixed: starting Python, importing libraries, starting Spark. Seconds are the best of the rounds; CPU seconds,
which hang less on who else is at work, are those of the same round, with what the warm Spark spent in its time.
Goal: at most 15 s for a day of 24 rows with the warm Spark.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines import ingestion  # noqa: E402
from pipelines.commands import stages  # noqa: E402
from pipelines.features import warm_address  # noqa: E402
from pipelines.local import services  # noqa: E402
from pipelines.use_case import Partition, load_use_case  # noqa: E402
from pipelines.workspace import StageRun, load_environment, open_workspace  # noqa: E402
from tests import synthetic  # noqa: E402

STAGES = ("ingestion", "features", "scoring", "labels", "monitoring", "retraining")
TRAINED, ALL = 8, "one command, backfill"
Cost = tuple[float, float]


def declare(folder: Path) -> None:
    """The use case without its invariants: in a few random rows shares move by chance."""
    document = yaml.safe_load((ROOT / "tests" / "use_cases" / "parcels.yaml").read_text())
    for table in document["contract"].values():
        table.pop("invariants", None)
    (folder / "parcels.yaml").write_text(yaml.safe_dump(document))


def prepare(rows: int) -> list[Partition]:
    """A champion; the last days before the measured one with their sources, so that features have a history."""
    workspace, use_case = open_workspace("benchmark"), load_use_case("parcels")
    days = synthetic.days(use_case, TRAINED + 1)
    for day in days[:TRAINED]:
        synthetic.publish(workspace, use_case, day)
    assert stages.run_training(StageRun(workspace, use_case, days[TRAINED - 1])).decision == "promoted"
    for day in days[TRAINED - 3 :]:
        synthetic.arrive(workspace, day, rows=rows)
    for day in days[TRAINED - 3 : TRAINED]:
        ingestion.ingest_all(StageRun(workspace, use_case, day))
    return days


def spent(server: psutil.Process | None) -> float:
    """CPU seconds of all commands so far, and of the warm Spark."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = server.cpu_times() if server else None
    return used.ru_utime + used.ru_stime + (own.user + own.system if own else 0)


def command(server: psutil.Process | None, *words: str) -> Cost:
    """Seconds and CPU seconds of one command."""
    start, before = time.perf_counter(), spent(server)
    done = subprocess.run([sys.executable, "-m", "pipelines", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return time.perf_counter() - start, spent(server) - before


def best(rounds: int, server: psutil.Process | None, *words: str) -> Cost:
    return min(command(server, *words) for _ in range(rounds))


def measure(days: list[Partition], rounds: int) -> dict[str, tuple[Cost, Cost]]:
    """The measured day, stage by stage and by one command: cold, and with the warm Spark."""
    key, state = days[TRAINED].key, Path(os.environ["TRAINYARD_STATE"])
    backfill = "backfill", "parcels", key, key
    cold = {stage: best(rounds, None, "run", stage, "parcels", key) for stage in STAGES} | {ALL: best(rounds, None, *backfill)}
    (state / "logs").mkdir()
    with services.warm_spark(state, dict(os.environ)) as (service,):
        server = service.process
        while not warm_address(load_environment().spark):
            time.sleep(0.5)
        first = command(server, "run", "features", "parcels", days[TRAINED - 1].key)
        warm = cold | {
            "features": best(rounds, server, "run", "features", "parcels", key),
            ALL: best(rounds, server, *backfill),
        }
    print(f"the first job of a warm Spark, which warms it: {first[0]:.1f} s ({first[1]:.1f})")
    for found in (cold, warm):
        found["sum of the stages"] = sum(found[s][0] for s in STAGES), sum(found[s][1] for s in STAGES)
    return {name: (cold[name], warm[name]) for name in cold}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        # As `make` and the local services have it.
        telemetry = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GX_ANALYTICS_ENABLED": "False"}
        os.environ |= {"TRAINYARD_STATE": f"{folder}/var", "TRAINYARD_USE_CASES": folder, **telemetry}
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        declare(Path(folder))
        days = prepare(options.rows)
        found = measure(days, options.rounds)
    print(f"{options.rows} rows, best of {options.rounds}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'seconds (CPU seconds)':24}{'cold':>14}{'warm':>14}")
    for name, both in found.items():
        print(f"{name:24}" + "".join(f"{f'{seconds:.1f} ({cpu:.1f})':>14}" for seconds, cpu in both))


if __name__ == "__main__":
    main()
