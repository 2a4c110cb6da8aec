"""Measure drift of features and predictions, and the quality of what was served once outcomes are in.

Runs when predictions come, and again when labels do. What is measured at a time is `monitoring.window`: a longer window
than a partition is measured once its partitions are all there, or it has ended.
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
        from pipelines.monitoring import measure_drift, per_window

        return step(per_window(measure_drift), use_case.name)

    @task
    def performance() -> Any:
        from pipelines.monitoring import measure_performance, per_window

        return step(per_window(measure_performance), use_case.name)

    @task(outlets=[asset(use_case, "monitoring")])
    def publish(drift: Any, performance: Any) -> Any:
        from pipelines.monitoring import publish_windows

        return step(publish_windows, use_case.name, drift, performance)

    inputs = asset(use_case, "predictions") | asset(use_case, "labels")
    with stage_dag(use_case, "monitoring", PartitionedAssetTimetable(assets=inputs), __doc__) as dag:
        publish(drift(), performance())
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_monitoring"] = monitoring(each)
