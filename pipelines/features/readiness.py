"""Is there anything to build, now that an input came? Asked of the tables, never of the event that says so."""

from __future__ import annotations

import json
from dataclasses import replace

from pipelines.errors import PermanentError
from pipelines.features.inputs import chosen_files, contents, stop_at_gaps
from pipelines.features.staleness import outdated
from pipelines.use_case import features_table, source_table
from pipelines.workspace import StageRun, file_exists, read_bytes


def unready(run: StageRun) -> str | None:
    """Why nothing is to be built: an input is missing, or the features stand on these very inputs already."""
    entity = run.lake.partitions(source_table(run.use_case, run.use_case.features.entity))
    missing = [part.key for part in run.partitions if not entity.get(part.key)]
    if missing:
        return f"{run}: {run.use_case.features.entity} of {', '.join(missing)} is not there yet"
    try:
        stop_at_gaps(run)
    except PermanentError as error:
        return str(error)
    return f"{run}: built from these very inputs already" if _is_current(run) else None


def affected(run: StageRun) -> list[str]:
    """Later partitions that can be built now that this one came, or have to be built again."""
    entity = run.lake.partitions(source_table(run.use_case, run.use_case.features.entity))
    built = run.lake.partitions(features_table(run.use_case))
    waiting = [key for key in entity if key > run.partitions[-1].key and key not in built]
    again = [key for part in run.partitions for key in outdated(run.part(part.key))]
    return sorted({*again, *(key for key in waiting if unready(replace(run, partition=run.use_case.partition(key))) is None)})


def _is_current(run: StageRun) -> bool:
    commits = run.lake.published_each(features_table(run.use_case), [part.key for part in run.partitions])
    plans = {commit.record.plan for commit in commits.values()}
    if len(commits) < len(run.partitions) or not all(uri and file_exists(uri) for uri in plans):
        return False
    now = {name: contents(run, name, files) for name, files in chosen_files(run).items()}
    return all(_stands_on(str(uri), now) for uri in plans)


def _stands_on(plan: str, now: dict[str, dict[str, str]]) -> bool:
    inputs = json.loads(read_bytes(plan))["inputs"]
    return all(now[name].items() <= inputs.get(name, {}).get("contents", {}).items() for name in now)
