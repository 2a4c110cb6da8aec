"""Look after what runs: the champion's alias, a rehearsed rollback, and files that no version needs any more.

Weekly, unless the use case says otherwise. A red *drill_rollback* means that going back would fail today: mend it now.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task
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

    with stage_dag(use_case, "maintenance", use_case.schedules.maintenance, __doc__) as dag:
        # Side by side: what one finds stops no other, and is seen in the run.
        check_alias(), drill_rollback(), sweep()
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_maintenance"] = maintenance(each)
