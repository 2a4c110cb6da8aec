"""Restore: put an older version of a table back, with the quarantine that belongs to it. Nothing is erased."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from pipelines.errors import PermanentError
from pipelines.use_case import (  # fmt: skip
    UseCase,
    features_table,
    labels_table,
    load_use_case,
    monitoring_table,
    predictions_table,
    quarantine_table,
    source_table,
)
from pipelines.workspace.commits import CommitRecord
from pipelines.workspace.ledger import Decision, Kind
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class Restored:
    """`table` holds at `version` what it held at `restored`; these partitions changed by it.

    `quarantine` is the version that was put back there, None where it fitted or could not be made to; in
    `unreconciled` partitions rows in are not published plus quarantined: run ingestion for them.
    """

    table: str
    restored: int
    version: int
    partitions: tuple[str, ...]
    quarantine: int | None
    unreconciled: tuple[str, ...]
    recompute: tuple[str, ...]
    why: str


def restorable(use_case: UseCase) -> list[str]:
    """The tables that can be put back. Ledger and predictions stay as they are told, and a quarantine follows its table."""
    sources = [source_table(use_case, source) for source in use_case.sources]
    return [*sources, *(t(use_case) for t in (features_table, labels_table, monitoring_table))]


def restore(workspace: Workspace, use_case: UseCase, table: str, version: int, reason: str, actor: str) -> Restored:
    """Make an older version of a table the current one, and tell the ledger.

    Raises:
        PermanentError: no such table or version, or no reason.
        TransientError: another run published to the table meanwhile.
    """
    if table == predictions_table(use_case):
        raise PermanentError(f"{table} says what was served, for ever: it is not put back; scoring again is a what-if")
    if table not in restorable(use_case):
        close = difflib.get_close_matches(table, restorable(use_case), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(restorable(use_case))}"
        raise PermanentError(f"'{table}' is no table that can be restored; {hint}")
    if not reason.strip():
        raise PermanentError(f"{table}: a restore needs a reason; the ledger keeps it")
    last = next(workspace.lake.commits(table))
    if last.record.restored != version:
        changed = _changed(workspace, table, last.version, version)
        record = CommitRecord(run=workspace.run, restored=version, changed=changed)
        workspace.lake.restore(table, version, record, last.version)
    # Also after a run that died here: the rest is done again, and the ledger told once.
    return _complete(workspace, use_case, table, reason, actor)


def _complete(workspace: Workspace, use_case: UseCase, table: str, reason: str, actor: str) -> Restored:
    commit = next(workspace.lake.commits(table))
    restored, version, changed = commit.record.restored, commit.version, commit.record.changed
    assert restored is not None, "the last commit is the restore"
    assert changed is not None, "every restore says what it changed"
    source = table.removeprefix(f"{use_case.name}/")
    quarantine, unreconciled = _match_quarantine(workspace, table) if source in use_case.sources else (None, ())
    keys = tuple(key for key in changed if key in workspace.lake.partitions(table))
    why = f"{table} was put back to version {restored} (now {version}); changed: {', '.join(changed) or 'nothing'}. {reason}"
    if unreconciled:
        why += f" Run ingestion again for {', '.join(unreconciled)}: no version of the quarantine fits."
    workspace.ledger.record(
        Decision(
            id=f"{Kind.RESTORED}/{table}/{version}",
            use_case=use_case.name,
            kind=Kind.RESTORED,
            partition=max(changed, default="none"),
            why=why,
            actor=actor,
            run=workspace.run,
            evidence={
                "table": table,
                "restored": restored,
                "version": version,
                "partitions": list(changed),
                "quarantine": quarantine,
            },
        )
    )
    return Restored(
        table=table,
        restored=restored,
        version=version,
        partitions=changed,
        quarantine=quarantine,
        unreconciled=unreconciled,
        recompute=tuple(k for k in keys if source in use_case.sources and not use_case.sources[source].snapshot),
        why=why,
    )


def _changed(workspace: Workspace, table: str, now: int, then: int) -> tuple[str, ...]:
    """Partitions whose files differ between two versions."""
    if not 0 <= then <= now:
        raise PermanentError(f"{table}: no version {then}; it has 0 to {now}")
    files = [{(f.partition, f.uri) for f in workspace.lake.files(table, version=v)} for v in (now, then)]
    return tuple(sorted({key for key, _ in files[0] ^ files[1]}))


def _match_quarantine(workspace: Workspace, table: str) -> tuple[int | None, tuple[str, ...]]:
    """Put the newest version of the quarantine back that belongs to the table's rows; and partitions where none does."""
    quarantine = quarantine_table(table)
    if not workspace.lake.exists(quarantine):
        return None, _unreconciled(workspace, table, None)
    now = workspace.lake.version(quarantine)
    for version in range(now, -1, -1):
        if not _unreconciled(workspace, table, version):
            if version == now:
                return None, ()
            workspace.lake.restore(quarantine, version, CommitRecord(run=workspace.run, restored_with=table), now)
            return version, ()
    return None, _unreconciled(workspace, table, now)


def _unreconciled(workspace: Workspace, table: str, version: int | None) -> tuple[str, ...]:
    """Partitions whose quarantine at a version is not the one that their rows were published with."""
    quarantine = quarantine_table(table)
    held = workspace.lake.partitions(quarantine, version) if version is not None else {}
    wanted = {key: _record(workspace, table, key) for key in workspace.lake.partitions(table)}
    wrong = {key for key, rows in held.items() if rows and key not in wanted}
    for key, record in wanted.items():
        rows = record.rows_quarantined or 0
        there = _record(workspace, quarantine, key, version) if rows and version is not None else CommitRecord()
        if held.get(key, 0) != rows or (rows and there.source_digest != record.source_digest):
            wrong.add(key)
    return tuple(sorted(wrong))


def _record(workspace: Workspace, table: str, key: str, version: int | None = None) -> CommitRecord:
    commit = workspace.lake.published(table, key, version)
    return commit.record if commit else CommitRecord()


def use_case_of(table: str) -> UseCase:
    """The use case that a table's name starts with."""
    return load_use_case(table.partition("/")[0])
