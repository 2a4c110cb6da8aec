"""Publish: quarantine and rows, each in one transaction; rows in = published + quarantined, or the run stops."""

from __future__ import annotations

from pipelines.errors import PermanentError, TransientError
from pipelines.ingestion.arrival import Arrival
from pipelines.ingestion.auditing import audit_all
from pipelines.ingestion.landing import land
from pipelines.results import Audited, Published
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
    with taken_back_on_failure(run.lake) as publications:
        return [publish(arrival, item, publications) for arrival, item in arrivals]


def _tables(arrival: Arrival, audited: Audited) -> list[tuple[str, tuple[str, ...]]]:
    """The tables that are published, in their order, with the files."""
    sides = ((arrival.quarantine, audited.quarantine), (arrival.unknown_columns, audited.unknown_columns))
    return [*((table, staged) for table, staged in sides if staged), (arrival.table, audited.staged)]


def publish(arrival: Arrival, audited: Audited, publications: Publications, replayed: int | None = None) -> Published:
    """Make audited rows visible, and the rejected ones too, in the quarantine. `replayed`: how many came out of it.

    Raises:
        PermanentError: what was published and quarantined is not what came in.
        TransientError: another run published the partition meanwhile.
    """
    record = CommitRecord(
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
    published = [publications.publish(table, audited.partition, staged, record) for table, staged in _tables(arrival, audited)]
    result = Published(
        table=audited.table,
        partition=audited.partition,
        version=published[-1].version,
        rows_in=audited.rows_in,
        rows_published=published[-1].rows,
        rows_quarantined=audited.rows_quarantined,
    )
    reconcile(arrival.run.workspace, result)
    return result


def reconcile(workspace: Workspace, published: Published) -> None:
    """Count again, in the tables themselves.

    Raises:
        PermanentError: rows in are not rows published plus rows quarantined.
    """
    rows, quarantined = (
        workspace.lake.partitions(table).get(published.partition, 0)
        for table in (published.table, quarantine_table(published.table))
    )
    if rows + quarantined != published.rows_in:
        raise PermanentError(
            f"{published.table} {published.partition}: {published.rows_in} rows came in, but {rows} are published and "
            f"{quarantined} are in quarantine; do not use this partition: run ingestion again, or restore the version before"
        )
