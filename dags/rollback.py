"""Let an earlier champion serve again, from the next scoring run on.

Start it by hand, with a reason; the ledger keeps it.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task
from assets import asset
from wiring import USE_CASES, stage_dag, step

from pipelines.use_case import UseCase


def rollback(use_case: UseCase) -> DAG:
    @task(outlets=[asset(use_case, "model")], retries=0)
    def roll_back() -> Any:
        from pipelines.promotion import rollback

        params = get_current_context()["params"]
        actor = f"Airflow run {get_current_context()['run_id']}"
        return step(rollback, use_case.name, params["to"], params["reason"], actor, partition=None)

    params = {
        "to": Param(None, type=["null", "integer"], description="model version; empty: the champion before this one"),
        "reason": Param("", type="string", minLength=3, description="why; it is kept in the ledger"),
    }
    with stage_dag(use_case, "rollback", None, __doc__, params=params) as dag:
        roll_back()
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_rollback"] = rollback(each)
