"""Features of one partition, point-in-time correct, as the use case's file declares them.

    spark-submit spark_jobs/build_features.py --plan PLAN.json

The plan (written by `pipelines.features.plan`) names the input files, the features and the output folder. A history
feature of a row uses only outcomes known at 00:00 local time of the row's date: an outcome counts from the first
midnight at or after the moment it became known.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

KNOWN_DAY = "_known_day"
POSITIVE = "_positive"
DAY = "_day"


def read(spark: SparkSession, source: dict[str, Any], partitions: list[str] | None = None) -> DataFrame:
    """Published files as one frame, without the row numbers of ingestion."""
    chosen = source["files"] if partitions is None else {k: v for k, v in source["files"].items() if k in partitions}
    files = [file for files in chosen.values() for file in files]
    return as_declared(spark.read.option("mergeSchema", "true").parquet(*files).drop("_row"), source.get("columns", {}))


def as_declared(rows: DataFrame, columns: dict[str, Any]) -> DataFrame:
    """A column that came into the contract after a file was published: null there, or its default if it is never null."""
    late = {n: F.lit(c["default"]).cast(c["type"]) for n, c in columns.items() if n not in rows.columns}
    never_null = {
        n: F.coalesce(F.col(n), F.lit(c["default"]).cast(c["type"]))
        for n, c in columns.items()
        if n in rows.columns and not c["nullable"] and c["default"] is not None
    }
    return rows.withColumns({**late, **never_null}) if late or never_null else rows


def is_positive(label: dict[str, Any]) -> Column:
    """1.0, 0.0, or null where there is no label."""
    return F.expr(f"cast({label['column']} {label['operator']} {label['threshold']} as double)")


def known_outcomes(entities: DataFrame, outcomes: DataFrame, label: dict[str, Any], key: str, timezone: str) -> DataFrame:
    """Labelled rows of the past with `_positive` and `_known_day`, the first local midnight at or after they were known."""
    local = F.from_utc_timestamp(F.col(label["known_at"]), timezone)
    midnight = F.to_date(local)
    known_day = F.when(local == midnight.cast("timestamp"), midnight).otherwise(F.date_add(midnight, 1))
    labelled = outcomes.select(key, is_positive(label).alias(POSITIVE), known_day.alias(KNOWN_DAY))
    labelled = labelled.where(F.col(POSITIVE).isNotNull() & F.col(KNOWN_DAY).isNotNull())
    return entities.join(labelled, on=key, how="inner")


def daily_counts(past: DataFrame, by: list[str]) -> DataFrame:
    """Labels and positive labels per group and day on which they became known."""
    counts = (F.sum(POSITIVE).alias("_sum"), F.count(POSITIVE).alias("_count"))
    return past.groupBy(*by, KNOWN_DAY).agg(*counts).withColumnsRenamed({name: f"_past_{name}" for name in by})


def window_sums(rows: DataFrame, past: DataFrame, spec: dict[str, Any], date: str) -> DataFrame:
    """Per group and day of `rows`: labels (`_count<n>`) and positive labels (`_sum<n>`) of each of the last n days."""
    by, longest = list(spec["by"]), max(spec["windows"])
    groups = rows.select(*by, F.col(date).alias(DAY)).distinct()
    age = F.datediff(F.col(DAY), F.col(KNOWN_DAY))
    same = [F.col(name) == F.col(f"_past_{name}") for name in by]
    joined = groups.join(daily_counts(past, by), on=_all([*same, age >= 0, age < longest]), how="inner")
    sums = [
        F.sum(F.when(age < days, F.col(what))).alias(f"{what}{days}") for days in spec["windows"] for what in ("_sum", "_count")
    ]
    return joined.groupBy(*by, DAY).agg(*sums)


def history(rows: DataFrame, sums: DataFrame, spec: dict[str, Any], date: str, weight: float, prior: str | None) -> DataFrame:
    """Add the share of positive labels of the group over the last n days, drawn towards the prior where labels are few.

    With `c` labels of which `s` are positive: (s + weight * prior) / (c + weight).
    """
    by = list(spec["by"])
    renamed = sums.withColumnsRenamed({name: f"_past_{name}" for name in by})
    same = [F.col(name) == F.col(f"_past_{name}") for name in by]
    wide = rows.join(F.broadcast(renamed), on=_all([*same, F.col(date) == F.col(DAY)]), how="left")
    shares = {f"{spec['name']}_late_{days}d": _share(days, weight, prior) for days in spec["windows"]}
    return wide.withColumns(shares).drop(DAY, *renamed.columns)


def _share(days: int, weight: float, prior: str | None) -> Column:
    positive, count = F.coalesce(f"_sum{days}", F.lit(0.0)), F.coalesce(f"_count{days}", F.lit(0))
    if prior is None:
        return F.when(count > 0, positive / count)
    return (positive + weight * F.col(prior)) / (count + weight)


def _all(conditions: list[Column]) -> Column:
    return reduce(lambda a, b: a & b, conditions)


def look_up(rows: DataFrame, table: DataFrame, join: dict[str, Any]) -> DataFrame:
    """Add columns of another table by equal keys; a row without a match gets nulls."""
    keys = {column: f"_key_{column}" for column in join["match"]}
    right = table.selectExpr(
        *[f"{column} as {alias}" for column, alias in keys.items()],
        *[f"{expression} as {name}" for name, expression in join["columns"].items()],
    )
    matches = [F.expr(expression) == F.col(keys[column]) for column, expression in join["match"].items()]
    return rows.join(F.broadcast(right), on=reduce(lambda a, b: a & b, matches), how="left").drop(*keys.values())


def build(tables: dict[str, DataFrame], entities: DataFrame, past_entities: DataFrame, plan: dict[str, Any]) -> DataFrame:
    """One row per entity: key, date and every declared feature, in the declared order."""
    spec, label = plan["features"], plan["label"]
    rows = entities
    for join in spec["joins"]:
        rows = look_up(rows, tables[join["table"]], join)
    past = known_outcomes(past_entities, tables[label["source"]], label, spec["key"], plan["timezone"]).cache()
    prior = None
    for item in spec["history"]:
        # The groups come from the bare entities: taken from the widened rows they would double the plan at every step.
        sums = window_sums(entities, past, item, spec["date"])
        rows = history(rows, sums, item, spec["date"], spec["prior_weight"], prior if item["by"] else None)
        prior = prior or (None if item["by"] else f"{item['name']}_late_{max(item['windows'])}d")
    shares = [f"{item['name']}_late_{days}d" for item in spec["history"] for days in item["windows"]]
    declared = [f"{expression} as {name}" for name, expression in spec["expressions"].items()]
    # Windowed expressions see every row of the partition; the closing select is the schema.
    return rows.selectExpr(spec["key"], spec["date"], *declared, *shares)


def run(spark: SparkSession, plan: dict[str, Any]) -> None:
    """Read what the plan names, build, write Parquet to the staging area."""
    inputs, spec = plan["inputs"], plan["features"]
    tables = {name: read(spark, source) for name, source in inputs.items()}
    entities = read(spark, inputs[spec["entity"]], [plan["partition"]])
    rows = build(tables, entities, tables[spec["entity"]], plan)
    rows.coalesce(1).sortWithinPartitions(spec["key"]).write.mode("errorifexists").parquet(plan["output"])


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", required=True, help="the plan file that `pipelines.features.plan` wrote")
    options = parser.parse_args(argv)
    spark = SparkSession.builder.appName("build_features").getOrCreate()
    try:
        text = spark.read.text(options.plan, wholetext=True).first()
        assert text is not None
        run(spark, json.loads(text[0]))
    finally:
        spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
