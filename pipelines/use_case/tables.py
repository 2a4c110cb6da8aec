"""The names of a use case's tables, and the key under which reference data is kept.

A source's table has the source's name. The pipeline's own tables, and those beside a source's, have names that no source
can take.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from pipelines.use_case.partitions import Partition
from pipelines.use_case.sources import Source

if TYPE_CHECKING:
    from pipelines.use_case.use_case import UseCase

SNAPSHOT = "snapshot"


class PipelineTable(StrEnum):
    """What the pipeline itself publishes."""

    FEATURES = "features"
    LABELS = "labels"
    PREDICTIONS = "predictions"
    MONITORING = "monitoring"
    DECISIONS = "decisions"
    ANSWERS = "answers"


class Beside(StrEnum):
    """What stands beside a source's table."""

    QUARANTINE = "_quarantine"
    UNKNOWN_COLUMNS = "_unknown_columns"


def stop_at_taken(source: str) -> None:
    """Raises ValueError where a table of the pipeline has the source's name."""
    if source in set(PipelineTable) or source.endswith(tuple(Beside)):
        raise ValueError(f"the name '{source}' is taken by a table of the pipeline itself; call the source otherwise")


def source_table(use_case: UseCase, source: str) -> str:
    return f"{use_case.name}/{source}"


def quarantine_table(table: str) -> str:
    return f"{table}{Beside.QUARANTINE}"


def unknown_columns_table(table: str) -> str:
    """Columns of the source that its contract does not know."""
    return f"{table}{Beside.UNKNOWN_COLUMNS}"


def features_table(use_case: UseCase) -> str:
    return f"{use_case.name}/{PipelineTable.FEATURES}"


def labels_table(use_case: UseCase) -> str:
    return f"{use_case.name}/{PipelineTable.LABELS}"


def predictions_table(use_case: UseCase) -> str:
    return f"{use_case.name}/{PipelineTable.PREDICTIONS}"


def monitoring_table(use_case: UseCase) -> str:
    return f"{use_case.name}/{PipelineTable.MONITORING}"


def answers_table(use_case: UseCase) -> str:
    return f"{use_case.name}/{PipelineTable.ANSWERS}"


def decisions_table(use_case_name: str) -> str:
    return f"{use_case_name}/{PipelineTable.DECISIONS}"


def key_of(source: Source, partition: Partition) -> str:
    """The partition key under which a source's rows are kept; reference data has one for all time."""
    return SNAPSHOT if source.snapshot else partition.key
