"""Publish what really happened, once the partition's outcomes are complete.

A row without an outcome, such as a cancelled flight, is no label; it is counted.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, task
from assets import asset
from wiring import USE_CASES, partition_key, stage_dag, step

from pipelines.use_case import UseCase


def labels(use_case: UseCase) -> DAG:
    @task.sensor(mode="reschedule", poke_interval=3600, timeout=60 * 60 * 24 * 60)
    def outcomes_complete() -> bool:
        from pipelines.labels import outcomes_complete

        return outcomes_complete(use_case, use_case.partition(partition_key()))

    @task(outlets=[asset(use_case, "labels")])
    def publish() -> Any:
        from pipelines.labels import publish_labels

        return step(publish_labels, use_case.name)

    with stage_dag(use_case, "labels", PartitionedAssetTimetable(assets=asset(use_case, "features")), __doc__) as dag:
        outcomes_complete() >> publish()
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_labels"] = labels(each)
