"""The names of a use case's tables, and the key under which reference data is kept."""

from __future__ import annotations

from pipelines.use_case.partitions import Partition
from pipelines.use_case.sources import Source
from pipelines.use_case.use_case import UseCase

SNAPSHOT = "snapshot"


def source_table(use_case: UseCase, source: str) -> str:
    return f"{use_case.name}/{source}"


def quarantine_table(table: str) -> str:
    return f"{table}_quarantine"


def unknown_columns_table(table: str) -> str:
    """Columns of the source that its contract does not know."""
    return f"{table}_aside"


def features_table(use_case: UseCase) -> str:
    return f"{use_case.name}/features"


def labels_table(use_case: UseCase) -> str:
    return f"{use_case.name}/labels"


def predictions_table(use_case: UseCase) -> str:
    return f"{use_case.name}/predictions"


def monitoring_table(use_case: UseCase) -> str:
    return f"{use_case.name}/monitoring"


def key_of(source: Source, partition: Partition) -> str:
    """The partition key under which a source's rows are kept; reference data has one for all time."""
    return SNAPSHOT if source.snapshot else partition.key
