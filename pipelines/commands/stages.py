"""Every stage as one call, for the command line: what its DAG does, step after step, without Airflow."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.program import PartitionKey, UseCaseName, new_run_name, opened, progress, verb
from pipelines.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from pipelines.retraining import Gain
    from pipelines.training import Trained, TrainingRun
    from pipelines.workspace import StageRun

_log = logging.getLogger(__name__)


def run_ingestion(run: StageRun, source: str = "") -> object:
    """Every source, or with `ingestion.<source>` one."""
    from pipelines.features import outdated
    from pipelines.ingestion import ingest, ingest_all

    published = ingest(run, source) if source else ingest_all(run)
    for key in outdated(run):
        _log.warning("features of %s stand on what %s was before: run features for it again", key, run)
    return published


def run_features(run: StageRun) -> object:
    from pipelines import features

    planned = features.plan(run)
    features.build(run.workspace, planned)
    return features.publish(run, planned)


def run_labels(run: StageRun) -> object:
    from pipelines.labels import publish_labels

    return publish_labels(run)


def run_training(run: StageRun) -> object:
    """Assess the data, train every candidate, judge, promote or keep; a candidate that crashes loses, as in the DAG."""
    from pipelines import assessment, gates, monitoring, promotion, scoring, training

    at_work = training.TrainingRun(run.workspace, run.use_case, training.plan_training(run))
    assessed = assessment.admit(at_work)
    steps = scoring.rehearse, monitoring.rehearse, promotion.rehearse
    judged = gates.Judged(at_work, gates.evaluate(at_work, train_all(at_work), assessed, steps))
    if not judged.evaluation.passed:
        return promotion.keep(judged)
    return promotion.promote(promotion.Proposal(at_work, judged.evaluation, promotion.register(judged)))


def train_all(at_work: TrainingRun) -> list[Trained]:
    """Every candidate that did not crash. Threads, as fitting lets go of Python's lock: they share the cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda name: _train(at_work, name), at_work.plan.candidates)
    return [t for t in found if t]


def _train(at_work: TrainingRun, name: str) -> Trained | None:
    from pipelines.training import train_candidate

    try:
        return train_candidate(at_work, name)
    except TransientError:  # what did not answer says nothing about the candidate: to be tried again
        raise
    except Exception:  # whatever crashed it, the other candidates go on; if all crash, the evaluation says so
        _log.exception("candidate %s crashed", name)
        return None


def run_experiments(run: StageRun) -> object:
    """Open what is declared, if it may run; and look at the one that runs, also where it may not."""
    from pipelines.experiments import measure, open_declared

    try:
        open_declared(run)
    finally:
        measured = measure(run)
    return measured


def run_scoring(run: StageRun) -> object:
    from pipelines.scoring import score

    return score(run)


def run_monitoring(run: StageRun) -> object:
    from pipelines.monitoring import watch

    return watch(run)


def run_retraining(run: StageRun) -> object:
    from pipelines.retraining import decide

    return decide(run, _estimated(run))


def _estimated(run: StageRun) -> Gain | str | None:
    from pipelines.retraining import estimate

    try:
        return estimate(run)
    except Exception:  # whatever stopped it, the decision is made without it, and says so
        _log.exception("what a new model would gain could not be estimated")
        return None


STAGES: dict[str, Callable[[StageRun], object]] = {
    "ingestion": run_ingestion,
    "features": run_features,
    "labels": run_labels,
    "training": run_training,
    "experiments": run_experiments,
    "scoring": run_scoring,
    "monitoring": run_monitoring,
    "retraining": run_retraining,
}
_NAMES = ", ".join(STAGES)
StageName = Annotated[str, typer.Argument(metavar="STAGE", autocompletion=lambda: list(STAGES), help=f"One of {_NAMES}.")]


@verb("Stages", "run", "features flight_delay 2013-05")
def run(stage: StageName, use_case: UseCaseName, partition: PartitionKey) -> None:
    """Run one stage for one partition, and print its result as JSON."""
    from pipelines.results import to_json
    from pipelines.workspace import StageRun

    stage, _, source = stage.partition(".")
    if stage not in STAGES or (source and stage != "ingestion"):
        raise PermanentError(f"no stage '{stage}'; there are {_NAMES}, and ingestion.<source> for one source")
    workspace, found = opened(use_case, new_run_name())
    if source and source not in found.sources:
        raise PermanentError(f"{found.name}: no source '{source}'; it has {', '.join(found.sources)}")
    at_work = StageRun(workspace, found, found.period(partition))
    with progress(f"{stage} of {at_work}"):
        result = run_ingestion(at_work, source) if source else STAGES[stage](at_work)
    print(json.dumps(to_json(result), indent=1))
