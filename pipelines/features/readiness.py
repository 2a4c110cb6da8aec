"""Is there anything to build, now that an input came? Asked of the tables, never of the event that says so."""

from __future__ import annotations

from dataclasses import replace

from pipelines.features.inputs import missing
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
