"""Audit: Great Expectations on the very files that were staged; rejected rows are split off and the rest is audited again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.ingestion.arrival import Arrival
from pipelines.ingestion.quarantining import (
    QuarantinedRow,
    Reject,
    quarantine_rows,
    quarantined,
    rejected,
    stop_at_counts,
    without,
)
from pipelines.ingestion.reading import UNKNOWN, open_source, unknown_schema
from pipelines.results import Audited, Landed
from pipelines.use_case import ROW, Severity
from pipelines.validation import Check, Counts, Failure, broken_invariants, check_staged, clean_page, stop_at_stale
from pipelines.workspace import StageRun, write_bytes

if TYPE_CHECKING:
    from pyarrow import Table


def audit_all(run: StageRun, landed: list[Landed]) -> list[Audited]:
    """Audit all that was landed; unchanged reference data is left as it is.

    Raises:
        PermanentError: as in `audit`.
    """
    arrivals = [(Arrival(run.part(item.partition), item.source), item) for item in landed]
    changed = [(arrival, item) for arrival, item in arrivals if not _unchanged(arrival, item)]
    groups = groupby(changed, key=lambda each: each[1].source)
    return [audited for _, group in groups for audited in _audit_parts(list(group), {})]


def _audit_parts(parts: list[tuple[Arrival, Landed]], beside: dict[str, list[Counts]]) -> list[Audited]:
    """Partitions of one source by one check, where no row breaks any rule; else each half by itself, down to each partition."""
    report, middle = _clean_together(parts), len(parts) // 2
    if report or not middle:
        return [audit(arrival, item, report, beside) for arrival, item in parts]
    return _audit_parts(parts[:middle], beside) + _audit_parts(parts[middle:], beside)


def _clean_together(parts: list[tuple[Arrival, Landed]]) -> str | None:
    """The report of one check of all their rows; None where one breaks a rule, or there are more than pandas shall hold.

    A key that is there once in all of them is there once in each.
    """
    import pyarrow as pa

    (arrival, _), (last, _) = parts[0], parts[-1]
    rows = pa.concat_tables([arrival.lake.read_staged(arrival.table, item.staged) for _, item in parts]) if parts[1:] else None
    if rows is None or rows.num_rows > arrival.contract.spark_above_rows:
        return None
    key = f"{arrival.key}--{last.key}"
    page = clean_page(rows, arrival.contract, f"{arrival.table} {key}")
    return page and _save_page(arrival, key, page)


def audit(arrival: Arrival, landed: Landed, clean: str | None = None, beside: dict[str, list[Counts]] | None = None) -> Audited:
    """Check staged rows against their contract; split off those that break a `reject` rule.

    `clean` is the report of a check that found none to break a rule; `beside` as in `broken_invariants`.

    Raises:
        PermanentError: a `fail` rule is broken, too few rows are left, too many were rejected, an invariant is broken.
    """
    run, contract = arrival.run, arrival.contract
    split = split_rows(arrival, landed.staged) if clean is None else _whole(arrival, landed.staged, clean)
    unread = arrival.lake.read_staged(arrival.table, [landed.rejects])
    broken = Counter([*unread["rule"].to_pylist(), *(reject.rule for reject in split.rejects)])
    stop_at_counts(landed.rows_in, split.good.num_rows, broken, arrival.declaration)
    stop_at_stale(split.good, contract, run.partition, run.use_case.timezone, arrival.where)
    warnings = split.warnings + landed.schema_changes
    return Audited(
        table=arrival.table,
        partition=arrival.key,
        staged=split.staged,
        quarantine=_stage_quarantine(arrival, unread, _with_texts(arrival, landed, split.rejects)),
        rows_in=landed.rows_in,
        rows_accepted=split.good.num_rows,
        rows_quarantined=broken.total(),
        warnings=(*warnings, *broken_invariants(arrival.lake, arrival.table, arrival.partition, split.good, contract, beside)),
        report=split.report,
        source_digest=landed.source_digest,
        read_at=landed.read_at,
        stamp=landed.stamp,
        unknown_columns=_stage_unknown(arrival, landed, split.good),
    )


def _unchanged(arrival: Arrival, landed: Landed) -> bool:
    """Whether the very same reference file, under the very same contract, is published already."""
    last = arrival.lake.published(arrival.table, arrival.key) if arrival.declared.snapshot else None
    now = (landed.source_digest, arrival.contract_digest)
    return last is not None and now == (last.record.source_digest, last.record.contract)


@dataclass(frozen=True)
class Split:
    """The rows that keep the contract, in the files `staged`, and the others as rejects."""

    good: Table
    staged: tuple[str, ...]
    rejects: list[Reject]
    warnings: tuple[str, ...]
    report: str


def _whole(arrival: Arrival, staged: tuple[str, ...], report: str) -> Split:
    """Rows of which none breaks a rule."""
    return Split(good=arrival.lake.read_staged(arrival.table, staged), staged=staged, rejects=[], warnings=(), report=report)


def split_rows(arrival: Arrival, staged: tuple[str, ...]) -> Split:
    """Check staged rows against the contract, split off those that break it, and check the rest on the files to publish.

    Raises:
        PermanentError: a `fail` rule is broken, or more rows are rejected than anybody named.
    """
    rows = arrival.lake.read_staged(arrival.table, staged)
    check = _check(arrival, rows, staged)
    report = _save_page(arrival, arrival.key, check.page)
    _stop_at(check.of(Severity.FAIL), arrival.where, report)
    broken = check.of(Severity.REJECT)
    _stop_at_flood(broken, rows.num_rows, arrival, report)
    warnings = tuple(f"{f.rule.id}: {f.count} rows" for f in check.of(Severity.WARN))
    if not broken:
        return Split(good=rows, staged=staged, rejects=[], warnings=warnings, report=report)
    rejects = rejected(rows, broken)
    staged = (arrival.lake.stage(arrival.table, arrival.key, without(rows, {r.row for r in rejects})),)
    good = arrival.lake.read_staged(arrival.table, staged)
    left = _check(arrival, good, staged).of(Severity.REJECT)
    if left:
        raise PermanentError(f"{arrival.where}: rows still break {left[0].rule.id} after the split")
    return Split(good=good, staged=staged, rejects=rejects, warnings=warnings, report=report)


def _check(arrival: Arrival, rows: Table, staged: tuple[str, ...]) -> Check:
    uris = [f"{arrival.lake.uri(arrival.table)}/{path}" for path in staged]
    return check_staged(rows, uris, arrival.contract, arrival.where, arrival.run.workspace.environment.spark)


def _save_page(arrival: Arrival, key: str, page: str) -> str:
    name = f"{arrival.run.use_case.name}/contracts/{arrival.source}-{key}.html"
    write_bytes(f"{arrival.run.workspace.environment.reports}/{name}", page.encode())
    return name


def _stop_at(failures: Sequence[Failure], where: str, report: str) -> None:
    if failures:
        lines = [f"rule {f.rule.id}: {f.count} rows, such as line {f.rows[0]} with '{f.values[0]}'" for f in failures]
        raise PermanentError(f"{where}: the contract failed: {'; '.join(lines)}; nothing was published; see {report}")


def _stop_at_flood(failures: Sequence[Failure], rows: int, arrival: Arrival, report: str) -> None:
    """More rows break a rule than may be rejected, and so many that only some of them were named."""
    for failure in (f for f in failures if not f.complete):
        most = arrival.contract.max_rejected_share
        raise PermanentError(
            f"{arrival.where}: {failure.count} of {rows} rows ({failure.count / rows:.1%}) break rule {failure.rule.id}, such "
            f"as line {failure.rows[0]} with '{failure.values[0]}'; more than {most:.1%} stops the partition: mend the source, "
            f"or the rule in contract; see {report}"
        )


def _with_texts(arrival: Arrival, landed: Landed, rejects: Sequence[Reject]) -> list[QuarantinedRow]:
    """Rejects as the quarantine keeps them, with the text that the very file has for them.

    Raises:
        PermanentError: the file was sent again since it was landed.
    """
    if not rejects:
        return []
    with open_source(arrival.uri, arrival.declaration) as reading:
        if reading.digest != landed.source_digest:
            raise PermanentError(f"{arrival.where}: {arrival.uri} was sent again since it was landed; run ingestion again")
        texts = reading.texts({reject.row for reject in rejects})
    return quarantined(arrival, rejects, texts, reading.header, reading.digest)


def _stage_quarantine(arrival: Arrival, unread: Table, rejects: Sequence[QuarantinedRow]) -> tuple[str, ...]:
    """Rejected rows as a staged file. An empty one is staged too where an earlier run had left rows."""
    import pyarrow as pa

    rows = pa.concat_tables([unread, quarantine_rows(rejects)])
    if not rows.num_rows and not arrival.lake.partitions(arrival.quarantine).get(arrival.key):
        return ()
    return (arrival.lake.stage(arrival.quarantine, arrival.key, rows),)


def _stage_unknown(arrival: Arrival, landed: Landed, good: Table) -> tuple[str, ...]:
    """Columns that the contract does not know, by the key of the published rows.

    An empty file is staged where an earlier run had left some.
    """
    if landed.unknown_columns:
        found = arrival.lake.read_staged(arrival.table, landed.unknown_columns)
    elif arrival.lake.partitions(arrival.unknown_columns).get(arrival.key):
        found = unknown_schema().empty_table()
    else:
        return ()
    return (stage_unknown(arrival, found, good),)


def stage_unknown(arrival: Arrival, found: Table, good: Table) -> str:
    """Columns that the contract does not know, found by line number, of good rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = good.select([*arrival.contract.key, ROW]).filter(pc.is_in(good[ROW], value_set=found[ROW]))
    texts = found[UNKNOWN].take(pc.index_in(rows[ROW], value_set=found[ROW]))
    return arrival.lake.stage(arrival.unknown_columns, arrival.key, rows.append_column(pa.field(UNKNOWN, pa.string()), texts))
