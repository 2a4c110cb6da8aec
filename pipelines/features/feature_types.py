"""Which types features have, decided here, when they are published, and nowhere after: numbers and texts.

number     decimals of any kind become doubles; whole numbers stay whole
boolean    0 and 1
date       days since 1970-01-01
category   text, whatever it was: `features.categorical` says which these are
A text that is no category, a time of day, a list or a structure is refused: nobody could train on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.use_case import UseCase

if TYPE_CHECKING:
    import pyarrow as pa


def as_features(rows: pa.Table, use_case: UseCase, where: str) -> pa.Table:
    """The rows with every feature in the type that it is published in; the same table where all are.

    Raises:
        PermanentError: a feature is of a type that no model takes.
    """
    for name in use_case.features.names:
        index = rows.column_names.index(name)
        column = _as_feature(rows[name], name in use_case.features.categorical, f"{where}: {name}")
        if column.type != rows[name].type:
            rows = rows.set_column(index, name, column)
    return rows


def _as_feature(column: pa.ChunkedArray, categorical: bool, where: str) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.types as kinds

    kind = column.type
    if categorical:
        if not (_is_text(kind) or kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_date(kind)):
            raise PermanentError(f"{where} is {kind}, which makes no category; cast it to string, integer or date")
        return column if kinds.is_string(kind) else column.cast(pa.string())
    if kinds.is_integer(kind) or kinds.is_float64(kind):
        return column
    if kinds.is_decimal(kind) or kinds.is_floating(kind):
        return column.cast(pa.float64())
    if kinds.is_boolean(kind):
        return column.cast(pa.int64())
    if kinds.is_date(kind):
        return column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
    hint = "name it in features.categorical, or make a number of it" if _is_text(kind) else "make a number, date or text of it"
    raise PermanentError(f"{where} is {kind}, which no model takes: {hint}")


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return kinds.is_string(kind) or kinds.is_large_string(kind)
