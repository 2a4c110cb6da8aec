"""Which rows go to quarantine, by which rule of the contract, whether they are too many, and how the quarantine keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict, cast

from pipelines.errors import PermanentError
from pipelines.ingestion.arrival import Arrival, Declaration
from pipelines.ingestion.schema_changes import judge_values
from pipelines.results import Landed
from pipelines.use_case import ROW, Partition, Reject, Source, as_text
from pipelines.validation import Failure
from pipelines.workspace import read_bytes, write_bytes

if TYPE_CHECKING:
    from pyarrow import Table

_KEY = "key.unique"


class QuarantinedRow(TypedDict):
    """A row of a quarantine table: what it says, and the ingestion that put it there."""

    row: int
    rule: str
    value: str
    text: str
    source: str
    run: str
    at: str
    source_digest: str
    partition: str


def within(rows: Table, source: Source, partition: Partition, timezone: str) -> tuple[Table, list[Reject]]:
    """Rows whose time falls into the partition, and the others as rejects."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if source.time_column is None:
        return rows, []
    times = rows[source.time_column]
    first, end = partition.start, partition.end
    if pa.types.is_timestamp(times.type):
        first, end = partition.starts_at(timezone), partition.ends_at(timezone)
    inside = pc.and_(pc.greater_equal(times, pa.scalar(first, times.type)), pc.less(times, pa.scalar(end, times.type)))
    # A null time is left to the contract's own rule.
    inside = pc.fill_null(inside, True)
    outside = rows.filter(pc.invert(inside))
    numbers, values = outside[ROW].to_pylist(), outside[source.time_column]
    rule = f"{source.time_column}.partition"
    rejects = [
        Reject(row=number, rule=rule, value=str(values[i]), text=as_text(outside, i)) for i, number in enumerate(numbers)
    ]
    return rows.filter(inside), rejects


def rejected(rows: Table, failures: Iterable[Failure]) -> list[Reject]:
    """Rejected rows, each once, by the first rule it breaks. Of exact duplicates the first row stays."""
    index = {number: i for i, number in enumerate(rows[ROW].to_pylist())}
    found: dict[int, Reject] = {}
    for failure in failures:
        for number, value in zip(failure.rows, failure.values, strict=True):
            text = as_text(rows, index[number])
            found.setdefault(number, Reject(row=number, rule=failure.rule.id, value=value, text=text))
    return _keep_first_copies(list(found.values()))


def _keep_first_copies(rejects: list[Reject]) -> list[Reject]:
    """Rows that share a key and are equal in everything else are one row sent twice: the first is good."""
    copies: dict[str, list[Reject]] = {}
    by_value: dict[str, int] = {}
    for reject in (r for r in rejects if r.rule == _KEY):
        copies.setdefault(reject.text, []).append(reject)
        by_value[reject.value] = by_value.get(reject.value, 0) + 1
    groups = [group for group in copies.values() if len(group) > 1]
    kept = {min(r.row for r in group) for group in groups if by_value[group[0].value] == len(group)}
    return [r for r in rejects if r.row not in kept]


def taken(candidates: Table, published: Table, key: tuple[str, ...]) -> list[Reject]:
    """Candidates whose key a published row has: the published row stays."""
    there = {tuple(row.values()) for row in published.select(list(key)).to_pylist()}
    found = []
    for number, row in zip(candidates[ROW].to_pylist(), candidates.select(list(key)).to_pylist(), strict=True):
        if tuple(row.values()) in there:
            found.append(Reject(row=number, rule=_KEY, value=", ".join(map(str, row.values()))))
    return found


def without(rows: Table, numbers: set[int]) -> Table:
    import pyarrow as pa

    return rows.filter(pa.array([n not in numbers for n in rows[ROW].to_pylist()], pa.bool_()))


# too many of them ----------------------------------------------------------------------------------------------------


def stop_at_counts(rows_in: int, good: int, rejects: Sequence[Reject], declaration: Declaration) -> None:
    """The contract's bounds on counts.

    Raises:
        PermanentError: rows are lost, too many were rejected, or too few or many are left.
    """
    where, contract = declaration.where, declaration.contract
    if good + len(rejects) != rows_in:
        raise PermanentError(f"{where}: {rows_in} rows came in, {good} are good and {len(rejects)} rejected: rows are lost")
    share = len(rejects) / rows_in
    if share > contract.max_rejected_share:
        raise PermanentError(
            f"{where}: {len(rejects)} of {rows_in} rows ({share:.1%}) break the contract, most of them rule {_worst(rejects)}; "
            f"more than {contract.max_rejected_share:.1%} stops the partition: mend the source, or the rule in contract"
            f"{looks_like(rejects, rows_in, declaration)}"
        )
    if not contract.min_rows <= good <= (contract.max_rows or good):
        raise PermanentError(
            f"{where}: {good} good rows, but the contract wants {contract.min_rows} to {contract.max_rows or 'any number'}"
        )


def _worst(rejects: Sequence[Reject]) -> str:
    """The rule that most rows break."""
    reasons = [r.rule for r in rejects]
    return max(set(reasons), key=reasons.count)


def most_common(rejects: Sequence[Reject]) -> str:
    """The rule that most rows break, with a sample."""
    found = [r for r in rejects if r.rule == _worst(rejects)]
    return f"{len(found)} break rule {found[0].rule}, such as line {found[0].row} with '{found[0].value}'"


def looks_like(rejects: Sequence[Reject], rows_in: int, declaration: Declaration) -> str:
    """The change of schema that so many rejects are a sign of, and who is affected, as the end of a message."""
    changes = judge_values([r.rule for r in rejects], rows_in, declaration.contract)[:1]
    return "".join(f" [{c.judgement}: {c.sentence}{declaration.impact_of(c.column)}]" for c in changes)


# how they are kept ---------------------------------------------------------------------------------------------------


def stage_rejects(arrival: Arrival, rejects: Sequence[Reject]) -> str:
    """Write what was rejected when the file was read, for the audit; return its path relative to the table."""
    path = f"{arrival.lake.staging_area(arrival.table, arrival.key)}/rejects.json"
    write_bytes(f"{arrival.lake.uri(arrival.table)}/{path}", json.dumps([asdict(r) for r in rejects]).encode())
    return path


def staged_rejects(arrival: Arrival, landed: Landed) -> list[Reject]:
    return [Reject(**r) for r in json.loads(read_bytes(f"{arrival.lake.uri(arrival.table)}/{landed.rejects}"))]


def quarantine_rows(rows: Iterable[QuarantinedRow]) -> Table:
    """The rows of a quarantine table; the partition is left to the lake."""
    import pyarrow as pa

    texts = ("rule", "value", "text", "source", "run", "at", "source_digest")
    schema = pa.schema([("row", pa.int64()), *((name, pa.string()) for name in texts)])
    return pa.Table.from_pylist(list(rows), schema=schema)


def quarantined(arrival: Arrival, rejects: Iterable[Reject], source_digest: str) -> Table:
    """Rejects of this run as the rows of a quarantine table."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"source": arrival.source, "run": arrival.run.id, "at": now, "source_digest": source_digest}
    return quarantine_rows(cast(QuarantinedRow, {**asdict(reject), **about}) for reject in rejects)
