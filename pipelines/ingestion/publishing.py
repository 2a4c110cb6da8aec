"""Publish: quarantine and rows, each in one transaction; rows in = published + quarantined, or the run stops."""

from __future__ import annotations

from itertools import groupby

from pipelines.errors import PermanentError, TransientError
from pipelines.ingestion.arrival import Arrival
from pipelines.ingestion.auditing import audit_all
from pipelines.ingestion.landing import land
from pipelines.results import Audited, Published, TableSlice
from pipelines.use_case import quarantine_table
from pipelines.workspace import CommitRecord, Publications, StageRun, Workspace, taken_back_on_failure


def ingest(run: StageRun, source: str) -> list[Published]:
    """What one source sent for the partition, or for all of a longer period, of which nothing is published unless all passed.

    Raises:
        PermanentError, TransientError: as in `land`, `audit` and `publish`.
    """
    parts = run.partitions[-1:] if run.use_case.sources[source].snapshot else run.partitions
    return publish_all(run, audit_all(run, [land(run.part(part.key), source) for part in parts]))


def ingest_all(run: StageRun) -> list[Published]:
    """What every source sent, each by itself: one that fails keeps no other from being published.

    Raises:
        PermanentError, TransientError: of those that failed, after the others were published.
    """
    published: list[Published] = []
    failed: list[PermanentError | TransientError] = []
    for source in run.use_case.sources:
        try:
            published += ingest(run, source)
        except (PermanentError, TransientError) as error:
            failed.append(error)
    if failed:
        raise type(failed[0])("; ".join(map(str, failed)))
    return published


def publish_all(run: StageRun, audited: list[Audited]) -> list[Published]:
    """Publish all that was audited: what can be refused is refused first, and after a failure nothing stays.

    Raises:
        PermanentError, TransientError: as in `publish`.
    """
    arrivals = [(Arrival.into(run.part(item.partition), item.table), item) for item in audited]
    for arrival, item in arrivals:
        for table, staged in _tables(arrival, item):
            run.lake.stop_at_unpublishable(table, item.partition, staged)
    groups = groupby(arrivals, key=lambda each: each[0].table)
    with taken_back_on_failure(run.lake) as publications:
        return [published for _, group in groups for published in publish(list(group), publications)]


def _tables(arrival: Arrival, audited: Audited) -> list[tuple[str, tuple[str, ...]]]:
    """The tables that are published, in their order, with the files."""
    sides = ((arrival.quarantine, audited.quarantine), (arrival.unknown_columns, audited.unknown_columns))
    return [*((table, staged) for table, staged in sides if staged), (arrival.table, audited.staged)]


def publish(
    arrivals: list[tuple[Arrival, Audited]], publications: Publications, replayed: int | None = None
) -> list[Published]:
    """Make audited rows of one source visible, and the rejected ones too, in the quarantine: one transaction per table.

    `replayed`: how many came out of quarantine.

    Raises:
        PermanentError: what was published and quarantined is not what came in.
        TransientError: another run published a partition meanwhile.
    """
    records = {item.partition: _record(arrival, item, replayed) for arrival, item in arrivals}
    tables: dict[str, dict[str, tuple[str, ...]]] = {}
    for arrival, item in arrivals:
        for table, staged in _tables(arrival, item):
            tables.setdefault(table, {})[item.partition] = staged
    last = tables.pop(arrivals[0][0].table)  # rows become visible when what is beside them is
    for table, parts in (*tables.items(), (arrivals[0][0].table, last)):
        made = publications.publish(table, parts, CommitRecord.together({key: records[key] for key in parts}))
    found = {each.partition: each for each in made}
    results = [_published(item, found[item.partition]) for _, item in arrivals]
    reconcile(arrivals[0][0].run.workspace, results)
    return results


def _record(arrival: Arrival, audited: Audited, replayed: int | None) -> CommitRecord:
    return CommitRecord(
        run=arrival.run.id,
        source_digest=audited.source_digest,
        read_at=audited.read_at,
        stamp=audited.stamp,
        contract=arrival.contract_digest,
        rows_in=audited.rows_in,
        rows_quarantined=audited.rows_quarantined,
        warnings="; ".join(audited.warnings) or None,
        replayed=replayed,
    )


def _published(audited: Audited, made: TableSlice) -> Published:
    return Published(
        table=audited.table,
        partition=audited.partition,
        version=made.version,
        rows_in=audited.rows_in,
        rows_published=made.rows,
        rows_quarantined=audited.rows_quarantined,
    )


def reconcile(workspace: Workspace, published: list[Published]) -> None:
    """Count again, in the tables themselves; all of one source.

    Raises:
        PermanentError: rows in are not rows published plus rows quarantined.
    """
    table = published[0].table
    there, held = workspace.lake.partitions(table), workspace.lake.partitions(quarantine_table(table))
    for each in published:
        rows, quarantined = there.get(each.partition, 0), held.get(each.partition, 0)
        if rows + quarantined != each.rows_in:
            raise PermanentError(
                f"{table} {each.partition}: {each.rows_in} rows came in, but {rows} are published and {quarantined} are in "
                "quarantine; do not use this partition: run ingestion again, or restore the version before"
            )
