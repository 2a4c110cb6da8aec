"""Contracts checked with Great Expectations: one suite, on pandas for small partitions, on Spark for large ones.

The first pass counts the rows that break each rule; a second one names them, for the broken rules only. As many
expectations are evaluated as configured, or the check fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pipelines.errors import PermanentError
from pipelines.use_case import ROW, Contract, Rule, Severity, rules
from pipelines.validation.engines import Engine, OnPandas, columns_of, suite_result
from pipelines.workspace import SparkSettings

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.render.view import DefaultJinjaPageView
    from pyarrow import Table

SAMPLE = 1_000  # rows that are named where more break a rule than anybody can use
ALWAYS_NAMED = 100_000
_SHOWN = 20  # on the page, per rule


@dataclass(frozen=True)
class Failure:
    """A rule that `count` rows break: their row numbers and the offending values, or a sample of very many."""

    rule: Rule
    rows: tuple[int, ...]
    values: tuple[str, ...]
    count: int

    @property
    def complete(self) -> bool:
        return len(self.rows) == self.count


@dataclass(frozen=True)
class Check:
    """All failures of one contract on one set of rows, and the page that shows them."""

    failures: tuple[Failure, ...]
    evaluated: int
    page: str

    def of(self, severity: Severity) -> tuple[Failure, ...]:
        return tuple(f for f in self.failures if f.rule.severity is severity)


def check_staged(rows: Table, uris: Sequence[str], contract: Contract, where: str, settings: SparkSettings) -> Check:
    """Evaluate every row-level rule on staged files. `rows` are theirs, as an Arrow table with the row number in `_row`.

    Raises:
        PermanentError: an expectation crashed or was not evaluated.
    """
    if rows.num_rows <= contract.spark_above_rows:
        return check_rows(rows, contract, where)
    from pipelines.validation.spark import on_spark

    with on_spark(uris, rows, settings) as engine:
        return _check(rows, contract, where, engine)


def check_rows(rows: Table, contract: Contract, where: str) -> Check:
    """The same on pandas, however many rows there are."""
    return _check(rows, contract, where, OnPandas(rows))


def clean_page(rows: Table, contract: Contract, where: str) -> str | None:
    """The page of a check on pandas in which no row breaks any rule; None where one does. Row numbers need not be unique.

    Raises:
        PermanentError: an expectation crashed or was not evaluated.
    """
    results = list(_results(OnPandas(rows), rules(contract), where).values())
    return _page(suite_result(results)) if all(result.success for result in results) else None


def _check(rows: Table, contract: Contract, where: str, engine: Engine) -> Check:
    wanted = rules(contract)
    results = _results(engine, wanted, where)
    broken = [rule for rule in wanted if not results[rule.id].success]
    counts = {rule.id: int(results[rule.id].result["unexpected_count"] or 0) for rule in broken}
    some = [rule for rule in broken if _only_some(rule, counts[rule.id], rows.num_rows, contract)]
    every = [rule for rule in broken if rule not in some]
    named = (engine.name(every, None) if every else {}) | (engine.name(some, SAMPLE) if some else {})
    failures = [_failure(rule, named.get(rule.id, []), counts[rule.id], rows, rule in some, where) for rule in broken]
    for failure in failures:
        shown = zip(failure.rows[:_SHOWN], failure.values, strict=False)
        results[failure.rule.id].result["partial_unexpected_list"] = [f"line {row}: {value}" for row, value in shown]
    return Check(tuple(failures), len(results), _page(suite_result(list(results.values()))))


def _results(engine: Engine, wanted: Sequence[Rule], where: str) -> dict[str, ExpectationValidationResult]:
    """The result of every rule by its id, in their order; none is missing and none crashed."""
    found = {result.expectation_config.meta["rule"]: result for result in engine.count(wanted)}
    for rule in wanted:
        if rule.id not in found:
            raise PermanentError(f"{where}: rule {rule.id} was not evaluated; nothing is published")
        problem = _crash(found[rule.id].exception_info)
        if problem:
            raise PermanentError(f"{where}: rule {rule.id} crashed: {problem}; mend the rule in contract")
    return {rule.id: found[rule.id] for rule in wanted}


def _crash(info: Mapping[str, Any] | None) -> str | None:
    """The message of an expectation that raised; GX nests it by metric in some cases."""
    if not info:
        return None
    if "raised_exception" in info:
        return str(info["exception_message"]) if info["raised_exception"] else None
    return next((str(i["exception_message"]) for i in info.values() if i.get("raised_exception")), None)


def _only_some(rule: Rule, count: int, rows: int, contract: Contract) -> bool:
    """Whether so many rows break a rule that naming them all serves nobody.

    Rejected rows are all needed unless there are too many for the partition to be published; of those that share a key
    one in two may stay.
    """
    if count <= ALWAYS_NAMED:
        return False
    fewest = count / 2 if rule.id == "key.unique" else count
    return rule.severity is not Severity.REJECT or fewest > contract.max_rejected_share * rows


def _failure(rule: Rule, named: list[int], count: int, rows: Table, some: bool, where: str) -> Failure:
    if not named or (not some and len(set(named)) != count):
        what = f"{len(named)} of {count} rows" if named else "no row"
        raise PermanentError(f"{where}: rule {rule.id} failed but names {what}; nothing is published")
    numbers = sorted(named)
    return Failure(rule, tuple(numbers), _shown(rows, numbers, columns_of(rule)), count)


def _shown(rows: Table, numbers: list[int], columns: list[str]) -> tuple[str, ...]:
    """The rows' values as text, from the rows themselves: what an engine makes of a null or a time differs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = rows.select(columns).take(pc.index_in(pa.array(numbers, pa.int64()), value_set=rows[ROW]))
    return tuple(", ".join(map(str, row.values())) for row in found.to_pylist())


def _page(results: ExpectationSuiteValidationResult) -> str:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    return str(_view().render(ValidationResultsPageRenderer().render(results)))


@cache  # with its templates, which take a third of a second to compile
def _view() -> DefaultJinjaPageView:
    from great_expectations.render.view import DefaultJinjaPageView

    return DefaultJinjaPageView()
