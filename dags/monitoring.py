"""Measure drift of features and predictions, and the quality of what was served once outcomes are in.

Runs when predictions come, and again when labels do. What is measured at a time is `monitoring.window`: a longer window
than a partition is measured once its partitions are all there, or it has ended. What one of the measures trips over does not
keep the other from being published; the state says so, and the run is red.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, PartitionedAssetTimetable, get_current_context, task
from assets import asset
from wiring import USE_CASES, stage_dag, step

from pipelines.errors import in_words
from pipelines.use_case import UseCase


def told(measure: Any, use_case: UseCase) -> Any:
    """The measure; what it trips over is kept for `publish`."""
    try:
        return step(measure, use_case.name)
    except Exception as error:
        get_current_context()["ti"].xcom_push("failure", in_words(error))
        raise


def failure_of(name: str) -> str | None:
    return get_current_context()["ti"].xcom_pull(task_ids=name, key="failure")


def monitoring(use_case: UseCase) -> DAG:
    @task
    def drift() -> Any:
        from pipelines.monitoring import measure_drifts

        return told(measure_drifts, use_case)

    @task
    def performance() -> Any:
        from pipelines.monitoring import measure_performance, per_window

        return told(per_window(measure_performance), use_case)

    @task(outlets=[asset(use_case, "monitoring")], trigger_rule="all_done")
    def publish(drift: Any, performance: Any) -> Any:
        from pipelines.monitoring import publish_windows

        failures = {name: words for name in ("drift", "performance") if (words := failure_of(name))}
        return step(publish_windows, use_case.name, drift, performance, failures)

    inputs = asset(use_case, "predictions") | asset(use_case, "labels")
    with stage_dag(use_case, "monitoring", PartitionedAssetTimetable(assets=inputs), __doc__) as dag:
        measures = drift(), performance()
        [*measures, publish(*measures)] >> EmptyOperator(task_id="measured")
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_monitoring"] = monitoring(each)
