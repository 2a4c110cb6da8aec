"""Monitoring a large partition: seconds and peak memory of the process that measures and publishes a window of so many rows.

    .venv/bin/python benchmarks/monitoring.py [--rows 3000000]

The tests' use case `parcels`: a champion is trained on eight days of 2,000 rows; the day after holds `--rows` rows of features,
labels and predictions, each in one file, the labels in another order. The goal is a peak below 2 GiB for 30 million rows.
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
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402

from pipelines.commands import stages  # noqa: E402
from pipelines.labels import to_labels  # noqa: E402
from pipelines.use_case import feature_definitions, features_table, labels_table, predictions_table, read_use_case  # noqa: E402
from pipelines.workspace import CommitRecord, StageRun, Workspace, open_workspace, prediction_schema  # noqa: E402
from tests import synthetic  # noqa: E402

CASE = read_use_case(ROOT / "tests" / "use_cases" / "parcels.yaml")
DAYS = synthetic.days(CASE, 9)
PART, GIB = 500_000, 2**30


def make(workspace: Workspace, rows: int) -> None:
    """A champion, and the day that it served."""
    for day in DAYS[:-1]:
        synthetic.publish(workspace, CASE, day, rows=2000)
    stages.run_training(StageRun(workspace, CASE, DAYS[-2]))
    champion = workspace.ledger.champion(CASE.name)
    assert champion
    served = {"model_version": champion.version, "act": False, "made_at": datetime.now(UTC), "run": "benchmark", "served": True}
    size, day, key = min(rows, PART), DAYS[-1], CASE.features.key
    shipments, deliveries = synthetic.parcels(day, size)
    features = synthetic.features(day, shipments)[[key, CASE.features.date, *CASE.features.names]]
    labels = to_labels(deliveries.assign(delivered_at=pd.to_datetime(deliveries.delivered_at)), CASE)
    model = workspace.registry.load(CASE.name, champion.version)
    predictions = pd.DataFrame({key: features[key], "probability": model.predict(features), **served})
    write(workspace, features_table(CASE), features, rows)
    version = workspace.lake.version(features_table(CASE))
    write(workspace, labels_table(CASE), labels.sample(frac=1, random_state=0), rows)
    write(workspace, predictions_table(CASE), predictions.assign(features_version=version), rows)


def write(workspace: Workspace, table: str, rows: pd.DataFrame, count: int) -> None:
    """So many rows, part by part: the same with other keys, and the predictions a little apart."""
    key, day = CASE.features.key, DAYS[-1].key
    schema = pa.Schema.from_pandas(rows, preserve_index=False).remove_metadata()
    if table == predictions_table(CASE):
        schema = pa.schema([f for f in prediction_schema(schema.field(key)) if f.name in rows])
    path = f"{workspace.lake.staging_area(table, day)}/part-00000.parquet"
    with workspace.lake.staging(table, path, schema) as writer:
        for part in parts(rows, -(-count // PART)):
            writer.write_table(pa.Table.from_pandas(part, schema, preserve_index=False).replace_schema_metadata(None))
    record = CommitRecord(run="benchmark", definitions=feature_definitions(CASE) if table == features_table(CASE) else None)
    workspace.lake.publish(table, day, [path], record)


def parts(rows: pd.DataFrame, count: int) -> Iterator[pd.DataFrame]:
    random, key = np.random.default_rng(0), CASE.features.key
    for number in range(count):
        part = rows.assign(**{key: f"{number}-" + rows[key]})
        yield (
            part.assign(probability=part["probability"] * random.uniform(0.999, 1, len(part)))
            if "probability" in part
            else part
        )


def measure() -> None:
    """Measure the day, and print what it took."""
    start = time.perf_counter()
    (found,) = stages.run_monitoring(StageRun(open_workspace("benchmark"), CASE, DAYS[-1]))
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {"seconds": time.perf_counter() - start, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss * 1024}
    assert found.performance
    assert found.drift
    print(json.dumps(told | {"rows": found.performance.rows, "auc": found.performance.auc, "loss": found.performance.log_loss}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--folder", help="where the lake is kept meanwhile")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        measure()
        return
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        os.environ.update(TRAINYARD_STATE=folder, TRAINYARD_ENVIRONMENT="local")
        make(open_workspace("benchmark"), chosen.rows)
        done = subprocess.run([sys.executable, __file__, "--measure"], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(
        f"{found['rows']:,} rows: {found['seconds']:.0f} s ({found['cpu']:.0f} of CPU), peak {found['peak'] / GIB:.2f} GiB; "
        f"AUC {found['auc']:.4f}, log loss {found['loss']:.4f}"
    )


if __name__ == "__main__":
    main()
