"""Labels: what really happened, once it is complete. A row without an outcome is no label, and it is counted."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError, TransientError
from pipelines.use_case import UseCase, labels_table, source_table
from pipelines.workspace import Commit, CommitRecord, StageRun

if TYPE_CHECKING:
    from pandas import DataFrame, Series
    from pyarrow import Table

_COMPARE: dict[str, Callable[[Series, float], Series]] = {
    ">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt, "==": operator.eq,
}  # fmt: skip


@dataclass(frozen=True)
class Labelled:
    """Labels of a period: of `expected` rows, `rows` outcomes came, `labels` of them count, and `positive` are positive."""

    table: str
    partition: str
    version: int
    expected: int
    rows: int
    labels: int
    positive: int


def unlabelled(run: StageRun) -> list[str]:
    """Partitions of the run whose outcomes are complete, and whose labels are of other outcomes, or not there."""
    keys = [partition.key for partition in run.partitions]
    outcomes = run.lake.published_each(_outcomes(run), keys)
    labels = run.lake.published_each(labels_table(run.use_case), keys)
    made_from = {key: (commit.record.made_from or {}).get(key) for key, commit in labels.items()}
    changed = [key for key, commit in outcomes.items() if made_from.get(key) != commit.record.content]
    return sorted(key for key in changed if _why_not(run.part(key), outcomes[key]) is None)


def publish_labels(run: StageRun, keys: Sequence[str] | None = None) -> Labelled:
    """Turn the outcomes of the run's partitions, or of these of them, into labels, once they are complete.

    Raises:
        TransientError: outcomes are not complete yet; says from when on they are.
        PermanentError: what was ingested of them was ingested before that, so that some may be missing.
    """
    keys = keys or [partition.key for partition in run.partitions]
    commits = run.lake.published_each(_outcomes(run), keys)
    for key in keys:
        if (why := _why_not(run.part(key), commits.get(key))) is not None:
            raise why
    table = labels_table(run.use_case)
    expected = run.lake.partitions(source_table(run.use_case, run.use_case.features.entity))
    outcomes = {key: run.lake.read(_outcomes(run), [key]).to_pandas() for key in keys}
    labels = {key: to_labels(rows, run.use_case) for key, rows in outcomes.items()}
    staged = {key: [run.lake.stage(table, key, _arrow(rows))] for key, rows in labels.items()}
    record = CommitRecord(run=run.id, made_from={key: commit.record.content for key, commit in commits.items()})
    return Labelled(
        table=table,
        partition=run.key,
        version=run.lake.publish_each(table, staged, record)[-1].version,
        expected=sum(expected.get(key, len(outcomes[key])) for key in keys),
        rows=sum(map(len, outcomes.values())),
        labels=sum(map(len, labels.values())),
        positive=sum(int(rows["label"].sum()) for rows in labels.values()),
    )


def _outcomes(run: StageRun) -> str:
    return source_table(run.use_case, run.use_case.label.source)


def _why_not(run: StageRun, commit: Commit | None) -> PermanentError | TransientError | None:
    """Why there can be no labels yet. Those of the ten parcels that had arrived when the file was read would stand for all."""
    ready = run.use_case.sources[run.use_case.label.source].complete_at(run.partition, run.use_case.timezone)
    if run.workspace.clock.now() < ready:
        return TransientError(f"{run}: outcomes are complete from {ready.isoformat()} on; run again then")
    if commit is None or (at := _read_at(commit)) >= ready:
        return None
    return PermanentError(
        f"{run}: {_outcomes(run)} was read at {at:%Y-%m-%dT%H:%MZ}, before its outcomes were complete ({ready.isoformat()}): "
        "some may be missing; run ingestion for it again with the complete file"
    )


def _read_at(commit: Commit) -> datetime:
    """When its file was read, which a replay of its quarantine does not change; tables of before have the commit's own time."""
    at = commit.record.read_at
    return datetime.fromisoformat(at) if at else datetime.fromtimestamp(commit.timestamp / 1000, UTC)


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
