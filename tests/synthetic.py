"""Rows of the use case `parcels`: seeded, with a label that depends on the features. Written as landing files, or
published straight into the lake as features and labels (what ingestion and Spark would make of them)."""

from __future__ import annotations

import gzip
import zlib
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.features.planning import SPARK_TYPES
from pipelines.labels import to_labels
from pipelines.use_case import Partition, UseCase, feature_definitions, features_table, labels_table, value_text
from pipelines.workspace import CommitRecord, Workspace, files

FIRST_DAY = "2024-03-01"
ROWS = 120
RATINGS = {"AA": 4.5, "BB": 3.0, "CC": 1.5}


def days(use_case: UseCase, count: int, first: str = FIRST_DAY) -> list[Partition]:
    """`count` consecutive partitions."""
    found = [use_case.partition(first)]
    while len(found) < count:
        found.append(found[-1].next)
    return found


def parcels(
    partition: Partition, rows: int = ROWS, drift: float = 0.0, flip: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Shipments and deliveries of one day. `drift` km are added to the distance; `flip` turns the label's cause around."""
    random = np.random.default_rng(zlib.crc32(partition.key.encode()))
    identity = {"shipment_id": [f"{partition.key}-{i:04d}" for i in range(rows)], "ship_date": partition.key}
    shipments = pd.DataFrame(
        {
            **identity,
            "depot": random.choice(["north", "south", "east"], rows),
            "carrier": random.choice(list(RATINGS), rows),
            "distance": np.round(random.uniform(10, 1000, rows) + drift, 1),
            "weight": np.where(random.random(rows) < 0.05, np.nan, np.round(random.gamma(2, 5, rows), 2)),
            "pieces": random.integers(1, 8, rows),
        }
    )
    cause = (
        (shipments.distance - drift - 600) / 150 + 1.5 * (shipments.depot == "north") - shipments.carrier.map(RATINGS) / 3 + 0.5
    )
    delay = np.round(15 + 20 * ((-cause if flip else cause) + random.logistic(0, 0.7, rows)), 1)
    lost = random.random(rows) < 0.02
    left = pd.Timestamp(partition.start) + pd.to_timedelta(random.integers(0, 720, rows), unit="min")
    delivered = left + pd.to_timedelta(180 + np.maximum(delay, -100), unit="min")
    deliveries = pd.DataFrame(
        {
            **identity,
            "left_at": left.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "delivered_at": np.where(lost, None, delivered.dt.strftime("%Y-%m-%dT%H:%M:%SZ")),
            "delay": np.where(lost, np.nan, delay),
        }
    )
    return shipments, deliveries


def carriers() -> pd.DataFrame:
    return pd.DataFrame({"carrier": list(RATINGS), "rating": list(RATINGS.values())})


def put(workspace: Workspace, source: str, partition: Partition, rows: pd.DataFrame | str | bytes) -> str:
    """Put one landing file in place, from a frame or from the file's own text; return its address."""
    text = rows.to_csv(index=False) if isinstance(rows, pd.DataFrame) else rows
    data = text.encode() if isinstance(text, str) else text
    uri = f"{workspace.environment.landing}/parcels/{source}/{partition.key}.csv.gz"
    if source == "carriers":
        uri = f"{workspace.environment.landing}/parcels/carriers.csv"
        files.write_bytes(uri, data)
    else:
        files.write_bytes(uri, gzip.compress(data, mtime=0))
    return uri


def arrive(workspace: Workspace, partition: Partition, **how: Any) -> None:
    """All landing files of one partition; `how` as in `parcels`."""
    shipments, deliveries = parcels(partition, **how)
    put(workspace, "shipments", partition, shipments)
    put(workspace, "deliveries", partition, deliveries)
    put(workspace, "carriers", partition, carriers())


def publish(workspace: Workspace, use_case: UseCase, partition: Partition, **how: Any) -> None:
    """Features and labels of one partition straight into the lake, without ingestion and without Spark."""
    shipments, _ = parcels(partition, **how)
    publish_features(workspace, use_case, partition, features(partition, shipments, **how))
    publish_labels(workspace, use_case, partition, **how)


def publish_labels(workspace: Workspace, use_case: UseCase, partition: Partition, **how: Any) -> None:
    """Labels of one partition."""
    _, deliveries = parcels(partition, **how)
    labels = to_labels(deliveries.assign(delivered_at=pd.to_datetime(deliveries.delivered_at)), use_case)
    _publish(workspace, labels_table(use_case), partition, labels)


def features(partition: Partition, shipments: pd.DataFrame, **how: Any) -> pd.DataFrame:
    """The feature rows of one day; the history is the share of late parcels of the days before."""
    late = [_late_share(partition, back, **how) for back in (1, 2, 3)]
    return shipments.assign(
        ship_date=partition.start,
        rating=shipments.carrier.map(RATINGS),
        all_parcels_late_1d=late[0],
        all_parcels_late_3d=float(np.mean(late)),
    )


def publish_features(workspace: Workspace, use_case: UseCase, partition: Partition, rows: pd.DataFrame) -> None:
    spec = use_case.features
    definitions = feature_definitions(use_case)
    _publish(workspace, features_table(use_case), partition, rows[[spec.key, spec.date, *spec.names]], definitions)


def _late_share(partition: Partition, back: int, **how: Any) -> float:
    before = Partition.of(partition.start - timedelta(days=back), partition.grain)
    return float((parcels(before, **how)[1].delay >= 15).mean())


def _publish(
    workspace: Workspace, table: str, partition: Partition, rows: pd.DataFrame, definitions: dict[str, str] | None = None
) -> None:
    arrow = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    staged = workspace.lake.stage(table, partition.key, arrow)
    workspace.lake.publish(table, partition.key, [staged], CommitRecord(run=workspace.run, definitions=definitions))


def job_plan(use_case: UseCase) -> dict[str, Any]:
    """What a features job's plan says of the features' definitions."""
    inputs = {
        name: {
            "files": {},
            "when": use_case.sources[name].timing,
            "columns": {n: {"type": SPARK_TYPES[c.type], "default": value_text(c.default)} for n, c in of.columns.items()},
        }
        for name, of in use_case.contract.items()
    }
    parts = {part: getattr(use_case, part).model_dump(mode="json") for part in ("features", "label")}
    return {"timezone": use_case.timezone, "inputs": inputs, **parts}
