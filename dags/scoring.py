"""Predict the partition's rows with the champion of that time. What is predicted first is what was served, and stays.

A partition from before the first champion is skipped, and the ledger says so.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, task
from airflow.sdk.exceptions import AirflowSkipException
from assets import asset
from wiring import USE_CASES, stage_dag, step

from pipelines.use_case import UseCase


def scoring(use_case: UseCase) -> DAG:
    @task(outlets=[asset(use_case, "predictions")])
    def score() -> Any:
        from pipelines.scoring import score

        scored = step(score, use_case.name)
        if scored["model_version"] is None:
            raise AirflowSkipException("no model was champion then; the decision is in the ledger")
        return scored

    with stage_dag(use_case, "scoring", PartitionedAssetTimetable(assets=asset(use_case, "features")), __doc__) as dag:
        score()
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_scoring"] = scoring(each)
