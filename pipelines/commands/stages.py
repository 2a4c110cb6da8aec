"""Every stage as one call, for the command line: what its DAG does, step after step, without Airflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipelines import assessment, features, gates, ingestion, labels, monitoring, promotion, retraining, scoring, training
from pipelines.use_case import Partition, UseCase
from pipelines.workspace import Workspace

_log = logging.getLogger(__name__)


def run_features(workspace: Workspace, use_case: UseCase, partition: Partition) -> Any:
    planned = features.plan(workspace, use_case, partition)
    features.build(workspace, planned)
    return features.publish(workspace, use_case, partition, planned)


def run_training(workspace: Workspace, use_case: UseCase, partition: Partition) -> Any:
    """Assess the data, train every candidate, judge, promote or keep; a candidate that crashes loses, as in the DAG."""
    planned = training.plan_training(workspace, use_case, partition)
    assessed = assessment.admit(workspace, use_case, planned)
    trained = train_all(workspace, use_case, planned)
    evaluated = gates.evaluate_assessed(workspace, use_case, planned, trained, assessed)
    if not evaluated.passed:
        return promotion.keep(workspace, use_case, planned, evaluated)
    registered = promotion.register(workspace, use_case, planned, evaluated)
    return promotion.promote(workspace, use_case, planned, evaluated, registered, None)


def train_all(workspace: Workspace, use_case: UseCase, planned: training.TrainingPlan) -> list[training.Trained]:
    """Every candidate that did not crash. Threads, as fitting lets go of Python's lock: they share the cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda name: _train(workspace, use_case, planned, name), planned.candidates)
    return [t for t in found if t]


def _train(workspace: Workspace, use_case: UseCase, planned: training.TrainingPlan, name: str) -> training.Trained | None:
    try:
        return training.train_candidate(workspace, use_case, planned, name)
    except Exception:  # whatever crashed it, the other candidates go on; if all crash, the evaluation says so
        _log.exception("candidate %s crashed", name)
        return None


def run_monitoring(workspace: Workspace, use_case: UseCase, partition: Partition) -> Any:
    drift = monitoring.measure_drift(workspace, use_case, partition)
    performance = monitoring.measure_performance(workspace, use_case, partition)
    return monitoring.publish(workspace, use_case, partition, drift, performance)


STAGES: dict[str, Callable[[Workspace, UseCase, Partition], Any]] = {
    "ingestion": ingestion.ingest,
    "features": run_features,
    "labels": labels.publish_labels,
    "training": run_training,
    "scoring": scoring.score,
    "monitoring": run_monitoring,
    "retraining": retraining.decide,
}
