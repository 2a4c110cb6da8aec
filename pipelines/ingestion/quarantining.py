"""Which rows go to quarantine, by which rule of the contract, whether they are too many, and how the quarantine keeps them.

A rule of severity `reject` sends its rows here (`auditing.split_rows` asks `validation.check` which ones); `fail` stops the
partition, `warn` only says so. Tests: tests/ingestion/test_ingestion.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, TypedDict
from zoneinfo import ZoneInfo

from pipelines.errors import PermanentError
from pipelines.ingestion.arrival import Arrival, Declaration
from pipelines.ingestion.schema_changes import judge_values
from pipelines.use_case import PARTITION, ROW, as_text
from pipelines.validation import Failure
from pipelines.workspace import StageRun

if TYPE_CHECKING:
    from pyarrow import Scalar, Schema, Table

_KEY = "key.unique"


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A row that goes to quarantine: its line in the file, the first rule that it breaks, and by which value."""

    row: int
    rule: str
    value: str


class QuarantinedRow(TypedDict):
    """A row of a quarantine table: why it is there, its text with the header above it, and the ingestion that put it there.

    `text` is empty once it has been kept as long as the use case says. `header` is null in rows of before the file's own
    text was kept: their text is the values as JSON.
    """

    row: int
    rule: str
    value: str
    text: str
    header: str | None
    source: str
    run: str
    at: str
    source_digest: str
    partition: str


def within(rows: Table, arrival: Arrival) -> tuple[Table, list[Reject]]:
    """Rows whose time falls into the partition, and that are not from the future; and the others as rejects."""
    run, contract, column = arrival.run, arrival.contract, arrival.declared.time_column
    rejects: list[Reject] = []
    if column is not None:
        rows, rejects = _between(rows, column, f"{column}.partition", run, run.partition.start, run.partition.end)
    if contract.freshness is not None:
        column, ahead = contract.freshness.column, contract.freshness.max_ahead
        rows, future = _between(rows, column, f"{column}.future", run, None, run.partition.end, ahead)
        rejects += future
    return rows, rejects


def _between(
    rows: Table, column: str, rule: str, run: StageRun, first: date | None, end: date, ahead: timedelta = timedelta(0)
) -> tuple[Table, list[Reject]]:
    """Rows from 00:00 of `first` until before 00:00 of `end`, local time, and so far ahead of it; the others by the rule."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def scalar(day: date, more: timedelta = timedelta(0)) -> Scalar:
        midnight = datetime.combine(day, time(), ZoneInfo(run.use_case.timezone)) + more
        # A date lies ahead by whole days, and by one more where a part of a day is allowed.
        last = midnight.date() if midnight.time() == time() else midnight.date() + timedelta(days=1)
        return pa.scalar(midnight if pa.types.is_timestamp(times.type) else last, times.type)

    times = rows[column]
    inside = pc.less(times, scalar(end, ahead))
    if first is not None:
        inside = pc.and_(inside, pc.greater_equal(times, scalar(first)))
    # A null time is left to the contract's own rule.
    inside = pc.fill_null(inside, True)
    outside = rows.filter(pc.invert(inside))
    values = zip(outside[ROW].to_pylist(), outside[column], strict=True)
    return rows.filter(inside), [Reject(row=number, rule=rule, value=str(value)) for number, value in values]


def rejected(rows: Table, failures: Iterable[Failure]) -> list[Reject]:
    """Rejected rows, each once, by the first rule it breaks. Of exact duplicates the first row stays."""
    found: dict[int, Reject] = {}
    for failure in failures:
        for number, value in zip(failure.rows, failure.values, strict=True):
            found.setdefault(number, Reject(row=number, rule=failure.rule.id, value=value))
    return _keep_first_copies(rows, list(found.values()))


def _keep_first_copies(rows: Table, rejects: list[Reject]) -> list[Reject]:
    """Rows that share a key and are equal in everything else are one row sent twice: the first is good."""
    index = {number: i for i, number in enumerate(rows[ROW].to_pylist())}
    copies: dict[str, list[Reject]] = {}
    by_value: dict[str, int] = {}
    for reject in (r for r in rejects if r.rule == _KEY):
        copies.setdefault(as_text(rows, index[reject.row]), []).append(reject)
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


def stop_at_many(rows_in: int, broken: Counter[str], declaration: Declaration) -> None:
    """The contract's bound on rejected rows; `broken` counts them by rule.

    Raises:
        PermanentError: too many rows were rejected.
    """
    share, most = broken.total() / rows_in, declaration.contract.max_rejected_share
    if share > most:
        raise PermanentError(
            f"{declaration.where}: {broken.total()} of {rows_in} rows ({share:.1%}) break the contract, most of them rule "
            f"{broken.most_common(1)[0][0]}; more than {most:.1%} stops the partition: mend the source, or the rule in contract"
            f"{looks_like(broken, rows_in, declaration)}"
        )


def stop_at_counts(rows_in: int, good: int, broken: Counter[str], declaration: Declaration) -> None:
    """The contract's bounds on counts.

    Raises:
        PermanentError: rows are lost, too many were rejected, or too few or many are left.
    """
    where, contract = declaration.where, declaration.contract
    if good + broken.total() != rows_in:
        raise PermanentError(f"{where}: {rows_in} rows came in, {good} are good and {broken.total()} rejected: rows are lost")
    stop_at_many(rows_in, broken, declaration)
    if not contract.min_rows <= good <= (contract.max_rows or good):
        raise PermanentError(
            f"{where}: {good} good rows, but the contract wants {contract.min_rows} to {contract.max_rows or 'any number'}"
        )


def looks_like(broken: Counter[str], rows_in: int, declaration: Declaration) -> str:
    """The change of schema that so many rejects are a sign of, and who is affected, as the end of a message."""
    changes = judge_values(broken, rows_in, declaration.contract)[:1]
    return "".join(f" [{c.judgement}: {c.sentence}{declaration.impact_of(c.column)}]" for c in changes)


# how they are kept ---------------------------------------------------------------------------------------------------


def quarantine_schema() -> Schema:
    import pyarrow as pa

    texts = (name for name in QuarantinedRow.__annotations__ if name not in ("row", PARTITION))
    return pa.schema([("row", pa.int64()), *((name, pa.string()) for name in texts)])


def quarantine_rows(rows: Iterable[QuarantinedRow]) -> Table:
    """The rows of a quarantine table; the partition is left to the lake."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=quarantine_schema())


def quarantined(
    arrival: Arrival, rejects: Iterable[Reject], texts: Mapping[int, str], header: str, digest: str
) -> list[QuarantinedRow]:
    """Rejects of this run with their text, as rows of its quarantine."""
    now = arrival.run.workspace.clock.now().isoformat(timespec="seconds")
    return [
        QuarantinedRow(
            row=reject.row,
            rule=reject.rule,
            value=reject.value,
            text=texts[reject.row],
            header=header,
            source=arrival.source,
            run=arrival.run.id,
            at=now,
            source_digest=digest,
            partition=arrival.key,
        )
        for reject in rejects
    ]
