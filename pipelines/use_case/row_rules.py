"""A contract's rules as Great Expectations has them, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.use_case.contract import Column, ColumnType, Contract, CrossRule, Severity, typed


@dataclass(frozen=True)
class Rule:
    """One check of a contract: `id` is what quarantine and messages name."""

    id: str
    expectation: str
    arguments: dict[str, Any]
    severity: Severity


def rules(contract: Contract) -> list[Rule]:
    """Every row-level rule of the contract, in a fixed order."""
    found = [rule for name, column in contract.columns.items() for rule in _column_rules(name, column)]
    return [*found, _key_rule(contract), *map(_cross_rule, contract.rules)]


def _column_rules(name: str, column: Column) -> Iterator[Rule]:
    def rule(what: str, expectation: str, **arguments: Any) -> Rule:
        return Rule(f"{name}.{what}", expectation, {"column": name, **arguments}, column.severity)

    if not column.nullable:
        yield rule("not_null", "ExpectColumnValuesToNotBeNull")
    if column.min is not None or column.max is not None:
        yield rule(
            "range", "ExpectColumnValuesToBeBetween", min_value=_bound(column, column.min), max_value=_bound(column, column.max)
        )
    if column.values:
        values = [typed(column.type, value) for value in column.values]
        yield rule("values", "ExpectColumnValuesToBeInSet", value_set=values)
    if column.pattern:
        yield rule("pattern", "ExpectColumnValuesToMatchRegex", regex=column.pattern)
    if column.type is ColumnType.STRING:
        yield rule("length", "ExpectColumnValueLengthsToBeBetween", min_value=0, max_value=column.max_length)


def _bound(column: Column, value: float | str | None) -> Any:
    """A bound as GX takes it: it would cut a moment that is not text down to its date."""
    if value is None or column.type is ColumnType.INTEGER:
        return value  # a float would change an integer of 17 digits
    if column.type is ColumnType.NUMBER:
        return float(value)
    return typed(column.type, value).isoformat()


def _key_rule(contract: Contract) -> Rule:
    if len(contract.key) == 1:
        return Rule("key.unique", "ExpectColumnValuesToBeUnique", {"column": contract.key[0]}, Severity.REJECT)
    columns = {"column_list": list(contract.key)}
    return Rule("key.unique", "ExpectCompoundColumnsToBeUnique", columns, Severity.REJECT)


def _cross_rule(rule: CrossRule) -> Rule:
    if rule.operator == "==":
        equal = {"column_A": rule.left, "column_B": rule.right, "ignore_row_if": "either_value_is_missing"}
        return Rule(rule.id, "ExpectColumnPairValuesToBeEqual", equal, rule.severity)
    pair = {"column_A": rule.right, "column_B": rule.left}
    arguments = {**pair, "or_equal": rule.operator == "<=", "ignore_row_if": "either_value_is_missing"}
    return Rule(rule.id, "ExpectColumnPairValuesAToBeGreaterThanB", arguments, rule.severity)
