"""Look after what runs: the champion's alias, a rehearsed rollback, and files that no version needs any more.

Weekly, unless the use case says otherwise. A red *drill_rollback* means that going back would fail today: mend it now.
A red *compare* names a feature, a row and both values: what was served is not what its sources' tables say.
"""

from __future__ import annotations

from typing import Any, Literal

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowSkipException
from spark import spark_job
from wiring import USE_CASES, stage_dag, step

from pipelines.use_case import UseCase


def maintenance(use_case: UseCase) -> DAG:
    @task
    def check_alias() -> Any:
        from pipelines.maintenance import alias

        return step(alias, use_case.name, partition=None)

    @task
    def drill_rollback() -> Any:
        from pipelines.maintenance import drill_rollback

        return step(drill_rollback, use_case.name, partition=None)

    @task
    def sweep() -> Any:
        from pipelines.maintenance import sweep

        return step(sweep, use_case.name, partition=None)

    def compute_again(which: Literal["newest", "older"]) -> None:
        """A served partition, by the features job, compared with what was served."""

        @task(task_id=f"plan_{which}")
        def plan() -> Any:
            from pipelines.maintenance import plan_again

            again = step(plan_again, use_case.name, which, partition=None)
            if again["plan"] is None:
                raise AirflowSkipException(again["why"])
            return again

        @task(task_id=f"compare_{which}")
        def compare(again: dict[str, Any]) -> Any:
            from pipelines.maintenance import Again, compare
            from pipelines.results import from_json

            return step(compare, use_case.name, from_json(Again, again), partition=None)

        uri = f"{{{{ ti.xcom_pull('plan_{which}')['plan']['uri'] }}}}"
        planned = plan()
        planned >> spark_job(f"build_{which}", "build_features.py", ["--plan", uri]) >> compare(planned)

    with stage_dag(use_case, "maintenance", use_case.schedules.maintenance, __doc__) as dag:
        # Side by side: what one finds stops no other, and is seen in the run.
        check_alias(), drill_rollback(), sweep()
        compute_again("newest")
        compute_again("older")
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_maintenance"] = maintenance(each)
