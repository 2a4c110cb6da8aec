"""A contract's rules as Great Expectations has them, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TypedDict

from pipelines.use_case.contract import Column, ColumnType, Contract, CrossRule, Severity, Typed, typed


class Arguments(TypedDict, total=False):
    """What Great Expectations' classes of the rules below take."""

    column: str
    column_list: list[str]
    column_A: str
    column_B: str
    min_value: float | str | None
    max_value: float | str | None
    value_set: list[Typed]
    regex: str
    or_equal: bool
    ignore_row_if: str


@dataclass(frozen=True)
class Rule:
    """One check of a contract: `id` is what quarantine and messages name."""

    id: str
    expectation: str
    arguments: Arguments
    severity: Severity


def rules(contract: Contract) -> list[Rule]:
    """Every row-level rule of the contract, in a fixed order."""
    found = [rule for name, column in contract.columns.items() for rule in _column_rules(name, column)]
    return [*found, _key_rule(contract), *map(_cross_rule, contract.rules)]


def _column_rules(name: str, column: Column) -> Iterator[Rule]:
    def rule(what: str, expectation: str, arguments: Arguments) -> Rule:
        return Rule(f"{name}.{what}", expectation, {"column": name, **arguments}, column.severity)

    if not column.nullable:
        yield rule("not_null", "ExpectColumnValuesToNotBeNull", {})
    if column.min is not None or column.max is not None:
        bounds: Arguments = {"min_value": _bound(column, column.min), "max_value": _bound(column, column.max)}
        yield rule("range", "ExpectColumnValuesToBeBetween", bounds)
    if column.values:
        values = [typed(column.type, value) for value in column.values]
        yield rule("values", "ExpectColumnValuesToBeInSet", {"value_set": values})
    if column.pattern:
        yield rule("pattern", "ExpectColumnValuesToMatchRegex", {"regex": column.pattern})
    if column.type is ColumnType.STRING:
        length: Arguments = {"min_value": 0, "max_value": column.max_length}
        yield rule("length", "ExpectColumnValueLengthsToBeBetween", length)


def _bound(column: Column, value: float | str | None) -> float | str | None:
    """A bound as GX takes it: it would cut a moment that is not text down to its date."""
    if value is None or column.type is ColumnType.INTEGER:
        return value  # a float would change an integer of 17 digits
    if column.type is ColumnType.NUMBER:
        return float(value)
    moment = typed(column.type, value)
    assert isinstance(moment, date), "a contract has bounds for numbers and times only"
    return moment.isoformat()


def _key_rule(contract: Contract) -> Rule:
    if len(contract.key) == 1:
        return Rule("key.unique", "ExpectColumnValuesToBeUnique", {"column": contract.key[0]}, Severity.REJECT)
    return Rule("key.unique", "ExpectCompoundColumnsToBeUnique", {"column_list": list(contract.key)}, Severity.REJECT)


def _cross_rule(rule: CrossRule) -> Rule:
    if rule.operator == "==":
        equal: Arguments = {"column_A": rule.left, "column_B": rule.right, "ignore_row_if": "either_value_is_missing"}
        return Rule(rule.id, "ExpectColumnPairValuesToBeEqual", equal, rule.severity)
    less: Arguments = {"column_A": rule.right, "column_B": rule.left, "or_equal": rule.operator == "<="}
    less["ignore_row_if"] = "either_value_is_missing"
    return Rule(rule.id, "ExpectColumnPairValuesAToBeGreaterThanB", less, rule.severity)
