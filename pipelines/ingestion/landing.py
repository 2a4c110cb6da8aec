"""Land: a source's file as typed rows, staged where no reader sees them; what cannot be read goes to quarantine."""

from __future__ import annotations

import logging

from pipelines.errors import PermanentError
from pipelines.ingestion.arrival import Arrival
from pipelines.ingestion.quarantining import looks_like, most_common, stage_rejects, within
from pipelines.ingestion.reading import read_source
from pipelines.ingestion.schema_changes import judge_dropped, judge_table, stop_or_report
from pipelines.results import Landed
from pipelines.use_case import ROW, arrow_type
from pipelines.workspace import PARTITION, StageRun

_log = logging.getLogger(__name__)


def land(run: StageRun, source: str) -> Landed:
    """Read one source's file for the partition and stage its rows.

    Raises:
        PermanentError: the file is missing or unreadable, its schema changed, or no row of it belongs to the partition.
    """
    arrival = Arrival(run, source)
    changes, declaration = _compare_with_published(arrival), arrival.declaration
    reading = read_source(arrival.uri, declaration)
    rows, misplaced = within(reading.rows, arrival.declared, run.partition, run.use_case.timezone)
    rejects, changes = [*reading.rejects, *misplaced], (*changes, *reading.changes)
    if reading.rows_in and rows.num_rows == 0:
        why = most_common(rejects) + looks_like(rejects, reading.rows_in, declaration)
        raise PermanentError(f"{arrival.where}: not one of {reading.rows_in} rows of {arrival.uri} is usable; {why}")
    for change in changes:
        _log.warning("%s: schema change: %s", arrival.where, change)
    unknown = reading.unknown_columns
    return Landed(
        source=source,
        partition=arrival.key,
        staged=(run.lake.stage(arrival.table, arrival.key, rows),),
        rejects=stage_rejects(arrival, rejects),
        rows_in=reading.rows_in,
        rows_rejected=len(rejects),
        source_digest=reading.digest,
        schema_changes=changes,
        unknown_columns=(run.lake.stage(arrival.unknown_columns, arrival.key, unknown),) if unknown else (),
    )


def _compare_with_published(arrival: Arrival) -> tuple[str, ...]:
    """The contract against the last published version of its table."""
    contract, lake = arrival.contract, arrival.lake
    published = {n: t for n, t in lake.column_types(arrival.table).items() if n not in (ROW, PARTITION)}
    wanted = {name: str(arrow_type(column.type)) for name, column in contract.columns.items()}
    older = any(partition != arrival.key for partition in lake.partitions(arrival.table))
    changes = judge_table(contract, wanted, published, older)
    changes += judge_dropped(arrival.run.use_case, arrival.source, list(published))
    return tuple(stop_or_report(changes, arrival.where, arrival.impact_of))
