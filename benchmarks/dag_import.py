"""How long Airflow takes to load every DAG file with one use case, against one empty DAG file, in turn.

    python benchmarks/dag_import.py [--rounds 5]

Each round starts a fresh interpreter for either folder and loads it as the DAG processor does; the ratio of the medians
is what counts, as absolute times differ between machines. Goal: at most 1.5.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EMPTY = "from airflow.sdk import DAG\n\nwith DAG('empty'):\n    pass\n"
LOAD = (
    "import sys, time; sys.path.insert(0, sys.argv[1]); start = time.perf_counter();"
    "from airflow.dag_processing.dagbag import DagBag; bag = DagBag(sys.argv[1]);"
    "assert bag.dags and not bag.import_errors, bag.import_errors; print(time.perf_counter() - start)"
)


def seconds(folder: Path, use_cases: Path, home: str) -> float:
    env = {**os.environ, "AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "TRAINYARD_USE_CASES": str(use_cases)}
    env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD, str(folder)], env=env, capture_output=True, text=True, check=True
    )
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as home:
        empty, one = Path(home) / "empty", Path(home) / "use_cases"
        for folder in (empty, one):
            folder.mkdir()
        (empty / "empty.py").write_text(EMPTY)
        (one / "flight_delay.yaml").write_text((ROOT / "conf" / "use_cases" / "flight_delay.yaml").read_text())
        for folder in (empty, ROOT / "dags"):
            seconds(folder, one, home)  # warm the file cache
        pairs = [(seconds(ROOT / "dags", one, home), seconds(empty, one, home)) for _ in range(rounds)]
    ours, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"all DAG files {ours:.2f} s, an empty one {bare:.2f} s, ratio {ours / bare:.2f} (median of {rounds})")


if __name__ == "__main__":
    main()
