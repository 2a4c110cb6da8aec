"""Publish what really happened, once the partition's outcomes are complete, and again when they were corrected.

A row without an outcome, such as a cancelled flight, is no label; it is counted. A run that was started by outcomes that are
not complete yet ends without doing anything: the complete ones start another.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, task
from airflow.sdk.exceptions import AirflowSkipException
from assets import asset
from wiring import USE_CASES, by_hand, stage_dag, step

from pipelines.use_case import UseCase


def labels(use_case: UseCase) -> DAG:
    @task(outlets=[asset(use_case, "labels")])
    def publish() -> Any:
        from pipelines.labels import publish_labels, unlabelled

        keys = None if by_hand() else step(unlabelled, use_case.name)
        if keys == []:
            raise AirflowSkipException("its outcomes are not complete yet, or it has their labels")
        return step(publish_labels, use_case.name, keys)

    outcomes = asset(use_case, use_case.label.source)
    with stage_dag(use_case, "labels", PartitionedAssetTimetable(assets=outcomes), __doc__) as dag:
        publish()
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_labels"] = labels(each)
