"""Take a longer period in again, in bulk and as of then: history, a catch-up, or what came while nobody looked.

Start it by hand, with the first and the last partition or month. Every source's ingestion is started for the whole period, and
what stands on it follows by assets: one features job, one scoring pass. What was served stays; no training is started.
"""

from __future__ import annotations

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param
from wiring import USE_CASES, stage_dag

from pipelines.use_case import UseCase

_PERIOD = "{{ params.first }}--{{ params.last }}"


def backfill(use_case: UseCase) -> DAG:
    example = "such as 2013-04-08, or 2013-04 for a month"
    params = {
        "first": Param("", type="string", minLength=4, description=f"where it begins, {example}"),
        "last": Param("", type="string", minLength=4, description=f"where it ends, {example}; it is included"),
    }
    with stage_dag(use_case, "backfill", None, __doc__, params=params) as dag:
        for source in use_case.sources:
            TriggerDagRunOperator(
                task_id=source,
                trigger_dag_id=f"{use_case.name}.ingestion.{source}",
                trigger_run_id=f"backfill__{_PERIOD}__{{{{ run_id }}}}",
                conf={"partition": _PERIOD},
                skip_when_already_exists=True,
            )
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_backfill"] = backfill(each)
