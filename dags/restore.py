"""Put an older version of a table back; nothing is erased, and the ledger keeps the reason.

Start it by hand. A source's quarantine is put back with it, and what depends on the partitions is recomputed.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task
from assets import announce, asset
from wiring import USE_CASES, actor, stage_dag, step

from pipelines.use_case import UseCase, source_table
from pipelines.workspace import restorable


def restore(use_case: UseCase) -> DAG:
    assets = {source_table(use_case, source): asset(use_case, source) for source in use_case.sources}

    # No retry: one would undo what another run published between the two attempts.
    @task(retries=0)
    def put_back() -> Any:
        from pipelines.workspace import restore

        params = get_current_context()["params"]
        return step(restore, use_case.name, params["table"], params["version"], params["reason"], actor(), partition=None)

    @task(outlets=list(assets.values()))
    def recompute(restored: dict[str, Any]) -> None:
        from pipelines.features import affected

        keys = restored["recompute"]
        later = step(affected, use_case.name, partition=f"{keys[0]}--{keys[-1]}" if keys[1:] else keys[0]) if keys else []
        announce({each: [*keys, *later] for table, each in assets.items() if table == restored["table"]})

    tables = restorable(use_case)
    params = {
        "table": Param(tables[0], type="string", enum=tables, description="which table"),
        "version": Param(0, type="integer", minimum=0, description="Delta version to put back"),
        "reason": Param("", type="string", minLength=3, description="why; it is kept in the ledger"),
    }
    with stage_dag(use_case, "restore", None, __doc__, params=params) as dag:
        recompute(put_back())
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_restore"] = restore(each)
