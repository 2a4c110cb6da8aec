"""Every stage as one call, for the command line: what its DAG does, step after step, without Airflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipelines import assessment, evaluation, features, ingestion, labels, monitoring, promotion, retraining, scoring, training
from pipelines.config import UseCase
from pipelines.environment import Yard
from pipelines.partitions import Partition

_log = logging.getLogger(__name__)


def run_features(yard: Yard, use_case: UseCase, partition: Partition) -> Any:
    planned = features.plan(yard, use_case, partition)
    features.build(yard, planned)
    return features.publish(yard, use_case, partition, planned)


def run_training(yard: Yard, use_case: UseCase, partition: Partition) -> Any:
    """Assess the data, train every candidate, judge, promote or keep; a candidate that crashes loses, as in the DAG."""
    planned = training.plan_training(yard, use_case, partition)
    assessed = assessment.admit(yard, use_case, planned)
    trained = train_all(yard, use_case, planned)
    evaluated = evaluation.evaluate_assessed(yard, use_case, planned, trained, assessed)
    if not evaluated.passed:
        return promotion.keep(yard, use_case, planned, evaluated)
    registered = promotion.register(yard, use_case, planned, evaluated)
    return promotion.promote(yard, use_case, planned, evaluated, registered, None)


def train_all(yard: Yard, use_case: UseCase, planned: training.TrainingPlan) -> list[training.Trained]:
    """Every candidate that did not crash. Threads, as fitting lets go of Python's lock: they share the cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda name: _train(yard, use_case, planned, name), planned.candidates)
    return [t for t in found if t]


def _train(yard: Yard, use_case: UseCase, planned: training.TrainingPlan, name: str) -> training.Trained | None:
    try:
        return training.train_candidate(yard, use_case, planned, name)
    except Exception:  # whatever crashed it, the other candidates go on; if all crash, the evaluation says so
        _log.exception("candidate %s crashed", name)
        return None


def run_monitoring(yard: Yard, use_case: UseCase, partition: Partition) -> Any:
    drift = monitoring.measure_drift(yard, use_case, partition)
    performance = monitoring.measure_performance(yard, use_case, partition)
    return monitoring.publish(yard, use_case, partition, drift, performance)


STAGES: dict[str, Callable[[Yard, UseCase, Partition], Any]] = {
    "ingestion": ingestion.ingest,
    "features": run_features,
    "labels": labels.publish_labels,
    "training": run_training,
    "scoring": scoring.score,
    "monitoring": run_monitoring,
    "retraining": retraining.decide,
}
