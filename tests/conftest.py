"""What all tests stand on: a yard in `tmp_path` and a small use case. Rows for it: `from tests import synthetic`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import UseCase, read_use_case
from pipelines.environment import Environment, LakeSettings, RegistrySettings, SparkSettings, Yard
from pipelines.lake import Lake
from pipelines.ledger import Ledger
from pipelines.registry import Registry

USE_CASES = Path(__file__).parent / "use_cases"


def make_yard(folder: Path, run: str = "test") -> Yard:
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
    registry = Registry(environment.registry.tracking_uri, environment.registry.artifacts)
    return Yard(environment, lake, registry, Ledger(lake), run)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """Everything outside the process, in `tmp_path`; nothing of one test is seen by another."""
    return make_yard(tmp_path)


@pytest.fixture(scope="session")
def use_case() -> UseCase:
    """`parcels`, see tests/use_cases/parcels.yaml: day grain, two sources, one snapshot, two candidates."""
    return read_use_case(USE_CASES / "parcels.yaml")
