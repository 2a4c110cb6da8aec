"""Features of one partition, point-in-time correct, as the use case's file declares them.

    spark-submit spark_jobs/build_features.py --plan PLAN.json

The plan (written by `pipelines.features.features.plan`) names the input files, the features and the output folder. A history
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
HISTORY, GROUP = "_history", "_group"
_SEPARATOR = "\u0001"


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


def stacked(rows: DataFrame, specs: list[dict[str, Any]], *keep: str) -> DataFrame:
    """Each row once per history: `_history` numbers it, `_group` is the row's group in it; a null key is no group.

    All histories travel through one join and one aggregation: a join for each would be a dozen stages for each.
    """
    groups = [
        F.struct(F.lit(number).alias(HISTORY), F.concat_ws(_SEPARATOR, *by).alias(GROUP), _all_known(by).alias("_known"))
        for number, by in enumerate([[F.col(name).cast("string") for name in spec["by"]] for spec in specs])
    ]
    exploded = rows.select(*keep, F.inline(F.array(*groups)))
    return exploded.where("_known").drop("_known")


def _all_known(by: list[Column]) -> Column:
    return reduce(lambda a, b: a & b, [column.isNotNull() for column in by], F.lit(True))


def window_sums(rows: DataFrame, past: DataFrame, specs: list[dict[str, Any]], date: str) -> DataFrame:
    """Per history, group and day of `rows`: labels (`_count<n>`) and positive labels (`_sum<n>`) of the last n days."""
    days = sorted({n for spec in specs for n in spec["windows"]})
    daily = stacked(past, specs, KNOWN_DAY, POSITIVE).groupBy(HISTORY, GROUP, KNOWN_DAY)
    counts = daily.agg(F.sum(POSITIVE).alias("_sum"), F.count(POSITIVE).alias("_count"))
    wanted = stacked(rows.withColumn(DAY, F.col(date)), specs, DAY).distinct()
    age = F.datediff(F.col(DAY), F.col(KNOWN_DAY))
    joined = wanted.join(counts, on=[HISTORY, GROUP], how="inner").where((age >= 0) & (age < max(days)))
    sums = [F.sum(F.when(age < n, F.col(what))).alias(f"{what}{n}") for n in days for what in ("_sum", "_count")]
    return joined.groupBy(HISTORY, GROUP, DAY).agg(*sums)


def history(rows: DataFrame, past: DataFrame, specs: list[dict[str, Any]], key: str, date: str) -> DataFrame:
    """Per row of `rows`: its key and, for history i and each of its windows n, `_sum<i>_<n>` and `_count<i>_<n>`."""
    targets = stacked(rows.withColumn(DAY, F.col(date)), specs, key, DAY)
    found = targets.join(window_sums(rows, past, specs, date), on=[HISTORY, GROUP, DAY], how="inner")
    wide = [
        F.max(F.when(F.col(HISTORY) == number, F.col(f"{what}{n}"))).alias(f"{what}{number}_{n}")
        for number, spec in enumerate(specs)
        for n in spec["windows"]
        for what in ("_sum", "_count")
    ]
    return found.groupBy(key).agg(*wide)


def shares(specs: list[dict[str, Any]], weight: float) -> dict[str, Column]:
    """The share of positive labels per history and window, drawn towards the prior where labels are few.

    With `c` labels of which `s` are positive: (s + weight * prior) / (c + weight). The prior is the share over all rows
    in the longest window of the first history without a group; that history itself is not drawn anywhere.
    """
    overall = next(((i, max(s["windows"])) for i, s in enumerate(specs) if not s["by"]), None)
    prior = _ratio(f"{overall[0]}_{overall[1]}") if overall else None
    found = {}
    for i, spec in enumerate(specs):
        for n in spec["windows"]:
            drawn = spec["by"] and prior is not None
            found[f"{spec['name']}_late_{n}d"] = _drawn(f"{i}_{n}", weight, prior) if drawn else _ratio(f"{i}_{n}")
    return found


def _ratio(which: str) -> Column:
    return F.when(F.col(f"_count{which}") > 0, F.col(f"_sum{which}") / F.col(f"_count{which}"))


def _drawn(which: str, weight: float, prior: Column) -> Column:
    positive, count = F.coalesce(f"_sum{which}", F.lit(0.0)), F.coalesce(f"_count{which}", F.lit(0))
    return (positive + weight * prior) / (count + weight)


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
    past = known_outcomes(past_entities, tables[label["source"]], label, spec["key"], plan["timezone"])
    specs = spec["history"]
    if specs:
        known = history(entities, past, specs, spec["key"], spec["date"])
        rows = rows.join(known, on=spec["key"], how="left").withColumns(shares(specs, spec["prior_weight"]))
    names = [f"{item['name']}_late_{days}d" for item in specs for days in item["windows"]]
    declared = [f"{expression} as {name}" for name, expression in spec["expressions"].items()]
    # Windowed expressions see every row of the partition; the closing select is the schema.
    return rows.selectExpr(spec["key"], spec["date"], *declared, *names)


def run(spark: SparkSession, plan: dict[str, Any]) -> None:
    """Read what the plan names, build, write Parquet to the staging area."""
    inputs, spec = plan["inputs"], plan["features"]
    tables = {name: read(spark, source) for name, source in inputs.items()}
    entities = read(spark, inputs[spec["entity"]], [plan["partition"]])
    rows = build(tables, entities, tables[spec["entity"]], plan)
    rows.coalesce(1).sortWithinPartitions(spec["key"]).write.mode("errorifexists").parquet(plan["output"])


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", required=True, help="the plan file that `pipelines.features.features.plan` wrote")
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
