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

Counts = Counter[str]
_ROWS, _NOT_NULL = "rows", "\0"


def broken_invariants(
    lake: Lake,
    table: str,
    partition: Partition | None,
    rows: Table,
    contract: Contract,
    beside: dict[str, list[Counts]] | None = None,
) -> list[str]:
    """Sentences about broken `warn` invariants, and about those that had nothing to compare with.

    A table without partitions (None) is compared with what it holds now. `beside` are partitions that passed in the same run
    and are published with this one, which joins them: of a long period each is compared as it would have been day by day.

    Raises:
        PermanentError: a broken invariant of severity `fail`.
    """
    warnings, beside = [], {} if beside is None else beside
    published = {key: count for key, count in lake.partitions(table).items() if count} if contract.invariants else {}
    known, name = sorted(published | beside), partition.key if partition else SNAPSHOT
    measured = [_counts(rows, invariant.measure, invariant.column) for invariant in contract.invariants]
    for number, invariant in enumerate(contract.invariants):
        past = [
            beside[key][number] if key in beside else _published(lake, table, key, published[key], invariant)
            for key in _before(known, partition, invariant)
        ]
        if not past:
            warnings.append(f"{invariant.id}: not checked, as nothing is published before {name} to compare with")
            continue
        sentence = _judge(past, measured[number], invariant)
        if sentence and invariant.severity is not Severity.WARN:
            raise PermanentError(f"{table} {name}: invariant {invariant.id} is broken: {sentence}; nothing was published")
        if sentence:
            warnings.append(f"{invariant.id}: {sentence}")
    if partition:
        beside[partition.key] = measured
    return warnings


def _before(known: list[str], partition: Partition | None, invariant: Invariant) -> list[str]:
    if partition is None:
        return known
    earlier = [Partition.parse(key, partition.grain) for key in known if key < partition.key]
    within = [p.key for p in earlier if p.end > partition.start - invariant.over]
    return within or [p.key for p in earlier[-1:]]


def _judge(past: list[Counts], now: Counts, invariant: Invariant) -> str | None:
    """What is wrong, or None."""
    if invariant.measure == "row_count":
        usual, limit = sum(counts[_ROWS] for counts in past) / len(past), invariant.max_ratio or 1.0
        if usual / limit <= now[_ROWS] <= usual * limit:
            return None
        return f"{now[_ROWS]} rows where {usual:.0f} are usual, beyond a factor of {limit:g}"
    before, after = _shares(sum(past, Counter())), _shares(now)
    worst = max(before | after, key=lambda v: abs(after.get(v, 0.0) - before.get(v, 0.0)))
    change = after.get(worst, 0.0) - before.get(worst, 0.0)
    if abs(change) <= (invariant.max_change or 0.0):
        return None
    what = f"the share of '{worst}' in {invariant.column}"
    return (
        f"{what} went from {before.get(worst, 0.0):.1%} to {after.get(worst, 0.0):.1%}, by more than {invariant.max_change:.1%}"
    )


def _published(lake: Lake, table: str, key: str, rows: int, invariant: Invariant) -> Counts:
    """What a published partition holds."""
    if invariant.column is None:
        return Counter({_ROWS: rows})
    return _counted_at(lake, table, lake.version(table), key, invariant.measure, invariant.column)


@lru_cache(maxsize=1000)
def _counted_at(lake: Lake, table: str, version: int, key: str, measure: str, column: str) -> Counts:
    """A long period asks again and again for the same partitions, of the newest version."""
    return _counts(lake.read(table, [key], columns=[column]), measure, column)


def _counts(rows: Table, measure: str, column: str | None) -> Counts:
    """How many rows; or how often each value is there; or, of a share of nulls, how many are null and how many are not."""
    if column is None:
        return Counter({_ROWS: rows.num_rows})
    if measure == "null_share":
        nulls = rows[column].null_count
        return Counter({"null": nulls, _NOT_NULL: rows.num_rows - nulls})
    return Counter({str(v["values"]): v["counts"] for v in rows[column].value_counts().to_pylist()})


def _shares(counts: Counts) -> dict[str, float]:
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
