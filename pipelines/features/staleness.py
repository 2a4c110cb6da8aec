"""Stale features: later partitions that stand on files which are not there any more, as an older partition was corrected.

What was not served yet is built again; what was served stays, and the ledger says so.
"""

from __future__ import annotations

import hashlib
import json

from pipelines.features.inputs import chosen_files, contents
from pipelines.use_case import features_table, predictions_table
from pipelines.workspace import Commit, Decision, Kind, StageRun, read_bytes


def outdated(run: StageRun) -> list[str]:
    """Partitions after this one, not served yet, whose features no longer stand on the files that they were built from."""
    table, served = features_table(run.use_case), run.lake.partitions(predictions_table(run.use_case))
    later = [key for key in run.lake.partitions(table) if key > run.key]
    found = []
    for key, commit in (run.lake.published_each(table, later) if later else {}).items():
        changed = _changed_inputs(StageRun(run.workspace, run.use_case, run.use_case.partition(key)), commit, run.key)
        if changed and key in served:
            _tell(run, key, changed)
        elif changed:
            found.append(key)
    return sorted(found)


def _changed_inputs(run: StageRun, commit: Commit, corrected: str) -> dict[str, str]:
    """By table, the content of the corrected partition, where the features stand on another one, or should and do not."""
    if commit.record.plan is None:
        return {}
    planned = json.loads(read_bytes(commit.record.plan))["inputs"]
    found = {}
    for name, files in chosen_files(run).items():
        now = contents(run, name, {key: uris for key, uris in files.items() if key == corrected}).get(corrected)
        then = planned.get(name, {}).get("contents")  # older plans do not say
        if then is not None and now != then.get(corrected):
            found[name] = str(now)
    return found


def _tell(run: StageRun, key: str, changed: dict[str, str]) -> None:
    tables = ", ".join(changed)
    why = f"{key} was served by features that stand on {tables} of {run.key} as it was before; what was served stays as it is."
    content = hashlib.sha256(repr(changed).encode()).hexdigest()[:16]
    run.ledger.record(
        Decision(
            id=f"{Kind.STALE}/{key}/{run.key}/{content}",
            use_case=run.use_case.name,
            kind=Kind.STALE,
            partition=key,
            why=why,
            actor="ingestion",
            run=run.id,
        )
    )
