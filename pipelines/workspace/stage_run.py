"""What every step takes: one stage at work on one partition of a use case."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipelines.use_case import SNAPSHOT, Partition, UseCase
from pipelines.workspace.lake import Lake
from pipelines.workspace.ledger import Ledger
from pipelines.workspace.registry import Registry
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class StageRun:
    """One stage at work on one partition of a use case, or on a longer period. `id` is the run's name in commits."""

    workspace: Workspace
    use_case: UseCase
    partition: Partition

    @property
    def key(self) -> str:
        return self.partition.key

    @property
    def partitions(self) -> list[Partition]:
        """What the run is about: the partition, or those that a longer period is made of, in order."""
        return self.partition.within(self.use_case.grain)

    def part(self, key: str) -> StageRun:
        """The same run, on one partition of its period; what is kept for all time belongs to the last one."""
        return replace(self, partition=self.partitions[-1] if key == SNAPSHOT else self.use_case.partition(key))

    @property
    def id(self) -> str:
        return self.workspace.run

    @property
    def lake(self) -> Lake:
        return self.workspace.lake

    @property
    def ledger(self) -> Ledger:
        return self.workspace.ledger

    @property
    def registry(self) -> Registry:
        return self.workspace.registry

    def __str__(self) -> str:
        return f"{self.use_case.name} {self.key}"
