"""Is there anything to build, now that an input came? Asked of the tables, never of the event that says so."""

from __future__ import annotations

from dataclasses import replace

from pipelines.features.inputs import missing
from pipelines.features.planning import FeaturePlan, plan
from pipelines.features.staleness import is_current, outdated
from pipelines.use_case import features_table, source_table
from pipelines.workspace import StageRun


def unready(run: StageRun) -> str | None:
    """Why nothing is to be built: an input is missing, or the features stand on these very inputs already."""
    why = missing(run) or (["they are built from these very inputs already"] if is_current(run) else [])
    return f"{run}: {'; '.join(why)}" if why else None


def affected(run: StageRun) -> list[str]:
    """Later partitions that can be built now that this one came, or have to be built again."""
    entity = run.lake.partitions(source_table(run.use_case, run.use_case.features.entity))
    built = run.lake.partitions(features_table(run.use_case))
    waiting = [key for key in entity if key > run.partitions[-1].key and key not in built]
    ready = [key for key in waiting if not missing(replace(run, partition=run.use_case.partition(key)))]
    return sorted({*outdated(run), *ready})


def plan_due(run: StageRun) -> FeaturePlan:
    """Plan the run together with the partitions after it that wait too, as far as their inputs are there.

    What came at once, as after an outage, is built at once: one job instead of one for each.

    Raises:
        PermanentError: as `plan`.
    """
    entity = run.lake.partitions(source_table(run.use_case, run.use_case.features.entity))
    built, parts = run.lake.partitions(features_table(run.use_case)), run.partitions
    while (other := parts[-1].next).key not in built and entity.get(other.key):
        wider = run.use_case.period(f"{parts[0].key}--{other.key}")
        if missing(replace(run, partition=wider)):
            break
        run, parts = replace(run, partition=wider), [*parts, other]
    return plan(run)
