"""What is in quarantine: counted, and row by row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import cast

from pipelines.errors import PermanentError
from pipelines.ingestion.quarantining import QuarantinedRow
from pipelines.use_case import UseCase, quarantine_table, source_table
from pipelines.workspace import Lake, Workspace


@dataclass(frozen=True)
class Held:
    """So many rows of one partition that break one rule."""

    source: str
    partition: str
    rule: str
    rows: int


def held(workspace: Workspace, use_case: UseCase) -> list[Held]:
    """What is in quarantine, counted by source, partition and rule."""
    counts = Counter((r["source"], r["partition"], r["rule"]) for r in rejected_rows(workspace, use_case))
    return [Held(*where, rows) for where, rows in sorted(counts.items())]


def rejected_rows(
    workspace: Workspace, use_case: UseCase, source: str | None = None, partition: str | None = None
) -> list[QuarantinedRow]:
    """Quarantined rows with rule, value and text, in the order of their files."""
    found: list[QuarantinedRow] = []
    for name in sources_of(use_case, source):
        table = quarantine_table(source_table(use_case, name))
        keys = [key for key, rows in workspace.lake.partitions(table).items() if rows and partition in (None, key)]
        found += quarantined_rows(workspace.lake, table, keys) if keys else []
    return sorted(found, key=lambda r: (r["source"], r["partition"], r["row"]))


def quarantined_rows(lake: Lake, table: str, keys: list[str]) -> list[QuarantinedRow]:
    """Rows as they are, also where the table is of before it kept headers."""
    return [cast(QuarantinedRow, {"header": None, **row}) for row in lake.read(table, keys).to_pylist()]


def sources_of(use_case: UseCase, source: str | None) -> list[str]:
    """The one source, or all."""
    if source is not None and source not in use_case.sources:
        raise PermanentError(f"{use_case.name}: no source '{source}'; it has {', '.join(use_case.sources)}")
    return [source] if source else list(use_case.sources)
