"""Contracts checked with Great Expectations. As many expectations are evaluated as configured, or the check fails."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

from pipelines.casting import ROW
from pipelines.contract import Contract, Rule, Severity, rules
from pipelines.errors import PermanentError


@dataclass(frozen=True)
class Failure:
    """A rule that rows break: their row numbers and the offending values."""

    rule: Rule
    rows: tuple[int, ...]
    values: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """All failures of one contract on one set of rows, and the page that shows them."""

    failures: tuple[Failure, ...]
    evaluated: int
    page: str

    def of(self, severity: Severity) -> tuple[Failure, ...]:
        return tuple(f for f in self.failures if f.rule.severity is severity)


def check_rows(rows: Any, contract: Contract, where: str) -> Check:
    """Evaluate every row-level rule on an Arrow table that has the row number in `_row`.

    Raises:
        PermanentError: an expectation crashed or was not evaluated.
    """
    wanted = rules(contract)
    results = _run(rows.to_pandas(types_mapper=_mapper()), wanted)
    by_rule = {r.expectation_config.meta["rule"]: r for r in results.results}
    for rule in wanted:
        if rule.id not in by_rule:
            raise PermanentError(f"{where}: rule {rule.id} was not evaluated; nothing is published")
        problem = _crash(by_rule[rule.id].exception_info)
        if problem:
            raise PermanentError(f"{where}: rule {rule.id} crashed: {problem}; mend the rule in contract")
    failures = tuple(_failure(rule, by_rule[rule.id]) for rule in wanted if not by_rule[rule.id].success)
    for failure in failures:
        if not failure.rows:
            raise PermanentError(f"{where}: rule {failure.rule.id} failed but names no row; nothing is published")
    return Check(failures, len(by_rule), _page(results))


def _run(frame: Any, wanted: list[Rule]) -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
    import great_expectations as gx
    from great_expectations import expectations

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    batch = context.data_sources.add_pandas("rows").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name="contract"))
    for rule in wanted:
        suite.add_expectation(getattr(expectations, rule.expectation)(**rule.arguments, meta={"rule": rule.id}))
    definition = gx.ValidationDefinition(name="contract", data=batch, suite=suite)
    wanted_format = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": [ROW],
        "return_unexpected_index_query": False,
    }
    return context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": frame},
        result_format=wanted_format,  # type: ignore[arg-type]
    )


def _mapper() -> Any:
    """Arrow types to pandas' nullable ones, so that an integer column with a null stays one of integers."""
    import pandas as pd
    import pyarrow as pa

    return {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}.get


def _crash(info: Any) -> str | None:
    """The message of an expectation that raised; GX nests it by metric in some cases."""
    if not info:
        return None
    if "raised_exception" in info:
        return str(info["exception_message"]) if info["raised_exception"] else None
    return next((str(i["exception_message"]) for i in info.values() if i.get("raised_exception")), None)


def _failure(rule: Rule, result: Any) -> Failure:
    found = result.result.get("unexpected_index_list") or []
    shown = [", ".join(str(value) for name, value in f.items() if name != ROW) for f in found]
    return Failure(rule, tuple(int(f[ROW]) for f in found), tuple(shown))


def _page(results: Any) -> str:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    return str(DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(results)))
