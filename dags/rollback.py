"""Let an earlier champion serve again, from the next scoring run on; or let the retraining policy go on after that.

Start it by hand, with a reason; the ledger keeps it. After a rollback no training is started, and none promotes, that no
person asked for, until this DAG is started with *resume retraining*, or a model that a person trains is promoted.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task
from assets import asset
from wiring import USE_CASES, actor, stage_dag, step

from pipelines.use_case import UseCase

_ROLL_BACK, _RESUME = "roll back", "resume retraining"


def rollback(use_case: UseCase) -> DAG:
    @task.branch
    def choose() -> str:
        return "resume" if get_current_context()["params"]["action"] == _RESUME else "roll_back"

    @task(outlets=[asset(use_case, "model")], retries=0)
    def roll_back() -> Any:
        from pipelines.promotion import rollback

        params = get_current_context()["params"]
        return step(rollback, use_case.name, params["to"], params["reason"], actor(), partition=None)

    @task(retries=0)
    def resume() -> Any:
        from pipelines.retraining import resume

        return step(resume, use_case.name, get_current_context()["params"]["reason"], actor(), partition=None)

    params = {
        "action": Param(_ROLL_BACK, enum=[_ROLL_BACK, _RESUME]),
        "to": Param(None, type=["null", "integer"], description="model version; empty: the champion before this one"),
        "reason": Param("", type="string", minLength=3, description="why; it is kept in the ledger"),
    }
    with stage_dag(use_case, "rollback", None, __doc__, params=params) as dag:
        choose() >> [roll_back(), resume()]
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_rollback"] = rollback(each)
