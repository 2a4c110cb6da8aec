"""Every stage as one call, for the command line: what its DAG does, step after step, without Airflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipelines import assessment, features, gates, ingestion, labels, monitoring, promotion, retraining, scoring, training
from pipelines.workspace import StageRun

_log = logging.getLogger(__name__)


def run_features(run: StageRun) -> Any:
    planned = features.plan(run)
    features.build(run.workspace, planned)
    return features.publish(run, planned)


def run_training(run: StageRun) -> Any:
    """Assess the data, train every candidate, judge, promote or keep; a candidate that crashes loses, as in the DAG."""
    at_work = training.TrainingRun(run.workspace, run.use_case, training.plan_training(run))
    assessed = assessment.admit(at_work)
    judged = gates.Judged(at_work, gates.evaluate(at_work, train_all(at_work), assessed))
    if not judged.evaluation.passed:
        return promotion.keep(judged)
    return promotion.promote(promotion.Proposal(at_work, judged.evaluation, promotion.register(judged)))


def train_all(at_work: training.TrainingRun) -> list[training.Trained]:
    """Every candidate that did not crash. Threads, as fitting lets go of Python's lock: they share the cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda name: _train(at_work, name), at_work.plan.candidates)
    return [t for t in found if t]


def _train(at_work: training.TrainingRun, name: str) -> training.Trained | None:
    try:
        return training.train_candidate(at_work, name)
    except Exception:  # whatever crashed it, the other candidates go on; if all crash, the evaluation says so
        _log.exception("candidate %s crashed", name)
        return None


def run_monitoring(run: StageRun) -> Any:
    drift = monitoring.measure_drift(run)
    performance = monitoring.measure_performance(run)
    return monitoring.publish(run, drift, performance)


STAGES: dict[str, Callable[[StageRun], Any]] = {
    "ingestion": ingestion.ingest,
    "features": run_features,
    "labels": labels.publish_labels,
    "training": run_training,
    "scoring": scoring.score,
    "monitoring": run_monitoring,
    "retraining": retraining.decide,
}
