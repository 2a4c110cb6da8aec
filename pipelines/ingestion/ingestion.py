"""Ingestion: land a source's partition, audit it against its contract, publish it. Write, audit, publish.

land     the file as typed rows, staged where no reader sees them; what does not cast is set aside
audit    Great Expectations on those very files; rejected rows are split off and the rest is audited again
publish  quarantine and rows, each in one transaction; rows in = published + quarantined, or the run stops
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import PermanentError
from pipelines.ingestion.reading import read_source
from pipelines.ingestion.rejects import looks_like, most_common, quarantine_rows, rejected, stop_at_counts, within, without
from pipelines.ingestion.schema_changes import judge_dropped, judge_table, stop_or_report, users
from pipelines.results import Audited, Landed, Published
from pipelines.use_case import (
    ROW,
    Contract,
    Severity,
    UseCase,
    arrow_type,
    aside_table,
    key_of,
    quarantine_table,
    source_table,
)
from pipelines.validation import broken_invariants, stop_at_stale
from pipelines.workspace import PARTITION, CommitRecord, StageRun, Workspace, read_bytes, write_bytes

_log = logging.getLogger(__name__)


def source_names(use_case: UseCase) -> list[str]:
    return list(use_case.sources)


def land(run: StageRun, source: str) -> Landed:
    """Read one source's file for the partition and stage its rows.

    Raises:
        PermanentError: the file is missing or unreadable, its schema changed, or no row of it belongs to the partition.
    """
    declared, contract = run.use_case.sources[source], run.use_case.contract[source]
    table, key = source_table(run.use_case, source), key_of(declared, run.partition)
    where, uses = f"{table} {run.key}", who_uses(run.workspace, run.use_case, source)
    changes = _compare_with_published(run.workspace, run.use_case, source, key, where, uses)
    uri = run.workspace.fill(declared.uri, partition=run.key)
    reading = read_source(uri, declared, contract, where, uses)
    rows, misplaced = within(reading, declared, run.partition, run.use_case.timezone)
    rejects, changes = reading.rejects + misplaced, (*changes, *reading.changes)
    if reading.rows_in and rows.num_rows == 0:
        why = most_common(rejects) + looks_like(rejects, reading.rows_in, contract, uses)
        raise PermanentError(f"{where}: not one of {reading.rows_in} rows of {uri} is usable; {why}")
    staged = run.lake.stage(table, key, rows)
    area = f"{run.lake.staging_area(table, key)}/rejects.json"
    write_bytes(f"{run.lake.uri(table)}/{area}", json.dumps(rejects).encode())
    aside = () if reading.aside is None else (run.lake.stage(aside_table(table), key, reading.aside),)
    for change in changes:
        _log.warning("%s: schema change: %s", where, change)
    return Landed(source, key, (staged,), area, reading.rows_in, len(rejects), reading.digest, changes, aside)


def audit(run: StageRun, landed: Landed) -> Audited:
    """Check staged rows against their contract; split off those that break a `reject` rule.

    Raises:
        PermanentError: a `fail` rule is broken, too few rows are left, too many were rejected, an invariant is broken.
    """
    table, contract = source_table(run.use_case, landed.source), run.use_case.contract[landed.source]
    where = f"{table} {landed.partition}"
    rows = run.lake.read_staged(table, landed.staged)
    rejects = json.loads(read_bytes(f"{run.lake.uri(table)}/{landed.rejects}"))
    split = split_rows(run.workspace, run.use_case, landed.source, landed.partition, rows, landed.staged, where)
    rejects += split.rejects
    uses = who_uses(run.workspace, run.use_case, landed.source)
    stop_at_counts(landed.rows_in, split.good.num_rows, rejects, contract, where, uses)
    stop_at_stale(split.good, contract, run.partition, run.use_case.timezone, where)
    warnings = list(split.warnings + landed.schema_changes)
    warnings += broken_invariants(run.lake, table, landed.partition, split.good, contract, where)
    quarantine = _stage_quarantine(run.workspace, run.use_case, landed, rejects)
    aside = _stage_aside(run.workspace, table, landed, split.good, contract)
    return Audited(
        table, landed.partition, split.staged or landed.staged, quarantine, landed.rows_in, split.good.num_rows,
        len(rejects), tuple(warnings), split.report, landed.source_digest, aside,
    )  # fmt: skip


@dataclass(frozen=True)
class Split:
    """The rows that keep the contract, staged anew (`staged`) unless all did, and the others as rejects."""

    good: Any
    staged: tuple[str, ...]
    rejects: list[dict[str, Any]]
    warnings: tuple[str, ...]
    report: str


def split_rows(
    workspace: Workspace, use_case: UseCase, source: str, key: str, rows: Any, files_of_rows: tuple[str, ...], where: str
) -> Split:
    """Check staged rows against the contract, split off those that break it, and check the rest on the files to publish.

    Raises:
        PermanentError: a `fail` rule is broken, or more rows are rejected than anybody named.
    """
    table, contract = source_table(use_case, source), use_case.contract[source]
    check = _check(workspace, table, rows, files_of_rows, contract, where)
    report = _save_page(workspace, use_case, source, key, check.page)
    _stop_at(check.of(Severity.FAIL), where, report)
    _stop_at_flood(check.of(Severity.REJECT), rows.num_rows, contract, where, report)
    warnings = tuple(f"{f.rule.id}: {f.count} rows" for f in check.of(Severity.WARN))
    if not check.of(Severity.REJECT):
        return Split(rows, (), [], warnings, report)
    rejects = rejected(rows, check.of(Severity.REJECT), contract.key)
    good = without(rows, {r["row"] for r in rejects})
    staged = (workspace.lake.stage(table, key, good),)
    left = _check(workspace, table, workspace.lake.read_staged(table, staged), staged, contract, where).of(Severity.REJECT)
    if left:
        raise PermanentError(f"{where}: rows still break {left[0].rule.id} after the split")
    return Split(good, staged, rejects, warnings, report)


def _check(workspace: Workspace, table: str, rows: Any, staged: tuple[str, ...], contract: Contract, where: str) -> Any:
    from pipelines.validation import check_staged

    uris = [f"{workspace.lake.uri(table)}/{path}" for path in staged]
    return check_staged(rows, uris, contract, where, workspace.environment.spark)


def publish(run: StageRun, audited: Audited, replayed: int | None = None) -> Published:
    """Make audited rows visible, and the rejected ones too, in the quarantine. `replayed`: how many came out of it.

    Raises:
        PermanentError: what was published and quarantined is not what came in.
        TransientError: another run published the partition meanwhile.
    """
    record = CommitRecord(
        run=run.id,
        source_digest=audited.source_digest,
        contract=contract_digest(run.use_case, audited.table),
        rows_in=audited.rows_in,
        rows_quarantined=audited.rows_quarantined,
        warnings="; ".join(audited.warnings) or None,
        replayed=replayed,
    )
    for table, staged in ((quarantine_table(audited.table), audited.quarantine), (aside_table(audited.table), audited.aside)):
        if staged:
            run.lake.publish(table, audited.partition, staged, record)
    slice_ = run.lake.publish(audited.table, audited.partition, audited.staged, record)
    result = Published(audited.table, audited.partition, slice_.version, audited.rows_in, slice_.rows, audited.rows_quarantined)
    reconcile(run.workspace, result)
    return result


def reconcile(workspace: Workspace, published: Published) -> None:
    """Count again, in the tables themselves.

    Raises:
        PermanentError: rows in are not rows published plus rows quarantined.
    """
    held = workspace.lake.partitions(published.table).get(published.partition, 0)
    aside = workspace.lake.partitions(quarantine_table(published.table)).get(published.partition, 0)
    if held + aside != published.rows_in:
        raise PermanentError(
            f"{published.table} {published.partition}: {published.rows_in} rows came in, but {held} are published and "
            f"{aside} are in quarantine; do not use this partition: run ingestion again, or restore the version before"
        )


def ingest(run: StageRun) -> list[Published]:
    """All sources of one partition, as the DAG does it: nothing is published unless every source passed."""
    landed = [land(run, source) for source in source_names(run.use_case)]
    audited = audit_all(run, landed)
    return publish_all(run, audited)


def audit_all(run: StageRun, landed: list[Landed]) -> list[Audited]:
    """Audit every landed source; unchanged reference data is left as it is."""
    return [audit(run, item) for item in landed if not _unchanged(run.workspace, run.use_case, item)]


def publish_all(run: StageRun, audited: list[Audited]) -> list[Published]:
    return [publish(run, item) for item in audited]


def _unchanged(workspace: Workspace, use_case: UseCase, landed: Landed) -> bool:
    """Whether the very same reference file, under the very same contract, is published already."""
    if not use_case.sources[landed.source].snapshot:
        return False
    table = source_table(use_case, landed.source)
    last = workspace.lake.published(table, landed.partition)
    now = (landed.source_digest, contract_digest(use_case, table))
    return last is not None and now == (last.record.source_digest, last.record.contract)


def contract_digest(use_case: UseCase, table: str) -> str:
    contract = use_case.contract[table.removeprefix(f"{use_case.name}/")]
    return hashlib.sha256(contract.model_dump_json().encode()).hexdigest()[:16]


def who_uses(workspace: Workspace, use_case: UseCase, source: str) -> Callable[[str], str]:
    """Who uses a column of the source, as the end of a sentence; the ledger is asked only when it is."""

    def uses(column: str) -> str:
        champion = workspace.ledger.champion(use_case.name)
        return users(use_case, source, champion.version if champion else None, column)

    return uses


def _compare_with_published(
    workspace: Workspace, use_case: UseCase, source: str, key: str, where: str, uses: Callable[[str], str]
) -> tuple[str, ...]:
    """The contract against the last published version of its table."""
    table, contract = source_table(use_case, source), use_case.contract[source]
    published = {n: t for n, t in workspace.lake.column_types(table).items() if n not in (ROW, PARTITION)}
    wanted = {name: str(arrow_type(column.type)) for name, column in contract.columns.items()}
    older = any(partition != key for partition in workspace.lake.partitions(table))
    changes = judge_table(contract, wanted, published, older) + judge_dropped(use_case, source, list(published))
    return tuple(stop_or_report(changes, where, uses))


def _save_page(workspace: Workspace, use_case: UseCase, source: str, key: str, page: str) -> str:
    name = f"{use_case.name}/contracts/{source}-{key}.html"
    write_bytes(f"{workspace.environment.reports}/{name}", page.encode())
    return name


def _stop_at(failures: Any, where: str, report: str) -> None:
    if failures:
        lines = [f"rule {f.rule.id}: {f.count} rows, such as line {f.rows[0]} with '{f.values[0]}'" for f in failures]
        raise PermanentError(f"{where}: the contract failed: {'; '.join(lines)}; nothing was published; see {report}")


def _stop_at_flood(failures: Any, rows: int, contract: Contract, where: str, report: str) -> None:
    """More rows break a rule than may be rejected, and so many that only some of them were named."""
    for failure in (f for f in failures if not f.complete):
        raise PermanentError(
            f"{where}: {failure.count} of {rows} rows ({failure.count / rows:.1%}) break rule {failure.rule.id}, such as line "
            f"{failure.rows[0]} with '{failure.values[0]}'; more than {contract.max_rejected_share:.1%} stops the partition: "
            f"mend the source, or the rule in contract; see {report}"
        )


def _stage_quarantine(
    workspace: Workspace, use_case: UseCase, landed: Landed, rejects: list[dict[str, Any]]
) -> tuple[str, ...]:
    """Rejected rows as a staged file. An empty one is staged too where an earlier run had left rows."""
    table = quarantine_table(source_table(use_case, landed.source))
    if not rejects and not workspace.lake.partitions(table).get(landed.partition):
        return ()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"source": landed.source, "run": workspace.run, "at": now, "source_digest": landed.source_digest}
    return (workspace.lake.stage(table, landed.partition, quarantine_rows([{**r, **about} for r in rejects])),)


def _stage_aside(workspace: Workspace, table: str, landed: Landed, good: Any, contract: Contract) -> tuple[str, ...]:
    """Columns that the contract does not know, as text, by the key of the published rows.

    An empty file is staged where an earlier run had left some.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    aside = aside_table(table)
    keys = good.select([*contract.key, ROW])
    if landed.aside:
        extra = workspace.lake.read_staged(aside, landed.aside)
        found = extra.take(pc.index_in(good[ROW], value_set=extra[ROW])).drop_columns([ROW])
        rows = pa.table({**_columns(keys), **_columns(found)})
    elif workspace.lake.partitions(aside).get(landed.partition):
        rows = keys.slice(0, 0)
    else:
        return ()
    return (workspace.lake.stage(aside, landed.partition, rows),)


def _columns(rows: Any) -> dict[str, Any]:
    return dict(zip(rows.column_names, rows.columns, strict=True))
