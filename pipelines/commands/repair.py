"""The verbs of the command line that look into published data and mend it: quarantine, show, restore."""

from __future__ import annotations

import getpass
import json
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pipelines.commands import stages
from pipelines.errors import PermanentError
from pipelines.ingestion import held, rejected_rows, replay
from pipelines.use_case import UseCase, load_use_case
from pipelines.workspace import StageRun, Workspace, open_workspace, restore, stages_to_recompute, use_case_of

_TEXT_SHOWN = 400


def add_verbs(verb: Callable[..., ArgumentParser]) -> None:
    """Declare the verbs; `verb(name, function, help, *positional arguments)` makes one."""
    aside = verb("quarantine", quarantine_verb, "rejected rows: list, show, replay those that pass by now", "USE_CASE")
    aside.add_argument("action", choices=["list", "show", "replay"])
    aside.add_argument("--partition", help="needed by replay")
    aside.add_argument("--source", help="one source only")
    aside.add_argument("--limit", type=int, default=20, help="show: so many rows (default 20)")
    aside.add_argument("--recompute", action="store_true", help="replay: run the stages that depend on it as well")
    look = verb("show", show, "the rows of a published table, now or at an older version", "TABLE")
    look.add_argument("--version", type=int, help="Delta version; without it, the newest")
    look.add_argument("--partition", help="one partition only")
    look.add_argument("--limit", type=int, default=5, help="so many rows (default 5)")
    back = verb("restore", restore_verb, "make an older version of a table the current one", "TABLE")
    back.add_argument("--version", type=int, required=True)
    back.add_argument("--reason", default="No reason given.", help="why; the ledger keeps it, or that none was given")


def quarantine_verb(options: Any) -> None:
    use_case = load_use_case(options.use_case)
    {"list": _list, "show": _show_rejected, "replay": _replay}[options.action](_workspace(), use_case, options)


def _list(workspace: Workspace, use_case: UseCase, options: Any) -> None:
    found = [h for h in held(workspace, use_case) if options.source in (None, h.source)]
    for h in found:
        print(f"{h.source:<16} {h.partition:<12} {h.rule:<32} {h.rows:>8,} rows")
    if not found:
        print("nothing in quarantine")


def _show_rejected(workspace: Workspace, use_case: UseCase, options: Any) -> None:
    rows = rejected_rows(workspace, use_case, options.source, options.partition)
    for row in rows[: options.limit]:
        print(f"{row['source']} {row['partition']} line {row['row']}: {row['rule']}, value '{row['value']}'")
        print(f"    run {row['run']} at {row['at']}\n    {row['text'][:_TEXT_SHOWN]}")
    print(f"{min(len(rows), options.limit)} of {len(rows)} rows shown")


def _replay(workspace: Workspace, use_case: UseCase, options: Any) -> None:
    if not options.partition:
        raise PermanentError("replay: which partition? add --partition; 'list' says where rows are")
    results = replay(StageRun(workspace, use_case, use_case.partition(options.partition)), options.source)
    for result in results:
        print(result.why)
    if not results:
        print(f"nothing in quarantine for {options.partition}")
    _recompute(workspace, use_case, [key for result in results for key in result.recompute], options.recompute)


def _recompute(workspace: Workspace, use_case: UseCase, keys: list[str], really: bool) -> None:
    """Run what depends on these partitions, or say how to."""
    for stage, key in stages_to_recompute(workspace, use_case, keys):
        command = f"python -m pipelines run {stage} {use_case.name} {key}"
        print(f"recomputing {stage} {key}" if really else f"depends on it: {command}")
        if really:
            stages.STAGES[stage](StageRun(workspace, use_case, use_case.partition(key)))


def show(options: Any) -> None:
    """Print versions, partitions and rows of a table, one JSON object per row."""
    lake = open_workspace().lake
    counts = lake.partitions(options.table, options.version)
    now = lake.version(options.table)
    version = now if options.version is None else options.version
    print(f"{options.table} version {version} of {now}: {sum(counts.values()):,} rows in {len(counts)} partitions")
    for key, rows in counts.items():
        print(f"  {key:<12} {rows:>10,} rows")
    keys = [key for key in counts if options.partition in (None, key)]
    rows = lake.read(options.table, keys[:1] if options.partition is None else keys, options.version)
    for row in rows.slice(0, options.limit).to_pylist():
        print(json.dumps(row, default=str))


def restore_verb(options: Any) -> None:
    workspace, use_case = _workspace(), use_case_of(options.table)
    done = restore(workspace, use_case, options.table, options.version, options.reason, getpass.getuser())
    print(done.why)
    if done.quarantine is not None:
        print(f"its quarantine was put back to version {done.quarantine} with it")
    _recompute(workspace, use_case, list(done.recompute), really=False)


def _workspace() -> Workspace:
    return open_workspace(f"cli-{datetime.now(UTC):%Y%m%dT%H%M%S}")
