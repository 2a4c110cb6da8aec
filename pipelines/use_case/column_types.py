"""Text to typed columns. A value that does not cast rejects its row, which stays readable as JSON text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.use_case.contract import Column, ColumnType, Contract

if TYPE_CHECKING:
    import pyarrow as pa

ROW = "_row"


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A row that goes to quarantine: its number in the file, the first rule that it breaks, by which value, and its text."""

    row: int
    rule: str
    value: str
    text: str = ""


def cast_rows(rows: pa.Table, header: list[str], contract: Contract) -> tuple[pa.Table, list[Reject]]:
    """Typed columns in the contract's order. A value that does not cast rejects its row, once, by its first rule."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, pa.Array] = {}
    bad: dict[int, tuple[str, str]] = {}
    for name, column in contract.columns.items():
        if name not in header:
            columns[name] = _default(column, rows.num_rows)
            continue
        text = rows[name].combine_chunks()
        columns[name] = _typed(text, column.type)
        failed = pc.and_(pc.is_valid(text), pc.is_null(columns[name])).to_pylist()
        for index in (i for i, wrong in enumerate(failed) if wrong):
            bad.setdefault(index, (f"{name}.type", text[index].as_py()))
    keep = pa.array([i for i in range(rows.num_rows) if i not in bad], pa.int64())
    numbers = rows[ROW].to_pylist()
    rejects = [Reject(row=numbers[i], rule=rule, value=value, text=as_text(rows, i)) for i, (rule, value) in bad.items()]
    return pa.table({**columns, ROW: rows[ROW].combine_chunks()}).take(keep), rejects


def _default(column: Column, count: int) -> pa.Array:
    """The column's default in every row: as YAML has it, or its text cast as a source's would be."""
    import pyarrow as pa

    if column.default is None:
        return pa.nulls(count, arrow_type(column.type))
    return pa.repeat(_typed(pa.array([value_text(column.default)]), column.type)[0], count)


def as_declared(rows: pa.Table, contract: Contract) -> pa.Table:
    """Published rows with the contract's columns as it has them now: what is new since is its default, or null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {}
    for name, column in contract.columns.items():
        default = _default(column, rows.num_rows)
        known = rows[name].combine_chunks().cast(default.type) if name in rows.column_names else default
        columns[name] = known if column.nullable else pc.coalesce(known, default)
    return pa.table({**columns, ROW: rows[ROW]})


def value_text(value: object) -> str | None:
    """A value as a source writes it."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_text(rows: pa.Table, index: int) -> str:
    """One row as JSON text, for the quarantine."""
    row = {name: rows[name][index].as_py() for name in rows.column_names if name != ROW}
    return json.dumps(row, default=str)


def arrow_type(kind: ColumnType) -> pa.DataType:
    import pyarrow as pa

    return {
        ColumnType.STRING: pa.string(),
        ColumnType.INTEGER: pa.int64(),
        ColumnType.NUMBER: pa.float64(),
        ColumnType.BOOLEAN: pa.bool_(),
        ColumnType.DATE: pa.date32(),
        ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    }[kind]


def _typed(text: pa.Array, kind: ColumnType) -> pa.Array:
    """Cast text; null where it does not cast. The fast path casts the whole column at once."""
    import pyarrow as pa

    if kind is ColumnType.STRING:
        return _without_nul(text)
    target = arrow_type(kind)
    try:
        return _plain(text, kind).cast(target)
    except pa.ArrowInvalid:
        return pa.array([_one(v, kind) for v in text.to_pylist()], target)


def _plain(text: pa.Array, kind: ColumnType) -> pa.Array:
    """Integers may arrive as '5.0'; times without a zone are refused, as nobody knows which one is meant."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind is ColumnType.INTEGER:
        numbers = pc.cast(text, pa.float64())
        largest = pc.max(pc.abs(numbers)).as_py()
        # Beyond 2**53 a float is no longer every integer, so an id of 17 digits would change.
        return numbers.cast(pa.int64()) if largest is None or largest < 2**53 else text.cast(pa.int64())
    if kind is ColumnType.NUMBER:
        numbers = pc.cast(text, pa.float64())
        if not pc.all(pc.is_finite(numbers)).as_py() and pc.any(pc.invert(pc.is_finite(numbers))).as_py():
            raise pa.ArrowInvalid("not finite")
        return numbers
    return text


def _one(value: str | None, kind: ColumnType) -> object:
    import pyarrow as pa

    if value is None:
        return None
    try:
        return _plain(pa.array([value]), kind).cast(arrow_type(kind))[0].as_py()
    except pa.ArrowInvalid:
        return None


def _without_nul(text: pa.Array) -> pa.Array:
    """Null where the text holds a NUL byte: no reader downstream agrees on what it means."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.match_substring(text, "\0"), pa.scalar(None, pa.string()), text)
