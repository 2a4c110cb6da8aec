"""Build the partition's features with Spark, point-in-time correct, then audit and publish them.

A feature of a row uses only what was known at 00:00 local time of the row's date. Any of its inputs starts a run; one that
finds another input missing, or the features built from these very inputs, ends without doing anything. Later partitions that
wait too, as after an outage, are built with it.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, task
from airflow.sdk.exceptions import AirflowSkipException
from assets import announce, asset
from spark import spark_job
from wiring import USE_CASES, by_hand, stage_dag, step

from pipelines.use_case import UseCase


def features(use_case: UseCase) -> DAG:
    @task
    def plan() -> Any:
        from pipelines.features import plan, plan_due, unready

        if by_hand():
            return step(plan, use_case.name)
        if why := step(unready, use_case.name):
            raise AirflowSkipException(why)
        return step(plan_due, use_case.name)

    built = asset(use_case, "features")

    @task(outlets=[built])
    def publish(planned: dict[str, Any]) -> Any:
        from pipelines.features import FeaturePlan, publish
        from pipelines.results import from_json

        published = step(publish, use_case.name, from_json(FeaturePlan, planned), partition=planned["period"])
        announce({built: [planned["period"]]})
        return published

    inputs = reduce(or_, [asset(use_case, source) for source in use_case.inputs])
    with stage_dag(use_case, "features", PartitionedAssetTimetable(assets=inputs), __doc__) as dag:
        planned = plan()
        build = spark_job("build", "build_features.py", ["--plan", "{{ ti.xcom_pull('plan')['uri'] }}"])
        planned >> build >> publish(planned)
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_features"] = features(each)
