"""Measure drift of features and predictions, and the quality of what was served once outcomes are in.

Runs when predictions come, and again when labels do.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, task
from assets import asset
from wiring import USE_CASES, stage_dag, step

from pipelines.use_case import UseCase


def monitoring(use_case: UseCase) -> DAG:
    @task
    def drift() -> Any:
        from pipelines.monitoring import measure_drift

        return step(measure_drift, use_case.name)

    @task
    def performance() -> Any:
        from pipelines.monitoring import measure_performance

        return step(measure_performance, use_case.name)

    @task(outlets=[asset(use_case, "monitoring")])
    def publish(drift: Any, performance: Any) -> Any:
        from pipelines.monitoring import publish_measured

        return step(publish_measured, use_case.name, drift, performance)

    inputs = asset(use_case, "predictions") | asset(use_case, "labels")
    with stage_dag(use_case, "monitoring", PartitionedAssetTimetable(assets=inputs), __doc__) as dag:
        publish(drift(), performance())
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_monitoring"] = monitoring(each)
