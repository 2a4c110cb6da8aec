"""Tell stages again what they have missed: a DAG that was paused, or down, got no events meanwhile.

Looks at the tables, daily unless the use case says otherwise: an input that is there, with no output, is announced once more,
and the stages take it from there. The run is skipped where nothing was missed.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task
from assets import announce, asset
from wiring import USE_CASES, cron, stage_dag, step

from pipelines.use_case import UseCase


def catch_up(use_case: UseCase) -> DAG:
    nouns = dict.fromkeys([use_case.features.entity, use_case.label.source, "features", "predictions"])
    assets = {noun: asset(use_case, noun) for noun in nouns}

    @task(outlets=list(assets.values()))
    def announce_missed() -> Any:
        from pipelines.maintenance import missed

        found = step(missed, use_case.name, partition=None)
        announce({assets[noun]: keys for noun, keys in found.items()})
        return found

    with stage_dag(use_case, "catch_up", cron(use_case, use_case.schedules.catch_up), __doc__) as dag:
        announce_missed()
    return dag


for each in USE_CASES:
    globals()[f"{each.name}_catch_up"] = catch_up(each)
