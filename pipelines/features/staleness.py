"""Stale features: later partitions that stand on files which are not there any more, as an older partition was corrected.

What was not served yet is built again; what was served stays, and the ledger says so.
"""

from __future__ import annotations

import json

from pipelines.features.inputs import Files, chosen_files
from pipelines.use_case import SNAPSHOT, features_table, predictions_table
from pipelines.workspace import Commit, Decision, Kind, StageRun, read_bytes


def outdated(run: StageRun) -> list[str]:
    """Partitions after this one, not served yet, whose features no longer stand on the files that they were built from."""
    table, served = features_table(run.use_case), run.lake.partitions(predictions_table(run.use_case))
    later = [key for key in run.lake.partitions(table) if key > run.key]
    found = []
    for key, commit in (run.lake.published_each(table, later) if later else {}).items():
        changed = _changed_inputs(StageRun(run.workspace, run.use_case, run.use_case.partition(key)), commit)
        if changed and key in served:
            _tell(run, key, changed)
        elif changed:
            found.append(key)
    return sorted(found)


def _changed_inputs(run: StageRun, commit: Commit) -> list[str]:
    """The partitions of its inputs, as `table partition`, that are other files now than the plan had."""
    if commit.record.plan is None:
        return []
    planned = {name: _names(part["files"]) for name, part in json.loads(read_bytes(commit.record.plan))["inputs"].items()}
    now = {name: _names(files) for name, files in chosen_files(run).items()}
    return sorted(
        f"{name} {key}"
        for name in now
        for key in {**now[name], **planned.get(name, {})}
        if now[name].get(key) != planned.get(name, {}).get(key)
    )


def _names(files: Files) -> dict[str, list[str]]:
    """Without where the lake lies. Reference data is left out: what was known then was right then."""
    return {key: sorted(uri.rsplit("/", 2)[-2] for uri in uris) for key, uris in files.items() if key != SNAPSHOT}


def _tell(run: StageRun, key: str, changed: list[str]) -> None:
    versions = ", ".join(changed)
    why = f"{key} was served by features that stand on {versions} as it was before; what was served stays as it is."
    run.ledger.record(
        Decision(
            id=f"{Kind.STALE}/{key}/{run.key}/{run.id}",
            use_case=run.use_case.name,
            kind=Kind.STALE,
            partition=key,
            why=why,
            actor="ingestion",
            run=run.id,
        )
    )
