"""Stale features: later partitions that stand on files which are not there any more, as an older partition was corrected.

What was not served yet is built again; what was served stays, and the ledger says so.
"""

from __future__ import annotations

import hashlib
import json

from pipelines.features.inputs import chosen_keys, contents, files_of
from pipelines.use_case import features_table, predictions_table
from pipelines.workspace import Commit, Decision, Kind, StageRun, file_exists, read_bytes


def outdated(run: StageRun) -> list[str]:
    """Partitions after this one, not served yet, whose features stand on another content of this one than it has now.

    Where the plan that they were built by does not say any more, they are built again if they reach back to this one.
    """
    table, served = features_table(run.use_case), run.lake.partitions(predictions_table(run.use_case))
    later = [key for key in run.lake.partitions(table) if key > run.key]
    if not later:
        return []
    now = {name: contents(run, name, files_of(run, name, {run.key})).get(run.key) for name in run.use_case.sources}
    found = []
    for key, commit in run.lake.published_each(table, later).items():
        keys = chosen_keys(StageRun(run.workspace, run.use_case, run.use_case.partition(key)))
        wanted = {name: now[name] if run.key in chosen else None for name, chosen in keys.items()}
        stood_on = _stood_on(commit, run.key)
        changed = {name: content for name, content in wanted.items() if content != (stood_on or {}).get(name)}
        if changed and key not in served:
            found.append(key)
        elif changed and stood_on is not None:
            _tell(run, key, changed)
    return sorted(found)


def _stood_on(commit: Commit, key: str) -> dict[str, str | None] | None:
    """By table, the content of a partition that features were built from, by their plan; None where it does not say."""
    uri = commit.record.plan
    inputs = json.loads(read_bytes(uri))["inputs"] if uri and file_exists(uri) else {}
    if not inputs or not all("contents" in given for given in inputs.values()):
        return None
    return {name: given["contents"].get(key) for name, given in inputs.items()}


def _tell(run: StageRun, key: str, changed: dict[str, str | None]) -> None:
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
