"""Features of one partition, point-in-time correct, as the use case's file declares them.

    spark-submit spark_jobs/build_features.py --plan PLAN.json

The plan (written by `pipelines.features.features.plan`) names the input files, the features and the output folder. A history
feature of a row uses only outcomes known at 00:00 local time of the row's date: an outcome counts from the first
midnight at or after the moment it became known.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

WHY, JOINS = "build_features failed: ", "_joins"
FOUND = "_found"
Watch = Callable[[DataFrame], DataFrame]
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


def partners(rows: DataFrame, table: DataFrame, join: dict[str, Any]) -> DataFrame:
    """The joined table's keys and columns, under names of their own; a match of unlike types is refused."""
    for column, expression in join["match"].items():
        mine, theirs = rows.select(F.expr(expression)).schema[0].dataType, table.schema[column].dataType
        if mine != theirs:
            raise Refused(
                f"join {join['table']}: '{expression}' is a {mine.simpleString()}, {join['table']}.{column} a "
                f"{theirs.simpleString()}; cast one of them in features.joins"
            )
    keys = [F.col(column).alias(f"_key_{column}") for column in join["match"]]
    return table.select(*keys, *[F.expr(expression).alias(name) for name, expression in join["columns"].items()])


def look_up(rows: DataFrame, table: DataFrame, join: dict[str, Any], watch: Watch | None = None) -> DataFrame:
    """Add columns of another table by equal keys; a row without a match gets nulls."""
    right = partners(rows, table, join).withColumn(FOUND, F.lit(True))
    matches = [F.expr(expression) == F.col(f"_key_{column}") for column, expression in join["match"].items()]
    joined = rows.join(F.broadcast(right), on=reduce(lambda a, b: a & b, matches), how="left")
    joined = watch(joined) if watch else joined
    return joined.drop(FOUND, *[f"_key_{column}" for column in join["match"]])


def build(
    tables: dict[str, DataFrame],
    entities: DataFrame,
    past_entities: DataFrame,
    plan: dict[str, Any],
    watches: Sequence[Watch | None] = (),
) -> DataFrame:
    """One row per entity: key, date and every declared feature, in the declared order. Each join is watched by its own."""
    spec, label = plan["features"], plan["label"]
    rows = entities
    for number, join in enumerate(spec["joins"]):
        rows = look_up(rows, tables[join["table"]], join, watches[number] if watches else None)
    past = known_outcomes(past_entities, tables[label["source"]], label, spec["key"], plan["timezone"])
    specs = spec["history"]
    if specs:
        known = history(entities, past, specs, spec["key"], spec["date"])
        rows = rows.join(known, on=spec["key"], how="left").withColumns(shares(specs, spec["prior_weight"]))
    names = [f"{item['name']}_late_{days}d" for item in specs for days in item["windows"]]
    declared = [F.expr(expression).alias(name) for name, expression in spec["expressions"].items()]
    # Windowed expressions see every row of the partition; the closing select is the schema.
    return rows.select(spec["key"], spec["date"], *declared, *names)


def run(spark: SparkSession, plan: dict[str, Any]) -> None:
    """Read what the plan names, build, write Parquet to the staging area, and how many rows found no partner per join."""
    spec = plan["features"]
    tables, entities = inputs(spark, plan)
    seen = [Observation(f"join {number}") for number, _ in enumerate(spec["joins"])]
    counts = (F.count(F.lit(1)).alias("rows"), F.count_if(F.col(FOUND).isNull()).alias("unmatched"))
    watches = [lambda rows, one=one: rows.observe(one, *counts) for one in seen]
    rows = build(tables, entities, tables[spec["entity"]], plan, watches)
    rows.coalesce(1).sortWithinPartitions(spec["key"]).write.mode("errorifexists").parquet(plan["output"])
    expected = sum(plan["inputs"][spec["entity"]]["rows"][plan["partition"]])
    for number, one in enumerate(seen):
        if one.get["rows"] > expected:
            raise Refused(_multiplied(tables, entities, plan, number))
    found = json.dumps([one.get["unmatched"] for one in seen])
    spark.range(1).select(F.lit(found)).coalesce(1).write.text(f"{plan['output']}/{JOINS}")


def inputs(spark: SparkSession, plan: dict[str, Any]) -> tuple[dict[str, DataFrame], DataFrame]:
    """Every table that the plan names, and the rows to build features of."""
    tables = {name: read(spark, source) for name, source in plan["inputs"].items()}
    return tables, read(spark, plan["inputs"][plan["features"]["entity"]], [plan["partition"]])


# why it failed -------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """The job's own no; says what and where."""


def _multiplied(tables: dict[str, DataFrame], entities: DataFrame, plan: dict[str, Any], number: int) -> str:
    """Which join finds several partners, by which key, with an example."""
    join, rows = plan["features"]["joins"][number], entities
    for before in plan["features"]["joins"][:number]:
        rows = look_up(rows, tables[before["table"]], before)
    keys = [f"_key_{column}" for column in join["match"]]
    doubled = partners(rows, tables[join["table"]], join).groupBy(*keys).count().where("count > 1").first()
    example = f", such as {', '.join(f'{c}={doubled[k]}' for c, k in zip(join['match'], keys, strict=True))}" if doubled else ""
    return (
        f"join {join['table']} multiplies rows: its key {', '.join(join['match'])} is there more than once{example}; mend "
        f"{join['table']}, or the join's match"
    )


def explained(spark: SparkSession, plan: dict[str, Any], error: Exception) -> str:
    """The error in a line, the feature and its expression that raises it, and a row for which it does."""
    said = _said(error)
    if isinstance(error, Refused):
        return said
    tables, entities = inputs(spark, plan)
    spec, rows = plan["features"], entities
    for join in spec["joins"]:
        try:
            rows = look_up(rows, tables[join["table"]], join)
            _evaluate(rows)
        except Exception as found:
            return f"join {join['table']} ({json.dumps(join['columns'])} by {json.dumps(join['match'])}): {_said(found)}"
    for name, expression in spec["expressions"].items():
        try:
            _evaluate(rows.select(F.expr(expression)))
        except Exception as found:
            return f"feature {name} = {expression}: {_said(found)}{_example(rows, expression, spec['key'])}"
    return said


def _said(error: Exception) -> str:
    """The condition of an error of Spark, without what it repeats and without frames."""
    text = str(error)
    condition = re.search(r"\[[A-Z][A-Z0-9_.]+\][^\n]*", text)
    return condition.group() if condition else f"{type(error).__name__}: {(text.splitlines() or [''])[0]}"


def _evaluate(rows: DataFrame) -> None:
    rows.write.format("noop").mode("overwrite").save()


def _example(rows: DataFrame, expression: str, key: str) -> str:
    """A row that the expression fails for, found by halving; nothing where it is wrong for any row."""

    def fails(first: Any, last: Any) -> bool:
        try:
            _evaluate(rows.where(F.col(key).between(first, last)).select(F.expr(expression)))
        except Exception:
            return True
        return False

    try:
        rows.select(F.expr(expression))
    except Exception:  # of the expression itself, whatever the rows hold
        return ""
    keys = sorted(row[0] for row in rows.select(key).collect())
    while len(keys) > 1:
        half = keys[: len(keys) // 2]
        keys = half if fails(half[0], half[-1]) else keys[len(keys) // 2 :]
    row = rows.where(F.col(key) == keys[0]).select(F.to_json(F.struct("*"))).first() if keys else None
    return f", such as for {row[0]}" if row else ""


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", required=True, help="the plan file that `pipelines.features.features.plan` wrote")
    options = parser.parse_args(argv)
    spark = SparkSession.builder.appName("build_features").getOrCreate()
    # A failure is explained below, in one line: nobody has to look for it among the frames of every attempt.
    spark.sparkContext.setLogLevel("OFF")
    try:
        text = spark.read.text(options.plan, wholetext=True).first()
        assert text is not None
        plan = json.loads(text[0])
        try:
            run(spark, plan)
        except Exception as error:
            sys.exit(WHY + explained(spark, plan, error))
    finally:
        spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
