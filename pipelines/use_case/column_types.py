"""Text to typed columns: a value is what its text says, or it is not cast."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipelines.use_case.contract import FIRST_DAY, LAST_DAY, Column, ColumnType, Contract

if TYPE_CHECKING:
    from pyarrow import Array, DataType, Schema, Table

ROW = "_row"
_INTEGER = r"^-?[0-9]+(\.0*)?$"


def cast_rows(texts: Mapping[str, Array], numbers: Array, contract: Contract) -> tuple[Table, dict[int, tuple[str, str]]]:
    """Typed columns in the contract's order, with the rows' numbers; a column without texts is its default.

    Rows with a value that does not cast are left out; by their number: the first rule that they break, and the value.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Array] = {}
    bad: dict[int, tuple[str, str]] = {}
    for name, column in contract.columns.items():
        if name not in texts:
            columns[name] = _default(column, len(numbers))
            continue
        text = texts[name]
        cast = _typed(text, column.type)
        columns[name] = _in_calendar(cast)
        for values, rule in ((cast, f"{name}.type"), (columns[name], f"{name}.far")):
            failed = pc.indices_nonzero(pc.and_(pc.is_valid(text), pc.is_null(values)))
            for index in failed.to_pylist():
                bad.setdefault(index, (rule, text[index].as_py()))
    keep = pa.array([i for i in range(len(numbers)) if i not in bad], pa.int64())
    broken = {numbers[i].as_py(): found for i, found in bad.items()}
    return pa.table({**columns, ROW: numbers}).take(keep), broken


def row_schema(contract: Contract) -> Schema:
    """Of the table that `cast_rows` makes."""
    import pyarrow as pa

    return pa.schema([*((name, arrow_type(column.type)) for name, column in contract.columns.items()), (ROW, pa.int64())])


def _in_calendar(values: Array) -> Array:
    """Null where a date or time is so far away that pandas, or a day added to it, would overflow in a later stage."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_temporal(values.type):
        return values
    inside = pc.and_(
        pc.greater_equal(values, pa.scalar(FIRST_DAY).cast(values.type)),
        pc.less_equal(values, pa.scalar(LAST_DAY).cast(values.type)),
    )
    return values if pc.all(inside).as_py() is not False else pc.if_else(inside, values, pa.scalar(None, values.type))


def _default(column: Column, count: int) -> Array:
    """The column's default in every row: as YAML has it, or its text cast as a source's would be."""
    import pyarrow as pa

    if column.default is None:
        return pa.nulls(count, arrow_type(column.type))
    return pa.repeat(_typed(pa.array([value_text(column.default)]), column.type)[0], count)


def as_declared(rows: Table, contract: Contract) -> Table:
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


def as_text(rows: Table, index: int) -> str:
    """One row as JSON text, for the quarantine."""
    row = {name: rows[name][index].as_py() for name in rows.column_names if name != ROW}
    return json.dumps(row, default=str)


def arrow_type(kind: ColumnType) -> DataType:
    import pyarrow as pa

    return {
        ColumnType.STRING: pa.string(),
        ColumnType.INTEGER: pa.int64(),
        ColumnType.NUMBER: pa.float64(),
        ColumnType.BOOLEAN: pa.bool_(),
        ColumnType.DATE: pa.date32(),
        ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    }[kind]


def _typed(text: Array, kind: ColumnType) -> Array:
    """Cast text; null where it does not cast. The fast path casts the whole column at once."""
    import pyarrow as pa

    if kind is ColumnType.STRING:
        return _without_nul(text)
    target = arrow_type(kind)
    try:
        return _plain(text, kind).cast(target)
    except pa.ArrowInvalid:
        return pa.array([_one(v, kind) for v in text.to_pylist()], target)


def _plain(text: Array, kind: ColumnType) -> Array:
    """Text that Arrow casts to just what it says.

    An integer may be written as '5.0', but has no exponent, which would have lost digits, and never goes through a float.
    A time has a zone: of one without, nobody knows which one is meant. Arrow raises.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind is ColumnType.INTEGER:
        if pc.all(pc.match_substring_regex(text, _INTEGER)).as_py() is False:
            raise pa.ArrowInvalid("not an integer")
        return pc.replace_substring_regex(text, r"\.0*$", "")
    if kind is ColumnType.NUMBER:
        numbers = pc.cast(text, pa.float64())
        if pc.all(pc.is_finite(numbers)).as_py() is False:
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


def _without_nul(text: Array) -> Array:
    """Null where the text holds a NUL byte: no reader downstream agrees on what it means."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.match_substring(text, "\0"), pa.scalar(None, pa.string()), text)
