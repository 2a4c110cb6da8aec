"""Columns of a table against those of files that are about to be published in it: new ones are added, changed ones refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.use_case import fold

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable, Field


def all_columns(schemas: Iterable[pa.Schema]) -> pa.Schema:
    import pyarrow as pa

    return pa.unify_schemas(list(schemas))


def add_columns(table: str, delta: DeltaTable, schema: pa.Schema) -> None:
    """An approved new column of the contract becomes a column of the table; older files read as null."""
    if new := new_columns(table, delta, schema):
        delta.alter.add_columns(new)


def new_columns(table: str, delta: DeltaTable, schema: pa.Schema) -> list[Field]:
    from deltalake import Field, Schema

    known = {field.name: field.type for field in delta.schema().fields}
    fields = {f.name: f.type for f in Schema.from_arrow(schema).fields}
    changed = [f"{name} was {known[name]}, is {t}" for name, t in fields.items() if known.get(name, t) != t]
    if changed:
        raise PermanentError(f"{table}: a column's type changed ({'; '.join(changed)}); give it a new name, or cast it back")
    new = [name for name in fields if name not in known]
    same = [name for name in new if fold(name) in map(fold, known)]
    if same:
        raise PermanentError(f"{table}: it has '{same[0]}' in other capitals, which Delta does not tell apart; rename it")
    return [Field(name, fields[name], nullable=True) for name in new]
