"""The table `<use case>/answers`: what the API said, append-only, each answer exactly once, read beside the predictions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pipelines.serving.inputs import has_whole_keys
from pipelines.serving.spool import Segment, Spool
from pipelines.use_case import PARTITION, UseCase, answers_table
from pipelines.workspace import CommitRecord, Workspace, prediction_schema

if TYPE_CHECKING:
    import pyarrow as pa


def continue_numbers(workspace: Workspace, use_case: UseCase, spool: Spool) -> None:
    spool.start_after(workspace.lake.seen(answers_table(use_case), spool.writer))


def write_answers(workspace: Workspace, use_case: UseCase, spool: Spool) -> int:
    """Write what the spool has sealed, a commit for each segment; return how many rows.

    A commit carries the writer's name and the segment's number, as Delta's transaction: a segment whose commit was made,
    but which a kill left in the spool, is not written again. Segments go in order, as a number tells of all before it.
    """
    return sum(_write(workspace, use_case, spool, segment) for segment in spool.sealed())


def _write(workspace: Workspace, use_case: UseCase, spool: Spool, segment: Segment) -> int:
    table, rows, record = answers_table(use_case), _arrow(segment, use_case), CommitRecord(run=workspace.run)

    def is_new() -> bool:
        return workspace.lake.seen(table, spool.writer) < segment.number

    made = None
    if rows.num_rows:
        made = workspace.lake.append(table, segment.partition, lambda _: rows, record, is_new, {spool.writer: segment.number})
    spool.drop(segment)
    return rows.num_rows if made is not None else 0


def _arrow(segment: Segment, use_case: UseCase) -> pa.Table:
    import pyarrow as pa

    rows = [{**row, "made_at": datetime.fromisoformat(row["made_at"])} for row in segment.rows()]
    return pa.Table.from_pylist(rows, schema=_schema(use_case, any("variant" in row for row in rows)))


def _schema(use_case: UseCase, experiment: bool) -> pa.Schema:
    """The predictions' columns; `answer` and `row` are one row of one answer, null is what a request did not say."""
    import pyarrow as pa

    key = pa.field(use_case.features.key, pa.int64() if has_whole_keys(use_case) else pa.string())
    told = prediction_schema(key, experiment)
    own = [field for field in told if field.name not in ("served", PARTITION)]
    return pa.schema([("answer", pa.string()), ("row", pa.int64()), *own, ("features_partition", pa.string())])
