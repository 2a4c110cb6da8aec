"""Publish: quarantine and rows, each in one transaction; rows in = published + quarantined, or the run stops."""

from __future__ import annotations

from pipelines.errors import PermanentError
from pipelines.ingestion.arrival import Arrival
from pipelines.ingestion.auditing import audit_all
from pipelines.ingestion.landing import land
from pipelines.results import Audited, Published
from pipelines.use_case import quarantine_table
from pipelines.workspace import CommitRecord, StageRun, Workspace


def ingest(run: StageRun) -> list[Published]:
    """All sources of one partition, as the DAG does it: nothing is published unless every source passed."""
    return publish_all(run, audit_all(run, [land(run, source) for source in run.use_case.sources]))


def publish_all(run: StageRun, audited: list[Audited]) -> list[Published]:
    """Publish every audited source.

    Raises:
        PermanentError, TransientError: as in `publish`.
    """
    return [publish(Arrival.into(run, item.table), item) for item in audited]


def publish(arrival: Arrival, audited: Audited, replayed: int | None = None) -> Published:
    """Make audited rows visible, and the rejected ones too, in the quarantine. `replayed`: how many came out of it.

    Raises:
        PermanentError: what was published and quarantined is not what came in.
        TransientError: another run published the partition meanwhile.
    """
    record = CommitRecord(
        run=arrival.run.id,
        source_digest=audited.source_digest,
        contract=arrival.contract_digest,
        rows_in=audited.rows_in,
        rows_quarantined=audited.rows_quarantined,
        warnings="; ".join(audited.warnings) or None,
        replayed=replayed,
    )
    for table, staged in ((arrival.quarantine, audited.quarantine), (arrival.unknown_columns, audited.unknown_columns)):
        if staged:
            arrival.lake.publish(table, audited.partition, staged, record)
    published = arrival.lake.publish(audited.table, audited.partition, audited.staged, record)
    result = Published(
        table=audited.table,
        partition=audited.partition,
        version=published.version,
        rows_in=audited.rows_in,
        rows_published=published.rows,
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
