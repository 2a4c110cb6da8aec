"""Judge quarantined rows anew, once the source or the rule is mended, and move those that pass into their partition.

Start it by hand. What still fails stays in quarantine; what depends on the partition, and was not served yet, is recomputed
through its assets.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task
from assets import announce, asset
from wiring import USE_CASES, partition_key, partition_param, stage_dag, step

from pipelines.use_case import UseCase


def quarantine_replay(use_case: UseCase) -> DAG:
    assets = {source: asset(use_case, source) for source in use_case.sources}

    @task(outlets=list(assets.values()))
    def replay() -> Any:
        from pipelines.features import affected
        from pipelines.ingestion import replay

        replayed = step(replay, use_case.name, get_current_context()["params"]["source"])
        again = [partition_key(), *step(affected, use_case.name)]
        announce({assets[item["source"]]: again if item["recompute"] else [] for item in replayed})
        return replayed

    sources = [None, *use_case.sources]
    params = {
        **partition_param(use_case),
        "source": Param(None, type=["null", "string"], enum=sources, description="one source only; empty: every source"),
    }
    with stage_dag(use_case, "quarantine_replay", None, __doc__, params=params) as dag:
        replay()
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_quarantine_replay"] = quarantine_replay(each)
