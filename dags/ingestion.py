"""Land each source's partition, check it against its contract, publish it.

Rows that break the contract go to quarantine; a partition that breaks it turns red here and nothing is published. Later
partitions whose features stood on what was replaced are computed again, where they were not served yet.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task
from assets import announce, asset
from wiring import USE_CASES, keyed, partition_key, stage_dag, step

from pipelines.use_case import UseCase


def ingestion(use_case: UseCase) -> DAG:
    @task(map_index_template="{{ source }}")
    def land(source: str) -> Any:
        from airflow.sdk import get_current_context

        from pipelines.ingestion import land

        get_current_context()["source"] = source  # type: ignore[typeddict-unknown-key]
        return step(land, use_case.name, source)

    @task
    def audit(landed: list[dict[str, Any]]) -> Any:
        from pipelines.ingestion import audit_all
        from pipelines.results import Landed, from_json

        return step(audit_all, use_case.name, [from_json(Landed, item) for item in landed])

    raw = asset(use_case, "raw")

    @task(outlets=[raw])
    def publish(audited: list[dict[str, Any]]) -> Any:
        from pipelines.features import outdated
        from pipelines.ingestion import publish_all
        from pipelines.results import Audited, from_json

        published = step(publish_all, use_case.name, [from_json(Audited, item) for item in audited])
        announce(raw, [partition_key(), *step(outdated, use_case.name)])
        return published

    with stage_dag(use_case, "ingestion", keyed(use_case, use_case.schedules.ingestion), __doc__) as dag:
        publish(audit(land.expand(source=list(use_case.sources))))
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_ingestion"] = ingestion(each)
