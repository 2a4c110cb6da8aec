"""Results: what steps return. Small, frozen and JSON-safe, so that they can travel between tasks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic import TypeAdapter

from pipelines.errors import redact

T = TypeVar("T")
E = TypeVar("E")
S = TypeVar("S")


@dataclasses.dataclass(frozen=True)
class TableSlice:
    """One published partition of a table: a reference, never the rows."""

    table: str
    partition: str
    version: int
    rows: int


@dataclasses.dataclass(frozen=True)
class Landed:
    """A source's rows, typed and staged where no reader sees them yet.

    `rows_in` counts the rows of the source; `rejects` is the staged file of rows that could not be read as declared;
    `unknown_columns` that of columns which the contract does not know. `read_at` is when its file, of this `stamp`, was read.
    """

    source: str
    partition: str
    staged: tuple[str, ...]
    rejects: str
    rows_in: int
    rows_rejected: int
    source_digest: str
    schema_changes: tuple[str, ...] = ()
    unknown_columns: tuple[str, ...] = ()
    read_at: str | None = None
    stamp: str | None = None


@dataclasses.dataclass(frozen=True)
class Audited:
    """Staged files that passed their contract, with the rows that did not."""

    table: str
    partition: str
    staged: tuple[str, ...]
    quarantine: tuple[str, ...]
    rows_in: int
    rows_accepted: int
    rows_quarantined: int
    warnings: tuple[str, ...]
    report: str
    source_digest: str
    unknown_columns: tuple[str, ...] = ()
    read_at: str | None = None
    stamp: str | None = None


@dataclasses.dataclass(frozen=True)
class Published:
    """One Delta transaction: rows in = rows published + rows quarantined."""

    table: str
    partition: str
    version: int
    rows_in: int
    rows_published: int
    rows_quarantined: int


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a gate says of its evidence. `numbers` are what it looked at; `sentence` is for people."""

    gate: str
    passed: bool
    sentence: str
    numbers: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentence", redact(self.sentence))


def guarded(name: str, gate: Callable[[E, S], Verdict], evidence: E, settings: S) -> Verdict:
    """The gate's verdict; an answer that is not yes or no, or not finite, or a crash, is a no."""
    try:
        verdict = gate(evidence, settings)
        if not isinstance(verdict.passed, bool):
            return Verdict(name, False, f"The gate answered {verdict.passed!r} where yes or no was asked: counted as no.")
        lost = [key for key, number in verdict.numbers.items() if isinstance(number, float) and not math.isfinite(number)]
        if lost:
            return Verdict(name, False, f"The gate worked out no finite {', '.join(lost)}: counted as no.")
        return verdict
    except Exception as error:  # a crashed gate is a failed gate, whatever crashed it
        return Verdict(name, False, f"The gate crashed ({type(error).__name__}: {error}), so nothing is known: counted as no.")


@overload
def to_json(result: DataclassInstance) -> dict[str, object]: ...
@overload
def to_json(result: object) -> object: ...
def to_json(result: object) -> object:
    """Return `result` as JSON-safe values.

    Raises:
        ValueError: at a NaN or infinity, naming the field; Airflow would fail or silently drop it.
        TypeError: at a value that is no plain data.
    """
    return _plain(result, "result")


def _plain(value: object, where: str) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}: a result holds finite numbers or None")
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"{where} is a {type(value).__name__}: a result holds plain data only")


def from_json(kind: type[T], value: object) -> T:
    """The `kind` of result that `to_json` made `value` of; pydantic checks it."""
    checked: T = _adapter(kind).validate_python(value)  # type: ignore[arg-type]  # a class is hashable
    return checked


@cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
