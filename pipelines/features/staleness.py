"""Stale features: later partitions that stand on files which are not there any more, as an older partition was corrected.

What was not served yet is built again; what was served stays, and the ledger says so. An observed table that was read again
makes stale only what counted other rows of it than it would now: what became known after a cut-off was never counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from pipelines.features.inputs import (
    Files,
    chosen_keys,
    contents,
    counting,
    files_of,
    is_observed,
    last_cut_off,
    latest_outcomes,
)
from pipelines.use_case import features_table, predictions_table, source_table
from pipelines.workspace import Decision, Kind, StageRun, file_exists, read_bytes


@dataclass(frozen=True)
class _Inputs:
    """By table and partition, files and what they hold; `latest` as `latest_outcomes` gives it."""

    files: dict[str, Files]
    contents: dict[str, dict[str, str]]
    latest: Mapping[str, datetime | None] | None  # None in plans of before, which are of one partition

    def stood_on(self, run: StageRun, key: str) -> set[str]:
        """The tables of which the features of a run stand on a partition."""
        if self.latest is None:
            return {table for table, found in self.contents.items() if key in found}
        chosen = chosen_keys(run, {key: self.latest[key]} if key in self.latest else {})
        return {table for table, keys in chosen.items() if key in keys}


def outdated(run: StageRun) -> list[str]:
    """Partitions after one of the run's, not served yet, whose features stand on another content of it than it has now.

    Where the plan that they were built by does not say any more, they are built again if they reach back to it.
    """
    table, served = features_table(run.use_case), run.lake.partitions(predictions_table(run.use_case))
    keys, planned = [p.key for p in run.partitions], cache(_planned)
    later = [key for key in run.lake.partitions(table) if key > keys[0]]
    if not later:
        return []
    now, found = _now(run, set(keys)), []
    for key, commit in run.lake.published_each(table, later).items():
        built, then = StageRun(run.workspace, run.use_case, run.use_case.partition(key)), planned(commit.record.plan)
        changed = {mine: tables for mine in keys if mine < key and (tables := _changed(built, mine, now, then))}
        if changed and key not in served:
            found.append(key)
        elif changed and then:
            for mine, tables in changed.items():
                _tell(run, key, mine, {name: now.contents[name].get(mine) for name in tables})
    return sorted(found)


def is_current(run: StageRun) -> bool:
    """Whether the features of all of the run's partitions stand on what they would stand on now."""
    commits = run.lake.published_each(features_table(run.use_case), [p.key for p in run.partitions])
    planned = cache(_planned)
    plans = {key: planned(commit.record.plan) for key, commit in commits.items()}
    if len(commits) < len(run.partitions) or None in plans.values():
        return False
    keys = set[str]().union(*chosen_keys(run, latest_outcomes(run)).values())
    keys |= {key for then in plans.values() if then for found in then.contents.values() for key in found}
    now = _now(run, keys)
    return not any(_changed(run.part(key), other, now, then) for key, then in plans.items() for other in keys)


def _now(run: StageRun, keys: set[str]) -> _Inputs:
    files = {name: files_of(run, name, keys) for name in run.use_case.sources}
    return _Inputs(files, {name: contents(run, name, files[name]) for name in files}, latest_outcomes(run))


def _planned(uri: str | None) -> _Inputs | None:
    """What features were built from, by their plan; None where it does not say."""
    plan: dict[str, Any] = json.loads(read_bytes(uri)) if uri and file_exists(uri) else {"inputs": {}}
    inputs = plan["inputs"]
    if not inputs or not all("contents" in given for given in inputs.values()):
        return None
    latest = {key: at and datetime.fromisoformat(at) for key, at in plan["latest"].items()} if "latest" in plan else None
    return _Inputs({n: given["files"] for n, given in inputs.items()}, {n: g["contents"] for n, g in inputs.items()}, latest)


def _changed(built: StageRun, key: str, now: _Inputs, then: _Inputs | None) -> list[str]:
    """The tables of which features would stand on something else of a partition than they do."""
    wanted = now.stood_on(built, key)
    if then is None:
        return sorted(name for name in wanted if key in now.contents[name])
    had, entity = then.stood_on(built, key), built.use_case.features.entity
    # Rows of the entity count by their outcomes, which are compared themselves.
    names = (wanted | had) - ({entity} & (wanted ^ had))
    return sorted(name for name in names if _differs(built, name, key, (now, wanted), (then, had)))


def _differs(built: StageRun, name: str, key: str, *states: tuple[_Inputs, set[str]]) -> bool:
    held = [state.contents.get(name, {}).get(key) if name in chosen else None for state, chosen in states]
    if held[0] == held[1] or not is_observed(built.use_case, name):
        return held[0] != held[1]
    files = [state.files[name][key] if content else [] for (state, _), content in zip(states, held, strict=True)]
    if not all(file_exists(uri) for uris in files for uri in uris):
        return True
    return _counted(built, name, key, files[0]) != _counted(built, name, key, files[1])


def _counted(built: StageRun, name: str, key: str, uris: list[str]) -> list[dict[str, Any]]:
    """The rows of an observed table that the features of a run count, in any one order."""
    table = source_table(built.use_case, name)
    paths = [uri.removeprefix(f"{built.lake.uri(table)}/") for uri in uris]
    rows = built.lake.read_staged(table, paths).to_pylist() if paths else []
    counted = [{**row, "_row": None} for row in rows if _counts(built, name, key, row)]
    return sorted(counted, key=repr)


def _counts(built: StageRun, name: str, key: str, row: dict[str, Any]) -> bool:
    """As the Spark job has it: by the moment of an outcome, and by the day of what is joined."""
    source, label, zone = built.use_case.sources[name], built.use_case.label, built.use_case.timezone
    floor = source.counts_from(built.use_case.partition(key), zone)
    at = row[label.known_at if name == label.source else str(source.time_column)]
    if at is None:
        return False
    if name == label.source:
        since, until = counting(built)
        return since < max(at, floor) <= until
    day: date = at.astimezone(ZoneInfo(zone)).date() if isinstance(at, datetime) else at
    cut_off = last_cut_off(built)
    return floor <= cut_off and day + timedelta(days=1 + source.available_days) <= cut_off.date()


def _tell(run: StageRun, key: str, mine: str, changed: dict[str, str | None]) -> None:
    tables = ", ".join(changed)
    why = f"{key} was served by features that stand on {tables} of {mine} as it was before; what was served stays as it is."
    content = hashlib.sha256(repr(changed).encode()).hexdigest()[:16]
    run.ledger.record(
        Decision(
            id=f"{Kind.STALE}/{key}/{mine}/{content}",
            use_case=run.use_case.name,
            kind=Kind.STALE,
            partition=key,
            why=why,
            actor="ingestion",
            run=run.id,
        )
    )
