"""Great Expectations itself: the suite of a contract's rules, and how pandas evaluates it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from pipelines.use_case import ROW, Rule

if TYPE_CHECKING:
    import pandas
    import pyspark.sql
    from great_expectations import ExpectationSuite
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.datasource.fluent import PandasDatasource, SparkDatasource
    from great_expectations.datasource.fluent.interfaces import Batch
    from great_expectations.expectations.expectation import Expectation
    from pyarrow import Table

COUNT = {"result_format": "BASIC", "partial_unexpected_count": 0}
_NAME = {"unexpected_index_column_names": [ROW], "return_unexpected_index_query": False}


class Engine(Protocol):
    """Rows that rules are evaluated on."""

    def count(self, wanted: Sequence[Rule]) -> list[ExpectationValidationResult]:
        """One result of GX per rule, with the number of rows that break it."""

    def name(self, wanted: Sequence[Rule], most: int | None) -> dict[str, list[int]]:
        """By rule, the numbers of the rows that break it; of `most` rows at least, if given."""


@dataclass(frozen=True)
class OnPandas:
    """An Arrow table, column by column: GX copies the whole frame for each rule."""

    rows: Table

    def count(self, wanted: Sequence[Rule]) -> list[ExpectationValidationResult]:
        return list(self._results(wanted, COUNT))

    def name(self, wanted: Sequence[Rule], most: int | None) -> dict[str, list[int]]:
        how = {"result_format": "COMPLETE"} if most is None else {"result_format": "SUMMARY", "partial_unexpected_count": most}
        found = {}
        for result in self._results(wanted, how | _NAME, (ROW,)):
            listed = result.result.get("unexpected_index_list" if most is None else "partial_unexpected_index_list")
            found[result.expectation_config.meta["rule"]] = [int(row[ROW]) for row in listed or ()]
        return found

    def _results(
        self, wanted: Sequence[Rule], how: dict[str, object], also: tuple[str, ...] = ()
    ) -> Iterator[ExpectationValidationResult]:
        context = new_context()
        for columns, group in groupby(sorted(wanted, key=columns_of), key=columns_of):
            frame = _frame(self.rows.select([*columns, *also]))
            yield from (
                batch_of(context.data_sources.add_pandas("rows"), frame).validate(suite(group), result_format=how).results
            )
            context.data_sources.delete("rows")
            # GX's objects stand in circles and would keep it until they are collected.
            frame.drop(columns=frame.columns, inplace=True)


def columns_of(rule: Rule) -> list[str]:
    """The columns that a rule looks at."""
    arguments = rule.arguments
    names = [arguments[name] for name in ("column", "column_A", "column_B") if name in arguments]
    return [*names, *arguments.get("column_list", ())]


def new_context() -> EphemeralDataContext:
    """GX in memory: no files, no progress bars, no word to anybody."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    # Else it writes all of itself as YAML, into memory, at each frame: half the time of a small partition's check.
    context._save_project_config = lambda: None  # type: ignore[method-assign]
    return context


def batch_of(source: PandasDatasource | SparkDatasource, frame: pandas.DataFrame | pyspark.sql.DataFrame) -> Batch:
    """A whole frame, for a data source of GX that understands it."""
    definition = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    return definition.get_batch({"dataframe": frame})


def suite(wanted: Iterator[Rule] | Sequence[Rule]) -> ExpectationSuite:
    import great_expectations as gx

    return gx.ExpectationSuite(name="contract", expectations=[expectation(rule) for rule in wanted])


def expectation(rule: Rule) -> Expectation:
    from great_expectations import expectations

    return getattr(expectations, rule.expectation)(**rule.arguments, meta={"rule": rule.id})


def suite_result(results: list[ExpectationValidationResult]) -> ExpectationSuiteValidationResult:
    """Results of all rules, in order, as one run of the suite."""
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.validator.validation_statistics import calc_validation_statistics

    counted = calc_validation_statistics(results)
    statistics = {name: value for name, value in counted._asdict().items() if name != "success"}
    return ExpectationSuiteValidationResult(counted.success, results, "contract", statistics=statistics, meta={})


def _frame(rows: Table) -> pandas.DataFrame:
    """Arrow types as pandas' own, but nullable ones where there are nulls, so that integers stay integers."""
    import pandas as pd
    import pyarrow as pa

    with_nulls = {column.type for column in rows.columns if column.null_count}
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return rows.to_pandas(types_mapper={kind: t for kind, t in nullable.items() if kind in with_nulls}.get)
