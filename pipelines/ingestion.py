"""Ingestion: land a source's partition, audit it against its contract, publish it. Write, audit, publish.

land     the file as typed rows, staged where no reader sees them; what does not cast is set aside
audit    Great Expectations on those very files; rejected rows are split off and the rest is audited again
publish  quarantine and rows, each in one transaction; rows in = published + quarantined, or the run stops
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from pipelines import files
from pipelines.config import Source, UseCase
from pipelines.contract import Severity
from pipelines.environment import Yard
from pipelines.errors import PermanentError
from pipelines.invariants import broken_invariants
from pipelines.partitions import Partition
from pipelines.reading import ROW, Reading, as_text, read_source
from pipelines.results import Audited, Landed, Published
from pipelines.tables import key_of, quarantine_table, source_table

_log = logging.getLogger(__name__)


def source_names(use_case: UseCase) -> list[str]:
    return list(use_case.sources)


def land(yard: Yard, use_case: UseCase, partition: Partition, source: str) -> Landed:
    """Read one source's file for the partition and stage its rows.

    Raises:
        PermanentError: the file is missing or unreadable, or no row of it belongs to the partition.
    """
    declared, contract = use_case.sources[source], use_case.contract[source]
    where = f"{use_case.name}/{source} {partition.key}"
    uri = yard.fill(declared.uri, partition=partition.key)
    reading = read_source(uri, declared, contract, where)
    rows, misplaced = _within(reading, declared, partition)
    if reading.rows_in and rows.num_rows == 0:
        raise PermanentError(f"{where}: not one of {reading.rows_in} rows of {uri} is usable; {_most(reading, misplaced)}")
    table, key = source_table(use_case, source), key_of(declared, partition)
    staged = yard.lake.stage(table, key, rows)
    rejects = reading.rejects + misplaced
    area = f"{yard.lake.staging_area(table, key)}/rejects.json"
    files.write_bytes(f"{yard.lake.uri(table)}/{area}", json.dumps(rejects).encode())
    for change in reading.changes:
        _log.warning("%s: schema change: %s", where, change)
    return Landed(source, key, (staged,), area, reading.rows_in, len(rejects), reading.digest, reading.changes)


def audit(yard: Yard, use_case: UseCase, partition: Partition, landed: Landed) -> Audited:
    """Check staged rows against their contract; split off those that break a `reject` rule.

    Raises:
        PermanentError: a `fail` rule is broken, too few rows are left, too many were rejected, an invariant is broken.
    """
    from pipelines.validation import check_rows

    table, contract = source_table(use_case, landed.source), use_case.contract[landed.source]
    where = f"{table} {landed.partition}"
    rows = yard.lake.read_staged(table, landed.staged)
    rejects = json.loads(files.read_bytes(f"{yard.lake.uri(table)}/{landed.rejects}"))
    check = check_rows(rows, contract, where)
    report = _save_page(yard, use_case, landed, check.page)
    _stop_at(check.of(Severity.FAIL), where, report)
    rejects += _rejected(rows, check.of(Severity.REJECT), contract.key)
    good, staged = rows, landed.staged
    if check.of(Severity.REJECT):
        good = _without(rows, {r["row"] for r in rejects})
        staged = (yard.lake.stage(table, landed.partition, good),)
        left = check_rows(yard.lake.read_staged(table, staged), contract, where)
        if left.of(Severity.REJECT):
            raise PermanentError(f"{where}: rows still break {left.of(Severity.REJECT)[0].rule.id} after the split")
    _stop_at_counts(landed.rows_in, good.num_rows, rejects, contract, where)
    warnings = [f"{f.rule.id}: {len(f.rows)} rows" for f in check.of(Severity.WARN)] + list(landed.schema_changes)
    warnings += broken_invariants(yard.lake, table, landed.partition, good, contract, where)
    quarantine = _stage_quarantine(yard, use_case, landed, rejects)
    return Audited(
        table, landed.partition, staged, quarantine, landed.rows_in, good.num_rows, len(rejects), tuple(warnings),
        report, landed.source_digest,
    )  # fmt: skip


def publish(yard: Yard, use_case: UseCase, partition: Partition, audited: Audited) -> Published:
    """Make audited rows visible, and the rejected ones too, in the quarantine.

    Raises:
        PermanentError: what was published and quarantined is not what came in.
        TransientError: another run published the partition meanwhile.
    """
    about = {
        "trainyard_partition": audited.partition,
        "trainyard_run": yard.run,
        "trainyard_source_digest": audited.source_digest,
        "trainyard_rows_in": str(audited.rows_in),
        "trainyard_rows_quarantined": str(audited.rows_quarantined),
    }
    if audited.quarantine:
        yard.lake.publish(quarantine_table(audited.table), audited.partition, audited.quarantine, about)
    slice_ = yard.lake.publish(audited.table, audited.partition, audited.staged, about)
    result = Published(audited.table, audited.partition, slice_.version, audited.rows_in, slice_.rows, audited.rows_quarantined)
    reconcile(yard, result)
    return result


def reconcile(yard: Yard, published: Published) -> None:
    """Count again, in the tables themselves.

    Raises:
        PermanentError: rows in are not rows published plus rows quarantined.
    """
    held = yard.lake.partitions(published.table).get(published.partition, 0)
    aside = yard.lake.partitions(quarantine_table(published.table)).get(published.partition, 0)
    if held + aside != published.rows_in:
        raise PermanentError(
            f"{published.table} {published.partition}: {published.rows_in} rows came in, but {held} are published and "
            f"{aside} are in quarantine; do not use this partition: run ingestion again, or restore the version before"
        )


def ingest(yard: Yard, use_case: UseCase, partition: Partition) -> list[Published]:
    """All sources of one partition, as the DAG does it: nothing is published unless every source passed."""
    landed = [land(yard, use_case, partition, source) for source in source_names(use_case)]
    audited = audit_all(yard, use_case, partition, landed)
    return publish_all(yard, use_case, partition, audited)


def audit_all(yard: Yard, use_case: UseCase, partition: Partition, landed: list[Landed]) -> list[Audited]:
    """Audit every landed source; unchanged reference data is left as it is."""
    return [audit(yard, use_case, partition, item) for item in landed if not _unchanged(yard, use_case, item)]


def publish_all(yard: Yard, use_case: UseCase, partition: Partition, audited: list[Audited]) -> list[Published]:
    return [publish(yard, use_case, partition, item) for item in audited]


def _unchanged(yard: Yard, use_case: UseCase, landed: Landed) -> bool:
    """Whether the very same reference file, under the very same contract, is published already."""
    if not use_case.sources[landed.source].snapshot:
        return False
    last = yard.lake.published(source_table(use_case, landed.source), landed.partition)
    return last is not None and last.get("trainyard_source_digest") == landed.source_digest


def _within(reading: Reading, source: Source, partition: Partition) -> tuple[Any, list[dict[str, Any]]]:
    """Rows whose time falls into the partition, and the others as rejects."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if source.time_column is None:
        return reading.rows, []
    times = pc.cast(reading.rows[source.time_column], pa.date32())
    inside = pc.and_(pc.greater_equal(times, pa.scalar(partition.start)), pc.less(times, pa.scalar(partition.end)))
    # A null time is left to the contract's own rule.
    inside = pc.fill_null(inside, True)
    outside = reading.rows.filter(pc.invert(inside))
    rule = f"{source.time_column}.partition"
    rejects = [
        {
            "row": outside[ROW][i].as_py(),
            "rule": rule,
            "value": str(outside[source.time_column][i]),
            "text": as_text(outside, i),
        }
        for i in range(outside.num_rows)
    ]
    return reading.rows.filter(inside), rejects


def _most(reading: Reading, misplaced: list[dict[str, Any]]) -> str:
    reasons = [r["rule"] for r in reading.rejects + misplaced]
    common = max(set(reasons), key=reasons.count)
    sample = next(r for r in reading.rejects + misplaced if r["rule"] == common)
    return f"{reasons.count(common)} break rule {common}, such as line {sample['row']} with '{sample['value']}'"


def _save_page(yard: Yard, use_case: UseCase, landed: Landed, page: str) -> str:
    name = f"{use_case.name}/contracts/{landed.source}-{landed.partition}.html"
    files.write_bytes(f"{yard.environment.reports}/{name}", page.encode())
    return name


def _stop_at(failures: Any, where: str, report: str) -> None:
    if failures:
        lines = [f"rule {f.rule.id}: {len(f.rows)} rows, such as line {f.rows[0]} with '{f.values[0]}'" for f in failures]
        raise PermanentError(f"{where}: the contract failed: {'; '.join(lines)}; nothing was published; see {report}")


def _rejected(rows: Any, failures: Any, key: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rejected rows, each once, by the first rule it breaks. Of exact duplicates the first row stays."""
    index = {number: i for i, number in enumerate(rows[ROW].to_pylist())}
    found: dict[int, dict[str, Any]] = {}
    for failure in failures:
        for number, value in zip(failure.rows, failure.values, strict=True):
            text = as_text(rows, index[number])
            found.setdefault(number, {"row": number, "rule": failure.rule.id, "value": value, "text": text})
    return _keep_first_copies(list(found.values()))


def _keep_first_copies(rejects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that share a key and are equal in everything else are one row sent twice: the first is good."""
    copies: dict[str, list[dict[str, Any]]] = {}
    for reject in rejects:
        if reject["rule"] == "key.unique":
            copies.setdefault(reject["text"], []).append(reject)
    keys = [c for c in copies.values() if len(c) > 1]
    by_value: dict[str, int] = {}
    for reject in (r for r in rejects if r["rule"] == "key.unique"):
        by_value[reject["value"]] = by_value.get(reject["value"], 0) + 1
    kept = {min(r["row"] for r in group) for group in keys if by_value[group[0]["value"]] == len(group)}
    return [r for r in rejects if r["row"] not in kept]


def _without(rows: Any, numbers: set[int]) -> Any:
    import pyarrow as pa

    return rows.filter(pa.array([n not in numbers for n in rows[ROW].to_pylist()], pa.bool_()))


def _stop_at_counts(rows_in: int, good: int, rejects: list[dict[str, Any]], contract: Any, where: str) -> None:
    if good + len(rejects) != rows_in:
        raise PermanentError(f"{where}: {rows_in} rows came in, {good} are good and {len(rejects)} rejected: rows are lost")
    share = len(rejects) / rows_in
    if share > contract.max_rejected_share:
        reasons = [r["rule"] for r in rejects]
        worst = max(set(reasons), key=reasons.count)
        raise PermanentError(
            f"{where}: {len(rejects)} of {rows_in} rows ({share:.1%}) break the contract, most of them rule {worst}; "
            f"more than {contract.max_rejected_share:.1%} stops the partition: mend the source, or the rule in contract"
        )
    if not contract.min_rows <= good <= (contract.max_rows or good):
        raise PermanentError(
            f"{where}: {good} good rows, but the contract wants {contract.min_rows} to {contract.max_rows or 'any number'}"
        )


def _stage_quarantine(yard: Yard, use_case: UseCase, landed: Landed, rejects: list[dict[str, Any]]) -> tuple[str, ...]:
    """Rejected rows as a staged file. An empty one is staged too where an earlier run had left rows."""
    import pyarrow as pa

    table = quarantine_table(source_table(use_case, landed.source))
    if not rejects and not yard.lake.partitions(table).get(landed.partition):
        return ()
    kinds = {"row": pa.int64(), "rule": pa.string(), "value": pa.string(), "text": pa.string()}
    kinds |= {"source": pa.string(), "run": pa.string(), "at": pa.string(), "source_digest": pa.string()}
    about = {
        "source": landed.source, "run": yard.run, "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "source_digest": landed.source_digest,
    }  # fmt: skip
    rows = pa.Table.from_pylist([{**r, **about} for r in rejects], schema=pa.schema(list(kinds.items())))
    return (yard.lake.stage(table, landed.partition, rows),)
