"""One source's rows on their way from file to table, and what is declared of them: what every step of ingestion takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.ingestion.schema_changes import impact
from pipelines.use_case import Contract, Partition, Source, key_of, quarantine_table, source_table, unknown_columns_table
from pipelines.workspace import Lake, StageRun


@dataclass(frozen=True)
class Declaration:
    """What a file must be. `where` begins every message; `impact_of(column)` says what a column's change affects."""

    source: Source
    contract: Contract
    where: str
    impact_of: Callable[[str], str] = lambda column: ""


@dataclass(frozen=True)
class Arrival:
    """What one source sends for one partition."""

    run: StageRun
    source: str

    @classmethod
    def into(cls, run: StageRun, table: str) -> Arrival:
        """The arrival that is published in a table."""
        return cls(run, table.removeprefix(f"{run.use_case.name}/"))

    @property
    def lake(self) -> Lake:
        return self.run.lake

    @property
    def declaration(self) -> Declaration:
        return Declaration(source=self.declared, contract=self.contract, where=self.where, impact_of=self.impact_of)

    @property
    def declared(self) -> Source:
        return self.run.use_case.sources[self.source]

    @property
    def contract(self) -> Contract:
        return self.run.use_case.contract[self.source]

    @property
    def contract_digest(self) -> str:
        """Of all that decides what is made of a file: what is declared of the source, and the contract."""
        declared = self.declared.model_dump_json() + self.contract.model_dump_json()
        return hashlib.sha256(declared.encode()).hexdigest()[:16]

    @property
    def uri(self) -> str:
        """Address of the file."""
        return self.run.workspace.fill(self.declared.uri, partition=self.run.key)

    @property
    def table(self) -> str:
        return source_table(self.run.use_case, self.source)

    @property
    def quarantine(self) -> str:
        return quarantine_table(self.table)

    @property
    def unknown_columns(self) -> str:
        return unknown_columns_table(self.table)

    @property
    def key(self) -> str:
        """The partition of the table; reference data has one for all time."""
        return key_of(self.declared, self.run.partition)

    @property
    def partition(self) -> Partition | None:
        """None of reference data."""
        return None if self.declared.snapshot else self.run.partition

    @property
    def where(self) -> str:
        return f"{self.table} {self.key}"

    def impact_of(self, column: str) -> str:
        """What a change of the column affects, as the end of a sentence; the ledger is asked only when it is."""
        champion = self.run.ledger.champion(self.run.use_case.name)
        return impact(self.run.use_case, self.source, champion.version if champion else None, column)
