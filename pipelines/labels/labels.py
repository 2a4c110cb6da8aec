"""Labels: what really happened, once it is complete. A row without an outcome is no label, and it is counted."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError, TransientError
from pipelines.use_case import Partition, UseCase, labels_table, source_table
from pipelines.workspace import Commit, CommitRecord, StageRun

if TYPE_CHECKING:
    from pandas import DataFrame, Series
    from pyarrow import Table

_COMPARE: dict[str, Callable[[Series, float], Series]] = {
    ">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt, "==": operator.eq,
}  # fmt: skip


@dataclass(frozen=True)
class Labelled:
    """Labels of one partition: of `rows` outcomes, `labels` count, `positive` of them are positive."""

    table: str
    partition: str
    version: int
    rows: int
    labels: int
    positive: int


def publish_labels(run: StageRun, now: datetime | None = None) -> Labelled:
    """Turn the partition's outcomes into labels, once they are complete.

    Raises:
        TransientError: outcomes are not complete yet; says from when on they are.
        PermanentError: what was ingested of them was ingested before that, so that some may be missing.
    """
    if not outcomes_complete(run.use_case, run.partition, now):
        ready = complete_at(run.use_case, run.partition).isoformat()
        raise TransientError(f"{run}: outcomes are complete from {ready} on; run again then")
    _stop_at_part(run)
    outcomes = run.lake.read(source_table(run.use_case, run.use_case.label.source), [run.key]).to_pandas()
    labels = to_labels(outcomes, run.use_case)
    table = labels_table(run.use_case)
    staged = run.lake.stage(table, run.key, _arrow(labels))
    published = run.lake.publish(table, run.key, [staged], CommitRecord(run=run.id))
    return Labelled(
        table=table,
        partition=run.key,
        version=published.version,
        rows=len(outcomes),
        labels=len(labels),
        positive=int(labels["label"].sum()),
    )


def _stop_at_part(run: StageRun) -> None:
    """Labels of the ten parcels that had arrived when the file was read would stand for all."""
    table = source_table(run.use_case, run.use_case.label.source)
    commit, ready = _ingested(run, table), complete_at(run.use_case, run.partition)
    if commit and (at := datetime.fromtimestamp(commit.timestamp / 1000, UTC)) < ready:
        raise PermanentError(
            f"{run}: {table} was ingested at {at:%Y-%m-%dT%H:%MZ}, before its outcomes were complete ({ready.isoformat()}): "
            "some may be missing; run ingestion for it again with the complete file"
        )


def _ingested(run: StageRun, table: str) -> Commit | None:
    """The commit that brought the rows: what a replay added to them says nothing of how many there were."""
    commit = run.lake.published(table, run.key)
    while commit and commit.record.replayed is not None and commit.version:
        commit = run.lake.published(table, run.key, commit.version - 1)
    return commit


def complete_at(use_case: UseCase, partition: Partition) -> datetime:
    """When the partition's outcomes have all come in."""
    return partition.ends_at(use_case.timezone) + use_case.sources[use_case.label.source].available_after


def outcomes_complete(use_case: UseCase, partition: Partition, now: datetime | None = None) -> bool:
    return (now or datetime.now(UTC)) >= complete_at(use_case, partition)


def to_labels(outcomes: DataFrame, use_case: UseCase) -> DataFrame:
    """Frame of key, label (0 or 1) and the moment it became known. Rows without the label's column are no labels."""
    rule = use_case.label
    known = outcomes[outcomes[rule.column].notna()]
    label = _COMPARE[rule.operator](known[rule.column], rule.threshold).astype("int64")
    kept = known[[use_case.features.key]].assign(label=label, known_at=known[rule.known_at])
    return kept.reset_index(drop=True)


def _arrow(labels: DataFrame) -> Table:
    import pyarrow as pa

    return pa.Table.from_pandas(labels, preserve_index=False).replace_schema_metadata(None)
