"""Training's order: nothing is trained before the data was assessed, and what the assessment says goes to the evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.config import load_use_cases


@pytest.fixture(scope="module")
def dags() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(Path(__file__).resolve().parents[2] / "dags")).dags


def test_the_data_is_assessed_before_anything_is_trained(dags: Any) -> None:
    for use_case in load_use_cases()[0]:
        dag = dags[f"{use_case.name}.training"]
        assert "assess" in dag.get_task("train").upstream_task_ids
        assert dag.get_task("assess").upstream_task_ids == {"plan"}
        assert {"plan", "assess", "train"} <= dag.get_task("evaluate").upstream_task_ids
