"""Verbs that mend published data: rejected rows let in again, a table put back to an older version."""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from pipelines.commands.program import Table, UseCaseName, new_run_name, opened, progress, verb
from pipelines.commands.stages import STAGES
from pipelines.errors import PermanentError

if TYPE_CHECKING:
    from pipelines.use_case import UseCase
    from pipelines.workspace import Workspace

_TEXT_SHOWN = 400


@verb("Mend", "quarantine", "flight_delay replay --partition 2013-02 --source weather")
def quarantine(
    use_case: UseCaseName,
    action: Annotated[Literal["list", "show", "replay"], Argument(metavar="ACTION", help="list, show or replay.")],
    partition: Annotated[str | None, Option(help="Needed by replay.")] = None,
    source: Annotated[str | None, Option(help="One source only.")] = None,
    limit: Annotated[int, Option(min=0, help="show: so many rows.")] = 20,
    recompute: Annotated[bool, Option("--recompute", help="replay: run the stages that depend on it as well.")] = False,
) -> None:
    """Rejected rows: list, show, replay those that pass by now."""
    workspace, found = opened(use_case, new_run_name())
    if action == "list":
        _list(workspace, found, source)
    elif action == "show":
        _show(workspace, found, source, partition, limit)
    else:
        _replay(workspace, found, source, partition, recompute)


def _list(workspace: Workspace, use_case: UseCase, source: str | None) -> None:
    from pipelines.ingestion import held

    found = [h for h in held(workspace, use_case) if source in (None, h.source)]
    for h in found:
        print(f"{h.source:<16} {h.partition:<12} {h.rule:<32} {h.rows:>8,} rows")
    if not found:
        print("nothing in quarantine")


def _show(workspace: Workspace, use_case: UseCase, source: str | None, partition: str | None, limit: int) -> None:
    from pipelines.ingestion import rejected_rows

    rows = rejected_rows(workspace, use_case, source, partition)
    for row in rows[:limit]:
        print(f"{row['source']} {row['partition']} line {row['row']}: {row['rule']}, value '{row['value']}'")
        print(f"    run {row['run']} at {row['at']}\n    {row['text'][:_TEXT_SHOWN]}")
    print(f"{min(len(rows), limit)} of {len(rows)} rows shown")


def _replay(workspace: Workspace, use_case: UseCase, source: str | None, partition: str | None, recompute: bool) -> None:
    from pipelines.ingestion import replay
    from pipelines.workspace import StageRun

    if not partition:
        raise PermanentError("replay: which partition? add --partition; 'list' says where rows are")
    run = StageRun(workspace, use_case, use_case.partition(partition))
    with progress(f"replaying {run}"):
        results = replay(run, source)
    for result in results:
        print(result.why)
    if not results:
        print(f"nothing in quarantine for {partition}")
    _recompute(workspace, use_case, [key for result in results for key in result.recompute], recompute)


def _recompute(workspace: Workspace, use_case: UseCase, keys: Iterable[str], really: bool) -> None:
    """Run what depends on these partitions, or say how to."""
    from pipelines.workspace import StageRun, stages_to_recompute

    for stage, key in stages_to_recompute(workspace, use_case, keys):
        if not really:
            print(f"depends on it: python -m pipelines run {stage} {use_case.name} {key}")
            continue
        print(f"recomputing {stage} {key}")
        with progress(f"{stage} {key}"):
            STAGES[stage](StageRun(workspace, use_case, use_case.partition(key)))


@verb("Mend", "restore", 'flight_delay/weather --version 2 --reason "1,048 mph is no wind: the rule was right"')
def restore_table(
    table: Table,
    version: Annotated[int, Option(help="Delta version; `show` has them.")],
    reason: Annotated[str, Option(help="Why; the ledger keeps it, or that none was given.")] = "No reason given.",
) -> None:
    """Make an older version of a table the current one."""
    from pipelines.workspace import open_workspace, restore, use_case_of

    workspace, use_case = open_workspace(new_run_name()), use_case_of(table)
    done = restore(workspace, use_case, table, version, reason, getpass.getuser())
    print(done.why)
    if done.quarantine is not None:
        print(f"its quarantine was put back to version {done.quarantine} with it")
    _recompute(workspace, use_case, done.recompute, really=False)
