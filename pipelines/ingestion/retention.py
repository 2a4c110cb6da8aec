"""Retention: the text of rejected rows is kept as long as the use case says; that they were rejected stays counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from pipelines.ingestion.quarantine import quarantined_rows
from pipelines.ingestion.quarantining import QuarantinedRow, quarantine_rows
from pipelines.use_case import UseCase, quarantine_table, source_table
from pipelines.workspace import CommitRecord, Workspace


def forget_rejected(workspace: Workspace, use_case: UseCase, now: datetime | None = None) -> dict[str, int]:
    """Erase text and value of rows that are longer in quarantine than `keep_quarantine_for`; return how many, by table.

    Files of before stay until no version within `keep_versions_for` needs them.
    """
    before = (now or workspace.clock.now()) - use_case.keep_quarantine_for
    tables = [quarantine_table(source_table(use_case, source)) for source in use_case.sources]
    return {table: count for table in tables if (count := _forget(workspace, table, before))}


def _forget(workspace: Workspace, table: str, before: datetime) -> int:
    lake, total = workspace.lake, 0
    for key in [key for key, count in lake.partitions(table).items() if count]:
        seen, rows, commit = lake.seen(table, key), quarantined_rows(lake, table, [key]), lake.published(table, key)
        kept = [_erased(row) if datetime.fromisoformat(row["at"]) < before else row for row in rows]
        count = sum(row != old for row, old in zip(kept, rows, strict=True))
        if count:
            record = replace(commit.record if commit else CommitRecord(), run=workspace.run)
            lake.publish(table, key, [lake.stage(table, key, quarantine_rows(kept))], record, seen)
        total += count
    return total


def _erased(row: QuarantinedRow) -> QuarantinedRow:
    return {**row, "text": "", "value": "", "header": None}
