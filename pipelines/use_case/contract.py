"""Section `contract:` what a table's rows must be, declared per table."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from pydantic import Field, field_validator, model_validator

from pipelines.use_case.section import ColumnName, Section, stop_at_same_names

Typed = str | int | float | bool | date | datetime


class Severity(StrEnum):
    """reject: the row goes to quarantine. fail: the partition is not published. warn: recorded and shown."""

    REJECT = "reject"
    FAIL = "fail"
    WARN = "warn"


class ColumnType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"


_MAX_LENGTH = 200  # a file that says it for every column, as a kept configuration does, says nothing by it


class Column(Section):
    """One column. A value that breaks a rule gets `severity`."""

    type: ColumnType
    nullable: bool = False
    min: int | float | str | None = None
    max: int | float | str | None = None
    values: tuple[str, ...] = Field((), description="the only values allowed")
    pattern: str | None = None
    max_length: int = Field(_MAX_LENGTH, ge=1, description="of a string")
    default: object = Field(None, description="used where the source lacks the column; null is one, for a nullable column")
    severity: Severity = Severity.REJECT

    @property
    def has_default(self) -> bool:
        return self.default is not None or (self.nullable and "default" in self.model_fields_set)

    @model_validator(mode="after")
    def _rules_suit_the_type(self) -> Column:
        """Every engine would make something else of a bound or value that is not of the column's type."""
        if self.pattern is not None and self.type is not ColumnType.STRING:
            raise ValueError(f"a {self.type} has no 'pattern', only a string does")
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if bounds and self.type in (ColumnType.STRING, ColumnType.BOOLEAN):
            raise ValueError(f"a {self.type} has no 'min' or 'max'; list its 'values'")
        if self.type is not ColumnType.STRING and self.max_length != _MAX_LENGTH:
            raise ValueError(f"a {self.type} has no 'max_length', only a string does")
        for value in self.values:
            typed(self.type, value)
        limits = [typed(ColumnType.NUMBER if self.type is ColumnType.INTEGER else self.type, bound) for bound in bounds]
        if len(limits) == 2 and limits[0] > limits[1]:  # type: ignore[operator]  # both are of the column's type
            raise ValueError(f"'min' {self.min} is above 'max' {self.max}: no value would pass")
        return self

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"'{pattern}' is no regular expression: {error}") from None
        return pattern


# What pandas can count in nanoseconds: later stages would overflow beyond.
FIRST_DAY, LAST_DAY = date(1678, 1, 1), date(2261, 12, 31)


def typed(kind: ColumnType, value: float | str) -> Typed:
    """A bound or allowed value as one of the column's type; a time without a zone is UTC.

    Raises:
        ValueError: it is none.
    """
    try:
        found = _TYPED[kind](value)  # type: ignore[arg-type]  # a number where a time is wanted raises TypeError
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"'{value}' is no {kind}") from None
    if isinstance(found, date) and not FIRST_DAY.year <= found.year <= LAST_DAY.year:
        raise ValueError(f"'{value}' is beyond what every stage can carry, {FIRST_DAY} to {LAST_DAY}")
    return found


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


_TYPED: dict[ColumnType, Callable[[str], Typed]] = {
    ColumnType.STRING: str,
    ColumnType.INTEGER: int,
    ColumnType.NUMBER: float,
    ColumnType.BOOLEAN: {"true": True, "false": False}.__getitem__,
    ColumnType.DATE: date.fromisoformat,
    ColumnType.TIMESTAMP: _moment,
}


class CrossRule(Section):
    """`left operator right`, both columns of one row."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    left: str
    operator: str = Field(pattern=r"^(<|<=|==)$")
    right: str
    severity: Severity = Severity.REJECT


class Invariant(Section):
    """This partition against the mean of those that were published in the time before it, or else of the last one."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    measure: str = Field(pattern=r"^(row_count|null_share|category_share)$")
    column: str | None = None
    over: timedelta = Field(timedelta(days=28), gt=timedelta(0), description="how far back it is compared")
    max_ratio: float | None = Field(None, gt=1, description="row_count: at most this factor more or less")
    max_change: float | None = Field(None, gt=0, description="shares: largest absolute change")
    severity: Severity = Severity.FAIL

    @model_validator(mode="after")
    def _complete(self) -> Invariant:
        counts = self.measure == "row_count"
        if counts and (self.max_ratio is None or self.max_change is not None or self.column is not None):
            raise ValueError("a row_count invariant needs 'max_ratio', and nothing looks at 'column' or 'max_change'")
        if not counts and (self.max_change is None or self.column is None or self.max_ratio is not None):
            raise ValueError(f"a {self.measure} invariant needs 'column' and 'max_change', and nothing looks at 'max_ratio'")
        if self.severity is Severity.REJECT:
            raise ValueError("an invariant is of the whole partition: its severity is fail or warn, no row can be rejected")
        return self


class Freshness(Section):
    """The newest values of `column` lie at most `max_gap` before the partition's end; a date counts until its end."""

    column: str
    max_gap: timedelta = Field(ge=timedelta(0))
    rows: int = Field(
        10, ge=1, description="so many rows must be so new, or half of fewer: one alone does not vouch for the rest"
    )
    max_ahead: timedelta = Field(
        timedelta(0), ge=timedelta(0), description="rows further beyond the partition's end than this are rejected"
    )


class Contract(Section):
    """What the rows of one table must be."""

    key: tuple[str, ...]
    columns: dict[ColumnName, Column]
    min_rows: int = Field(1, ge=1)
    max_rows: int | None = Field(None, ge=1)
    max_rejected_share: float = Field(0.05, ge=0, le=1)
    spark_above_rows: int = Field(2_000_000, ge=0, description="more rows than these are checked on Spark, fewer on pandas")
    rules: tuple[CrossRule, ...] = ()
    invariants: tuple[Invariant, ...] = ()
    freshness: Freshness | None = None

    @model_validator(mode="after")
    def _can_act(self) -> Contract:
        """What is declared and could never act."""
        stop_at_same_names(self.columns)
        stop_at_same_names([*(r.id for r in self.rules), *(i.id for i in self.invariants)])
        if self.max_rows is not None and self.max_rows < self.min_rows:
            raise ValueError(f"'max_rows' {self.max_rows} is below 'min_rows' {self.min_rows}: no partition would pass")
        for invariant in (i for i in self.invariants if i.measure == "null_share" and i.column in self.columns):
            if not self.columns[invariant.column or ""].nullable:
                raise ValueError(f"invariant {invariant.id}: '{invariant.column}' is not nullable, so its share of nulls is 0")
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> Contract:
        used = [*self.key, *(c for r in self.rules for c in (r.left, r.right))]
        used += [i.column for i in self.invariants if i.column]
        for column in used:
            if column not in self.columns:
                raise ValueError(f"'{column}' is used by a key or rule but is no column of the contract")
        for column in self.key:
            if self.columns[column].nullable:
                raise ValueError(f"'{column}' is part of the key, so it cannot be nullable")
        return self

    @model_validator(mode="after")
    def _rules_compare_like_with_like(self) -> Contract:
        numbers = {ColumnType.INTEGER: ColumnType.NUMBER}
        for rule in self.rules:
            left, right = (self.columns[name].type for name in (rule.left, rule.right))
            if numbers.get(left, left) != numbers.get(right, right):
                raise ValueError(
                    f"rule {rule.id}: '{rule.left}' is a {left}, '{rule.right}' a {right}; compare columns of one type"
                )
        return self

    @model_validator(mode="after")
    def _freshness_is_a_time(self) -> Contract:
        name = self.freshness.column if self.freshness else None
        kind = self.columns[name].type if name in self.columns else "missing column"
        if name and kind not in (ColumnType.DATE, ColumnType.TIMESTAMP):
            raise ValueError(f"freshness.column: '{name}' is a {kind}, must be a date or timestamp")
        return self
