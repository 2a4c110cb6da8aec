"""Invariants over time: this partition against the mean of those before it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pipelines.errors import PermanentError
from pipelines.use_case import SNAPSHOT, Contract, Invariant, Partition, Severity
from pipelines.workspace import Lake

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Table

_NOT_NULL = "\0"


def broken_invariants(lake: Lake, table: str, partition: Partition | None, rows: Table, contract: Contract) -> list[str]:
    """Sentences about broken `warn` invariants, and about those that had nothing to compare with.

    A table without partitions (None) is compared with what it holds now.

    Raises:
        PermanentError: a broken invariant of severity `fail`.
    """
    warnings = []
    known = [key for key, count in lake.partitions(table).items() if count] if contract.invariants else []
    name = partition.key if partition else SNAPSHOT
    for invariant in contract.invariants:
        before = _before(known, partition, invariant)
        if not before:
            warnings.append(f"{invariant.id}: not checked, as nothing is published before {name} to compare with")
            continue
        sentence = _judge(lake, table, before, rows, invariant)
        if sentence and invariant.severity is not Severity.WARN:
            raise PermanentError(f"{table} {name}: invariant {invariant.id} is broken: {sentence}; nothing was published")
        if sentence:
            warnings.append(f"{invariant.id}: {sentence}")
    return warnings


def _before(known: list[str], partition: Partition | None, invariant: Invariant) -> list[str]:
    if partition is None:
        return known
    earlier = [Partition.parse(key, partition.grain) for key in known if key < partition.key]
    within = [p.key for p in earlier if p.end > partition.start - invariant.over]
    return within or [p.key for p in earlier[-1:]]


def _judge(lake: Lake, table: str, before: list[str], rows: Table, invariant: Invariant) -> str | None:
    """What is wrong, or None."""
    if invariant.measure == "row_count":
        counts = lake.partitions(table)
        usual = sum(counts[key] for key in before) / len(before)
        limit = invariant.max_ratio or 1.0
        if usual / limit <= rows.num_rows <= usual * limit:
            return None
        return f"{rows.num_rows} rows where {usual:.0f} are usual, beyond a factor of {limit:g}"
    assert invariant.column is not None
    version = lake.version(table)
    past = [_counts_at(lake, table, version, key, invariant.measure, invariant.column) for key in before]
    then, now = _shares(sum(past, Counter())), _shares(_counts(rows[invariant.column], invariant.measure))
    worst = max(then | now, key=lambda v: abs(now.get(v, 0.0) - then.get(v, 0.0)))
    change = now.get(worst, 0.0) - then.get(worst, 0.0)
    if abs(change) <= (invariant.max_change or 0.0):
        return None
    what = f"the share of '{worst}' in {invariant.column}"
    return f"{what} went from {then.get(worst, 0.0):.1%} to {now.get(worst, 0.0):.1%}, by more than {invariant.max_change:.1%}"


@lru_cache(maxsize=1000)
def _counts_at(lake: Lake, table: str, version: int, key: str, measure: str, column: str) -> Counter[str]:
    """Of a published partition: a long period asks again and again for the same ones, of the newest version."""
    return _counts(lake.read(table, [key], columns=[column])[column], measure)


def _counts(column: ChunkedArray, measure: str) -> Counter[str]:
    """How often each value is there; of a share of nulls, how many are null and how many are not."""
    if measure == "null_share":
        return Counter({"null": column.null_count, _NOT_NULL: len(column) - column.null_count})
    return Counter({str(v["values"]): v["counts"] for v in column.value_counts().to_pylist()})


def _shares(counts: Counter[str]) -> dict[str, float]:
    return {value: count / max(counts.total(), 1) for value, count in counts.items() if value != _NOT_NULL}


def stop_at_stale(rows: Table, contract: Contract, partition: Partition, timezone: str, where: str) -> None:
    """The contract's bound on freshness.

    Raises:
        PermanentError: the newest rows are older than the bound allows.
    """
    if contract.freshness is None:
        return
    column, end = contract.freshness.column, partition.ends_at(timezone).astimezone(UTC)
    newest = _newest(rows[column], contract.freshness.rows)
    known_until = None if newest is None else _end_of(newest, timezone)
    if known_until is None or end - known_until > contract.freshness.max_gap:
        gap = "there is none" if known_until is None else f"{newest}, {end - known_until} before the partition ends"
        raise PermanentError(
            f"{where}: rule {column}.freshness: the newest {column} is too old ({gap}; at most "
            f"{contract.freshness.max_gap} is allowed); nothing was published: have the rest of the file sent"
        )


def _newest(values: ChunkedArray, rows: int) -> date | None:
    """The oldest of so many newest values, but of no more than half of all."""
    import pyarrow.compute as pc

    values = values.drop_null()
    count = min(rows, (len(values) + 1) // 2)
    newest = values.take(pc.select_k_unstable(values, count, sort_keys=[("", "descending")])) if count else values
    return pc.min(newest).as_py()


def _end_of(newest: date, timezone: str) -> datetime:
    """The moment until which a value says that rows are there: of a date, the midnight after it."""
    if isinstance(newest, datetime):
        return newest.astimezone(UTC)
    return datetime.combine(newest + timedelta(days=1), time(), ZoneInfo(timezone)).astimezone(UTC)
