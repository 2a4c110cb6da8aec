"""Rejected rows: which ones they are, whether they are too many, and how the quarantine keeps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipelines.errors import PermanentError
from pipelines.ingestion.reading import Reading
from pipelines.ingestion.schema_changes import judge_values
from pipelines.use_case import ROW, Contract, Partition, Source, as_text


def within(reading: Reading, source: Source, partition: Partition, timezone: str) -> tuple[Any, list[dict[str, Any]]]:
    """Rows whose time falls into the partition, and the others as rejects."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if source.time_column is None:
        return reading.rows, []
    times = reading.rows[source.time_column]
    first, end = partition.start, partition.end
    if pa.types.is_timestamp(times.type):
        first, end = partition.starts_at(timezone), partition.ends_at(timezone)
    inside = pc.and_(pc.greater_equal(times, pa.scalar(first, times.type)), pc.less(times, pa.scalar(end, times.type)))
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


def most_common(rejects: list[dict[str, Any]]) -> str:
    """The rule that most rows break, with a sample."""
    reasons = [r["rule"] for r in rejects]
    common = max(set(reasons), key=reasons.count)
    sample = next(r for r in rejects if r["rule"] == common)
    return f"{reasons.count(common)} break rule {common}, such as line {sample['row']} with '{sample['value']}'"


def rejected(rows: Any, failures: Any, key: tuple[str, ...]) -> list[dict[str, Any]]:
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


def without(rows: Any, numbers: set[int]) -> Any:
    import pyarrow as pa

    return rows.filter(pa.array([n not in numbers for n in rows[ROW].to_pylist()], pa.bool_()))


def stop_at_counts(
    rows_in: int, good: int, rejects: list[dict[str, Any]], contract: Contract, where: str, uses: Callable[[str], str]
) -> None:
    """The contract's bounds on counts. `uses(column)` says who uses a column.

    Raises:
        PermanentError: rows are lost, too many were rejected, or too few or many are left.
    """
    if good + len(rejects) != rows_in:
        raise PermanentError(f"{where}: {rows_in} rows came in, {good} are good and {len(rejects)} rejected: rows are lost")
    share = len(rejects) / rows_in
    if share > contract.max_rejected_share:
        reasons = [r["rule"] for r in rejects]
        worst = max(set(reasons), key=reasons.count)
        raise PermanentError(
            f"{where}: {len(rejects)} of {rows_in} rows ({share:.1%}) break the contract, most of them rule {worst}; "
            f"more than {contract.max_rejected_share:.1%} stops the partition: mend the source, or the rule in contract"
            f"{looks_like(rejects, rows_in, contract, uses)}"
        )
    if not contract.min_rows <= good <= (contract.max_rows or good):
        raise PermanentError(
            f"{where}: {good} good rows, but the contract wants {contract.min_rows} to {contract.max_rows or 'any number'}"
        )


def looks_like(rejects: list[dict[str, Any]], rows_in: int, contract: Contract, uses: Callable[[str], str]) -> str:
    """The change of schema that so many rejects are a sign of, and who is affected, as the end of a message."""
    changes = judge_values(rejects, rows_in, contract)[:1]
    return "".join(f" [{c.judgement}: {c.sentence}{uses(c.column)}]" for c in changes)


def quarantine_rows(rejects: list[dict[str, Any]]) -> Any:
    """Rejects as the rows of a quarantine table."""
    import pyarrow as pa

    texts = ("rule", "value", "text", "source", "run", "at", "source_digest")
    schema = pa.schema([("row", pa.int64()), *((name, pa.string()) for name in texts)])
    return pa.Table.from_pylist(rejects, schema=schema)
