"""How far a replay has come, asked of the tables and the ledger, so that one that was cut off goes on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipelines.monitoring import latest
from pipelines.use_case import Partition, UseCase, features_table, labels_table, predictions_table, source_table
from pipelines.workspace import Champion, Kind, Workspace


@dataclass(frozen=True)
class Progress:
    """What is there of each period."""

    workspace: Workspace
    use_case: UseCase

    def is_known(self, source: str) -> bool:
        return bool(self.workspace.lake.partitions(source_table(self.use_case, source)))

    def is_settled(self, period: Partition) -> bool:
        if self._champion(period) is None:
            return self.has_features_and_labels(period)
        return self.is_monitored(period)

    def _champion(self, period: Partition) -> Champion | None:
        return self.workspace.ledger.champion(self.use_case.name, period.within(self.use_case.grain)[0].key)

    def _holds(self, table: str, period: Partition) -> bool:
        published = self.workspace.lake.partitions(table)
        return all(partition.key in published for partition in period.within(self.use_case.grain))

    def has_features_and_labels(self, period: Partition) -> bool:
        return all(self._holds(table(self.use_case), period) for table in (features_table, labels_table))

    def is_monitored(self, period: Partition) -> bool:
        """Scored and labelled, and the drift and quality measured of each window that ended within it."""
        seen = latest(self.workspace, self.use_case)
        ended = [window for window in period.within(self.use_case.window) if window.end <= period.end]
        measured = [known for window in ended if (known := seen.get(window.key)) and known.drift and known.performance]
        there = all(self._holds(table(self.use_case), period) for table in (predictions_table, labels_table))
        return there and len(measured) == len(ended)

    def is_lived(self, day: Partition, days: list[Partition], now: datetime) -> bool:
        """Whether all is done that can be done by then: served up to this day, and labelled as far as outcomes are complete."""
        complete = self.use_case.sources[self.use_case.label.source].complete_at
        ended = [p for p in days if complete(p, self.use_case.timezone) <= now]
        served = all(self._holds(predictions_table(self.use_case), p) for p in days if p <= day)
        return served and all(self._holds(labels_table(self.use_case), p) for p in ended)

    def decision(self, partition: Partition) -> tuple[bool, str] | None:
        for decision in reversed(self.workspace.ledger.decisions(self.use_case.name)):
            if decision.partition == partition.key and decision.kind in (Kind.STARTED, Kind.NOT_RETRAINED):
                return decision.kind == Kind.STARTED, decision.why
        return None

    def is_trained(self, partition: Partition) -> bool:
        made = (Kind.PROMOTED, Kind.KEPT)
        return any(d.partition == partition.key and d.kind in made for d in self.workspace.ledger.decisions(self.use_case.name))

    def is_decided(self, partition: Partition) -> bool:
        decision, judged = self.decision(partition), partition.grain is self.use_case.decided
        settled = decision is not None and (not decision[0] or self.is_trained(partition))
        return self.is_monitored(partition) and (settled or not judged)
