"""What all tests stand on: a workspace in `tmp_path`, a small use case, and states of it that take seconds to train.

Rows for it: `from tests import synthetic`. Trained states are made once per session and copied for each test that asks.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pipelines import monitoring, promotion, scoring
from pipelines.commands import stages
from pipelines.training import TrainingRun, plan_training
from pipelines.use_case import Partition, UseCase, read_use_case
from pipelines.workspace import (
    Clock,
    Environment,
    Lake,
    LakeSettings,
    Ledger,
    Registry,
    RegistrySettings,
    SparkSettings,
    StageRun,
    Workspace,
)
from tests import synthetic
from tests.use_case.ignoring import ignore_as_told

# The same cases each time, and no folder of cases that failed before; `make test-long` draws others.
settings.register_profile("trainyard", derandomize=True, database=None, deadline=None)
settings.load_profile("trainyard")

ignore_as_told()

AFTER = scoring.rehearse, monitoring.rehearse, promotion.rehearse  # what comes after a promotion, see the gate
USE_CASES = Path(__file__).parent / "use_cases"


def make_workspace(folder: Path, run: str = "test") -> Workspace:
    """Lake, MLflow (SQLite, made at first use), landing zone and reports below one folder."""
    environment = Environment(
        lake=LakeSettings(root=f"{folder}/lake"),
        landing=f"{folder}/landing",
        reports=f"{folder}/reports",
        registry=RegistrySettings(
            tracking_uri=f"sqlite:///{folder}/mlflow/mlflow.db",
            artifacts=f"file://{folder}/mlflow/artifacts",
            page="http://127.0.0.1:5000",
        ),
        spark=SparkSettings(
            operator="spark_submit", connection="spark_default", driver_memory="1g", properties={}, dataproc=None
        ),
    )
    lake = Lake(environment.lake.root, environment.lake.options)
    clock = Clock(f"{folder}/clock")  # the machine's, until a test sets it
    ledger = Ledger(lake, clock)
    registry = Registry(environment.registry.tracking_uri, environment.registry.artifacts, ledger.vouch)
    return Workspace(environment, lake, registry, ledger, run, clock)


@pytest.fixture(autouse=True)
def _secrets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's environment keeps secret is no secret of the next."""
    monkeypatch.setattr("pipelines.errors._secrets", set())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Everything outside the process, in `tmp_path`; nothing of one test is seen by another."""
    return make_workspace(tmp_path)


@pytest.fixture(scope="session")
def use_case() -> UseCase:
    """`parcels`, see tests/use_cases/parcels.yaml: day grain, two sources, one snapshot, two candidates."""
    return read_use_case(USE_CASES / "parcels.yaml")


os.environ.setdefault("OMP_NUM_THREADS", "1")  # boosting's threads spin for each other where cores are busy: minutes

FIRST_TRAINING, SECOND_TRAINING = 7, 13  # days of `days`; the label's cause is turned around after the first


def changed(use_case: UseCase, part: str, **values: Any) -> UseCase:
    """The use case with some settings of one part replaced."""
    return use_case.model_copy(update={part: getattr(use_case, part).model_copy(update=values)})


@dataclass(frozen=True)
class World:
    """A workspace, its use case and its fourteen published days."""

    workspace: Workspace
    use_case: UseCase
    days: list[Partition]

    def training(self, day: int, use_case: UseCase | None = None, **plan: Any) -> TrainingRun:
        """A training of one of the days, planned; with some of the plan's values replaced."""
        use_case = use_case or self.use_case
        planned = plan_training(StageRun(self.workspace, use_case, self.days[day]))
        return TrainingRun(self.workspace, use_case, replace(planned, **plan))

    def at(self, run: str) -> Workspace:
        """The same workspace, in another run."""
        return replace(self.workspace, run=run)


def simple_of(use_case: UseCase) -> UseCase:
    simple = {name: c for name, c in use_case.training.candidates.items() if c.simple}
    return changed(use_case, "training", candidates=simple, trials=1)


@pytest.fixture(scope="session")
def _published(tmp_path_factory: pytest.TempPathFactory, use_case: UseCase) -> Path:
    """Fourteen days of features and labels; from day 8 on the cause of the label is turned around."""
    folder = tmp_path_factory.mktemp("published")
    for number, day in enumerate(synthetic.days(use_case, 14)):
        synthetic.publish(make_workspace(folder), use_case, day, flip=number > FIRST_TRAINING)
    make_workspace(folder).registry.client.search_experiments()  # makes MLflow's database: seconds, once
    return folder


@pytest.fixture(scope="session")
def _one_champion(_published: Path, tmp_path_factory: pytest.TempPathFactory, use_case: UseCase) -> Path:
    folder = _copied(_published, tmp_path_factory.mktemp("one"))
    day = synthetic.days(use_case, 14)[FIRST_TRAINING]
    assert stages.run_training(StageRun(make_workspace(folder, "first"), use_case, day)).decision == "promoted"
    return folder


@pytest.fixture(scope="session")
def _two_champions(_one_champion: Path, tmp_path_factory: pytest.TempPathFactory, use_case: UseCase) -> Path:
    folder = _copied(_one_champion, tmp_path_factory.mktemp("two"))
    day = synthetic.days(use_case, 14)[SECOND_TRAINING]
    newest = changed(simple_of(use_case), "training", max_history=timedelta(days=6))
    assert stages.run_training(StageRun(make_workspace(folder, "second"), newest, day)).decision == "promoted"
    return folder


def _copied(source: Path, target: Path) -> Path:
    """A whole copy; MLflow's database is told that the models lie here now."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    database = make_workspace(target).registry.database
    assert database
    if database.recorded_places():
        database.relocate(f"file://{source}/mlflow/artifacts")
    return target


def copy_of(source: Path, target: Path, use_case: UseCase) -> World:
    """A world's folder, copied: what one test does there no other sees."""
    return World(make_workspace(_copied(source, target)), use_case, synthetic.days(use_case, 14))


@pytest.fixture
def published(_published: Path, tmp_path: Path, use_case: UseCase) -> World:
    """Features and labels, no model."""
    return copy_of(_published, tmp_path, use_case)


@pytest.fixture
def one_champion(_one_champion: Path, tmp_path: Path, use_case: UseCase) -> World:
    """v1, trained through day 7 by all candidates, serves from day 8 on."""
    return copy_of(_one_champion, tmp_path, use_case)


@pytest.fixture
def two_champions(_two_champions: Path, tmp_path: Path, use_case: UseCase) -> World:
    """v2, trained on days 8 to 13, would serve from the day after; v1 served days 8 to 13."""
    return copy_of(_two_champions, tmp_path, use_case)


@pytest.fixture
def simple_only(use_case: UseCase) -> UseCase:
    """The use case with its simple candidate only and one trial: trains in a second."""
    return simple_of(use_case)
