"""What monitoring has seen: the rows of the `monitoring` table, which decisions and pages read."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipelines.use_case import UseCase, monitoring_table
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Drift:
    """Distances per column; `report` is Evidently's page, relative to the reports folder."""

    model_version: int
    drifted_share: float
    drifted: tuple[str, ...]
    prediction_drift: float
    distances: dict[str, float]
    report: str


@dataclass(frozen=True)
class Performance:
    """How the served predictions did, against outcomes; `worth` is money against doing nothing."""

    model_version: int
    rows: int
    labels: int
    auc: float | None
    log_loss: float | None
    positive_share: float | None
    mean_prediction: float | None
    calibration_error: float | None
    worth: float | None


@dataclass(frozen=True)
class Monitored:
    """The state of one partition, as published in the `monitoring` table."""

    partition: str
    model_version: int | None
    drift: Drift | None
    performance: Performance | None


def latest(workspace: Workspace, use_case: UseCase) -> dict[str, Monitored]:
    """What is known of every monitored partition, oldest first."""
    if not workspace.lake.partitions(monitoring_table(use_case)):
        return {}
    found = {}
    for row in workspace.lake.read(monitoring_table(use_case), columns=["model_version", "document"]).to_pylist():
        document = json.loads(row["document"])
        drift, performance = document["drift"], document["performance"]
        found[row["partition"]] = Monitored(
            row["partition"],
            row["model_version"],
            Drift(**{**drift, "drifted": tuple(drift["drifted"])}) if drift else None,
            Performance(**performance) if performance else None,
        )
    return dict(sorted(found.items()))
