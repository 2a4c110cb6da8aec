"""The suite on Spark, over the very files that were staged, with the verdicts that pandas gives.

Where the engines differ, Spark is brought to what pandas says: NaN is null, and a pattern is Python's.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, reduce
from typing import TYPE_CHECKING

from pipelines.use_case import ROW, Rule
from pipelines.validation.engines import COUNT, OnPandas, batch_of, expectation, new_context, suite
from pipelines.validation.patterns import java_pattern
from pipelines.workspace import SparkSettings

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.datasource.fluent.interfaces import Batch
    from pyarrow import Table
    from pyspark.sql import Column, DataFrame, SparkSession

# Of the environment's properties, whatever they say: nothing listens beyond this machine, and times are UTC.
_ALWAYS = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.showConsoleProgress": "false",
}


@dataclass(frozen=True)
class OnSpark:
    """A frame that GX's Spark engine reads. A pattern that only Python understands is judged on the very rows by pandas."""

    batch: Batch
    on_pandas: OnPandas

    def count(self, wanted: Sequence[Rule]) -> list[ExpectationValidationResult]:
        ours, others = _split(wanted)
        found = list(self.batch.validate(suite(ours), result_format=COUNT).results)
        return found + self.on_pandas.count(others)

    def name(self, wanted: Sequence[Rule], most: int | None) -> dict[str, list[int]]:
        ours, others = _split(wanted)
        return (self._name(ours, most) if ours else {}) | self.on_pandas.name(others, most)

    def _name(self, wanted: Sequence[Rule], most: int | None) -> dict[str, list[int]]:
        """One job for all rules, by GX's own conditions: its lists of rows take two jobs for each rule."""
        parts = [self._breaking(rule, number) for number, rule in enumerate(wanted)]
        parts = parts if most is None else [part.limit(most) for part in parts]
        found: dict[str, list[int]] = {rule.id: [] for rule in wanted}
        listed = reduce(lambda one, other: one.unionAll(other), parts).toArrow()
        for number, row in zip(listed["_rule"].to_pylist(), listed[ROW].to_pylist(), strict=True):
            found[wanted[number].id].append(row)
        return found

    def _breaking(self, rule: Rule, number: int) -> DataFrame:
        """The numbers of the rows that break one rule."""
        from great_expectations.expectations.registry import get_metric_kwargs
        from great_expectations.validator.metric_configuration import MetricConfiguration
        from great_expectations.validator.metrics_calculator import MetricsCalculator
        from pyspark.sql import functions as F

        expected, engine = expectation(rule), self.batch.data.execution_engine
        configuration, metric = expected.configuration, f"{expected.map_metric}.condition"
        configuration.kwargs["batch_id"] = self.batch.id
        kwargs = get_metric_kwargs(metric, configuration=configuration)
        wanted = MetricConfiguration(metric, kwargs["metric_domain_kwargs"], kwargs["metric_value_kwargs"])
        condition, compute, accessor = MetricsCalculator(engine).get_metric(wanted)
        records = engine.get_domain_records({**compute, **accessor}).withColumn("_broken", condition)
        return records.where("_broken").select(F.lit(number).alias("_rule"), ROW)


@contextmanager
def on_spark(uris: Sequence[str], rows: Table, settings: SparkSettings) -> Iterator[OnSpark]:
    """Parquet files with their rows as an Arrow table, in a session of its own that is stopped in the end."""
    with session(settings) as spark, tempfile.TemporaryDirectory() as folder:
        _teach_great_expectations()
        source = new_context().data_sources.add_spark("rows", persist=False)
        files = uris if all(map(_is_local, uris)) else [_copied(rows, folder)]
        yield OnSpark(batch_of(source, comparable(spark.read.parquet(*files))), OnPandas(rows))


def _is_local(uri: str) -> bool:
    return "://" not in uri or uri.startswith("file://")


def _copied(rows: Table, folder: str) -> str:
    """The rows in a local file: this Spark has no connector for a bucket, and they have been read from it already."""
    import pyarrow.parquet as pq

    pq.write_table(rows, f"{folder}/rows.parquet", coerce_timestamps="us")
    return f"{folder}/rows.parquet"


def _split(wanted: Sequence[Rule]) -> tuple[list[Rule], list[Rule]]:
    """Rules for Spark, and those whose pattern has no equal in Java."""
    others = [rule for rule in wanted if "regex" in rule.arguments and not _has_java(rule.arguments["regex"])]
    return [rule for rule in wanted if rule not in others], others


def _has_java(pattern: str) -> bool:
    try:
        return java_pattern(pattern) is not None
    except re.error:  # it crashes where it is evaluated
        return True


@contextmanager
def session(settings: SparkSettings) -> Iterator[SparkSession]:
    """A session by the environment's settings; one that the process has already is used and left running."""
    from pyspark.sql import SparkSession

    running = SparkSession.getActiveSession()
    spark = running.newSession() if running else _start(settings)
    try:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
        yield spark
    finally:
        if not running:
            spark.stop()


def _start(settings: SparkSettings) -> SparkSession:
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    wanted = {"spark.master": "local[*]", **settings.properties, **_ALWAYS, "spark.driver.memory": settings.driver_memory}
    builder = SparkSession.builder.appName("contract")
    for name, value in wanted.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def comparable(frame: DataFrame) -> DataFrame:
    """NaN as null, which it is for pandas."""
    from pyspark.sql import functions as F

    doubles = [name for name, kind in frame.dtypes if kind == "double"]
    return frame.withColumns({name: F.when(~F.isnan(name), F.col(name)) for name in doubles})


@cache
def _teach_great_expectations() -> None:
    """Replace GX's metric of patterns, for Spark only, by one that says what pandas says."""
    from great_expectations.execution_engine import SparkDFExecutionEngine
    from great_expectations.expectations.metrics import map_metric_provider as gx

    # It would warn of each that is replaced.
    logging.getLogger("great_expectations.expectations.registry").setLevel(logging.ERROR)

    class Matches(gx.ColumnMapMetricProvider):
        condition_metric_name = "column_values.match_regex"
        condition_value_keys = ("regex",)

        @gx.column_condition_partial(engine=SparkDFExecutionEngine)
        def _spark(cls, column: Column, regex: str, **_: object) -> Column:
            return _matches(column, regex)


def _matches(column: Column, regex: str) -> Column:
    """Python's `re.search`, in Java's words."""
    java = java_pattern(regex)
    assert java is not None, "is judged by pandas"
    return column.rlike(java)
