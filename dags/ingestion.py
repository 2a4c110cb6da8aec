"""Look for what this source has sent, and ingest it: land, check against its contract, publish.

Each source lives its own life: a file that is late, or breaks its contract, holds up no other. Rows that break the contract go
to quarantine; a partition that breaks it turns red here and nothing of it is published. Without a partition, all that is new,
was sent again or has become complete is taken; with one, that one.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, get_current_context, task
from assets import announce, asset
from wiring import USE_CASES, cron, partition_key, partition_param, stage_dag, step

from pipelines.use_case import UseCase


def ingestion(use_case: UseCase, source: str) -> DAG:
    @task
    def look() -> Any:
        from pipelines.ingestion import look

        asked = partition_key(needed=False)
        return [asked] if asked else step(look, use_case.name, source, partition=None)

    changed = asset(use_case, source)

    @task(outlets=[changed], map_index_template="{{ partition }}", max_active_tis_per_dagrun=1)
    def ingest(partition: str) -> Any:
        from pipelines.features import affected
        from pipelines.ingestion import ingest

        get_current_context()["partition"] = partition  # type: ignore[typeddict-unknown-key]
        published = step(ingest, use_case.name, source, partition=partition)
        if published:
            announce({changed: [partition, *step(affected, use_case.name, partition=partition)]})
        return published

    schedule = cron(use_case, use_case.sources[source].schedule or use_case.schedules.ingestion)
    name = f"ingestion.{source}"
    with stage_dag(use_case, name, schedule, __doc__, params=partition_param(use_case)) as dag:
        ingest.expand(partition=look())
    return dag


for each in USE_CASES:
    for name in each.sources:
        globals()[f"{each.name}_ingestion_{name}"] = ingestion(each, name)
