"""Land: a source's file as typed rows, staged where no reader sees them; what cannot be read goes to quarantine."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field

from pipelines.errors import PermanentError
from pipelines.ingestion.arrival import Arrival
from pipelines.ingestion.quarantining import (
    Reject,
    looks_like,
    quarantine_rows,
    quarantine_schema,
    quarantined,
    stop_at_many,
    within,
)
from pipelines.ingestion.reading import Reading, open_source, unknown_schema
from pipelines.ingestion.schema_changes import judge_dropped, judge_table, stop_or_report
from pipelines.results import Landed
from pipelines.use_case import PARTITION, ROW, arrow_type, row_schema
from pipelines.workspace import StageRun, stamp_of

_log = logging.getLogger(__name__)


@dataclass
class _Counts:
    """What was read so far: rows, and rejects by rule with the first one of each."""

    rows_in: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    samples: dict[str, Reject] = field(default_factory=dict)

    def add(self, rows_in: int, rejects: list[Reject]) -> None:
        self.rows_in += rows_in
        self.broken.update(reject.rule for reject in rejects)
        for reject in rejects:
            self.samples.setdefault(reject.rule, reject)


def land(run: StageRun, source: str) -> Landed:
    """Read one source's file for the partition and stage its rows, batch by batch.

    Raises:
        PermanentError: the file is missing or unreadable, its schema changed, or no row of it belongs to the partition.
        TransientError: the store did not answer.
    """
    arrival = Arrival(run, source)
    known = _compare_with_published(arrival)
    area = run.lake.staging_area(arrival.table, arrival.key)
    rows, rejects, unknown = (f"{area}/{name}.parquet" for name in ("part-00000", "rejects", "unknown"))
    stamp, read_at = stamp_of(arrival.uri), run.workspace.clock.now().isoformat()  # before it is read: it may be written again
    with open_source(arrival.uri, arrival.declaration) as reading:
        changes = (*known, *reading.changes)
        for change in changes:
            _log.warning("%s: schema change: %s", arrival.where, change)
        counts = _stage(arrival, reading, rows, rejects, unknown)
    _stop_at_unusable(arrival, counts)
    return Landed(
        source=source,
        partition=arrival.key,
        staged=(rows,),
        rejects=rejects,
        rows_in=counts.rows_in,
        rows_rejected=counts.broken.total(),
        source_digest=reading.digest,
        schema_changes=changes,
        unknown_columns=(unknown,) if reading.unknown_columns else (),
        read_at=read_at,
        stamp=stamp,
    )


def _stage(arrival: Arrival, reading: Reading, rows: str, rejects: str, unknown: str) -> _Counts:
    """Write typed rows, rejects and unknown columns to their files, relative to the table."""
    counts = _Counts()
    with ExitStack() as stack:
        to_rows, to_rejects, to_unknown = (
            stack.enter_context(arrival.lake.staging(arrival.table, path, schema))
            for path, schema in (
                (rows, row_schema(arrival.contract)),
                (rejects, quarantine_schema()),
                (unknown, unknown_schema()),
            )
        )
        for batch in reading.batches():
            inside, misplaced = within(batch.rows, arrival)
            rejected = [*batch.rejects, *misplaced]
            counts.add(len(batch.texts), rejected)
            to_rows.write(inside)
            kept = quarantined(arrival, rejected, batch.texts, reading.header, reading.digest)
            to_rejects.write(quarantine_rows(kept))
            to_unknown.write(batch.unknown_columns)
    return counts


def _stop_at_unusable(arrival: Arrival, counts: _Counts) -> None:
    rows_in, broken = counts.rows_in, counts.broken
    if broken.total() == rows_in:
        rule, count = broken.most_common(1)[0]
        sample = counts.samples[rule]
        raise PermanentError(
            f"{arrival.where}: not one of {rows_in} rows of {arrival.uri} is usable; {count} break rule {rule}, such as line "
            f"{sample.row} with '{sample.value}'{looks_like(broken, rows_in, arrival.declaration)}"
        )
    stop_at_many(rows_in, broken, arrival.declaration)


def _compare_with_published(arrival: Arrival) -> tuple[str, ...]:
    """The contract against the last published version of its table."""
    contract, lake = arrival.contract, arrival.lake
    published = {n: t for n, t in lake.column_types(arrival.table).items() if n not in (ROW, PARTITION)}
    wanted = {name: str(arrow_type(column.type)) for name, column in contract.columns.items()}
    older = any(partition != arrival.key for partition in lake.partitions(arrival.table))
    changes = judge_table(contract, wanted, published, older)
    changes += judge_dropped(arrival.run.use_case, arrival.source, list(published))
    return tuple(stop_or_report(changes, arrival.where, arrival.impact_of))
