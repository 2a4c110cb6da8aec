"""Features of one partition or several, point-in-time correct, as the use case's file declares them.

    spark-submit spark_jobs/build_features.py --plan PLAN.json

A history feature of a row uses only outcomes known at 00:00 local time of the row's date: an outcome counts from the
first midnight at or after the moment it became known. A row sees of its partition, of those before it and of none after it
what a run for this partition alone would have seen: bulk equals live.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import reduce
from itertools import zip_longest
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.logger import PySparkLogger
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.utils import is_remote

WHY, JOINS = "build_features failed: ", "_joins"
# What the values hang on, whatever the session was started with.
SETTINGS = {"spark.sql.session.timeZone": "UTC", "spark.sql.ansi.enabled": "true", "spark.sql.caseSensitive": "false"}
PARTITION = "_partition"
KNOWN_DAY, POSITIVE, DAY, HISTORY, GROUP, FOUND = "_known_day", "_positive", "_day", "_history", "_group", "_found"
_KNOWN, _THEIRS, _OLDEST, _NEWEST = "_known_join", "_their_partition", "_oldest", "_newest"
_SEPARATOR = "\u0001"
Tables = dict[str, DataFrame]
Watch = Callable[[DataFrame], DataFrame]


def settled(spark: SparkSession) -> SparkSession:
    for name, value in SETTINGS.items():
        spark.conf.set(name, value)
    return spark


def read(spark: SparkSession, source: dict[str, Any], partitions: list[str] | None = None) -> DataFrame:
    """Published files as one frame, with `_partition`, without the row numbers of ingestion; without a file, no rows."""
    chosen = source["files"] if partitions is None else {k: v for k, v in source["files"].items() if k in partitions}
    files = [file for files in chosen.values() for file in files]
    columns = source.get("columns", {})
    if not files:
        return spark.createDataFrame([], ", ".join(f"`{n}` {c['type']}" for n, c in columns.items()) + f", {PARTITION} string")
    # A published file lies in a folder of its own in its partition's.
    partition = F.element_at(F.split("_metadata.file_path", "/"), -3)
    rows = spark.read.option("mergeSchema", "true").parquet(*files).withColumn(PARTITION, partition)
    return as_declared(rows.drop("_row"), columns)


def tables_of(spark: SparkSession, plan: dict[str, Any]) -> Tables:
    """Every input of a plan, with the day on which a row of it became known."""
    found = {name: (versions if source["snapshot"] else read)(spark, source) for name, source in plan["inputs"].items()}
    return {name: with_known_day(table, plan["known"].get(name), plan["timezone"]) for name, table in found.items()}


def versions(spark: SparkSession, source: dict[str, Any]) -> DataFrame:
    """Reference data in all versions that a run needs; `_partition` is the version."""
    each = [read(spark, source, [version]).withColumn(PARTITION, F.lit(version)) for version in source["files"]]
    return reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), each)


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


def known_outcomes(entities: DataFrame, outcomes: DataFrame, label: dict[str, Any], key: str) -> DataFrame:
    """Labelled rows of the past with `_positive` and `_known_day`."""
    labelled = outcomes.select(key, PARTITION, is_positive(label).alias(POSITIVE), KNOWN_DAY).where(f"{POSITIVE} is not null")
    # A key that is sent again in another partition is another event, with an outcome of its own.
    return entities.drop(KNOWN_DAY).join(labelled, on=[key, PARTITION], how="inner")


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
    """Per row of `rows`: its key, partition and, for history i and each of its windows n, `_sum<i>_<n>` and `_count<i>_<n>`."""
    targets = stacked(rows.withColumn(DAY, F.col(date)), specs, key, PARTITION, DAY)
    found = targets.join(window_sums(rows, past, specs, date), on=[HISTORY, GROUP, DAY], how="inner")
    wide = [
        F.max(F.when(F.col(HISTORY) == number, F.col(f"{what}{n}"))).alias(f"{what}{number}_{n}")
        for number, spec in enumerate(specs)
        for n in spec["windows"]
        for what in ("_sum", "_count")
    ]
    return found.groupBy(key, PARTITION).agg(*wide)


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


def with_known_day(table: DataFrame, known: dict[str, Any] | None, timezone: str) -> DataFrame:
    """`_known_day` of a row: the first local midnight at or after it became known, or at which its day has ended and come in.

    Not before the day from which rows of its partition count. Null is always; a row without a moment is never known.
    """
    if known is None:
        return table.withColumn(KNOWN_DAY, F.lit(None).cast("date"))
    column = F.col(known["column"])
    is_date = table.schema[known["column"]].dataType.typeName() == "date"
    local = column if is_date else F.from_utc_timestamp(column, timezone)
    day = F.to_date(local)
    own = F.when(local == day.cast("timestamp"), day).otherwise(F.date_add(day, 1))
    own = F.date_add(day, known["days"]) if "days" in known else own
    never = F.lit("9999-12-31").cast("date")
    return table.withColumn(KNOWN_DAY, F.greatest(F.coalesce(own, never), by_partition(known["from"]).cast("date")))


def by_partition(values: dict[str, str]) -> Column:
    """What belongs to a row's partition; null where nothing does."""
    literals = [F.lit(text) for item in values.items() for text in item]
    return F.try_element_at(F.create_map(*literals), F.col(PARTITION)) if values else F.lit(None).cast("string")


def look_up(rows: DataFrame, table: DataFrame, join: dict[str, Any], date: str, watch: Watch = lambda rows: rows) -> DataFrame:
    """Add columns of another table by equal keys, as far as they were known at 00:00 of the row's date.

    Of the partitions within the row's own reach. A row without a match gets nulls. `watch` sees which ones were `_found`.
    """
    theirs = table.select(*[f"`{column}`" for column in join["match"]]).schema
    mine = rows.select(*[F.expr(expression) for expression in join["match"].values()]).schema
    for column, expression, our, other in zip(join["match"], join["match"].values(), mine, theirs, strict=True):
        if our.dataType != other.dataType:
            names = our.dataType.simpleString(), other.dataType.simpleString()
            types = f"'{expression}' is a {names[0]}, {join['table']}.{column} a {names[1]}"
            raise SystemExit(f"{WHY}join {join['table']}: {types}; cast one of them in features.joins")
    keys = {column: f"_key_{column}" for column in join["match"]}
    own = {FOUND: "true", _KNOWN: KNOWN_DAY, _THEIRS: PARTITION}
    columns = {**{key: f"`{column}`" for column, key in keys.items()}, **join["columns"], **own}
    right = table.select(*[F.expr(expression).alias(name) for name, expression in columns.items()])
    matches = [F.expr(expression) == F.col(keys[column]) for column, expression in join["match"].items()]
    matches.append(F.col(_KNOWN).isNull() | (F.col(_KNOWN) <= F.col(date)))
    matches.append(F.col(_THEIRS).between(F.col(_OLDEST), F.col(_NEWEST)))
    oldest, newest = ({key: reach[end] for key, reach in join["reach"].items()} for end in (0, 1))
    reaching = rows.withColumns({_OLDEST: by_partition(oldest), _NEWEST: by_partition(newest)})
    joined = reaching.join(F.broadcast(right), on=reduce(lambda a, b: a & b, matches), how="left")
    return watch(joined).drop(FOUND, _KNOWN, _THEIRS, _OLDEST, _NEWEST, *keys.values())


def build(tables: Tables, entities: DataFrame, past: DataFrame, plan: dict[str, Any], *watches: Watch) -> DataFrame:
    """One row per entity: partition, key, date, every feature in the declared order. A join may be watched by its own."""
    spec, label = plan["features"], plan["label"]
    rows = entities
    for join, watch in zip_longest(plan["joins"], watches):
        rows = look_up(rows, tables[join["table"]], join, spec["date"], *filter(None, [watch]))
    past = known_outcomes(past, tables[label["source"]], label, spec["key"])
    specs = spec["history"]
    if specs:
        known = history(entities, past, specs, spec["key"], spec["date"])
        rows = rows.join(known, on=[spec["key"], PARTITION], how="left").withColumns(shares(specs, spec["prior_weight"]))
    names = [f"{item['name']}_late_{days}d" for item in specs for days in item["windows"]]
    declared = [F.expr(text).alias(name) for name, text in plan["expressions"].items()]
    # Windowed expressions see every row of their partition; the closing select is the schema.
    return rows.select(PARTITION, spec["key"], spec["date"], *declared, *names)


def run(spark: SparkSession, plan: dict[str, Any], tables: Tables, entities: DataFrame) -> None:
    """Build, write Parquet to the staging area, by partition, and beside it how many rows found no partner, per join.

    A run that was killed has left a part there, which the next one replaces: nobody sees it before it is published.
    """
    spec = plan["features"]
    seen = [Observation(f"join {number}") for number, _ in enumerate(plan["joins"])]
    counts = (F.count(F.lit(1)).alias("rows"), F.count_if(F.col(FOUND).isNull()).alias("unmatched"))
    watches = [lambda rows, one=one: rows.observe(one, *counts) for one in seen]
    rows = build(tables, entities, tables[spec["entity"]], plan, *watches)
    in_order = rows.coalesce(1).sortWithinPartitions(PARTITION, spec["key"])
    in_order.write.mode("overwrite").partitionBy(PARTITION).parquet(plan["output"])
    for join, one in zip(plan["joins"], seen, strict=True):
        if one.get["rows"] > sum(plan["rows"].values()):
            raise SystemExit(WHY + _multiplied(tables[join["table"]], join))
    found = json.dumps([one.get["unmatched"] for one in seen])
    spark.range(1).select(F.lit(found)).coalesce(1).write.mode("overwrite").text(f"{plan['output']}/{JOINS}")


def _multiplied(table: DataFrame, join: dict[str, Any]) -> str:
    """Which join finds several partners, by which key, with an example."""
    several = [
        table.groupBy(*keys).agg(F.count(F.lit(1)).alias("_rows")).where("_rows > 1")
        for keys in ([PARTITION, *join["match"]], join["match"])
    ]
    doubled = several[0].first() or several[1].first()
    example = ", ".join(f"{column}={doubled[column]}" for column in join["match"]) if doubled else "none found any more"
    name, key = join["table"], ", ".join(join["match"])
    return f"join {name} multiplies rows: its key {key} is there more than once, such as {example}; mend {name} or the match"


def explained(tables: Tables, entities: DataFrame, plan: dict[str, Any], error: Exception) -> str:
    """The error in a line, the feature and its expression that raises it, and a row for which it does."""
    key = plan["features"]["key"]
    for what, rows, expression in _expressions(tables, entities, plan):
        if found := _failure(rows, expression):
            example = "" if isinstance(found, AnalysisException) else _example(rows, expression, key)
            return f"{what} = {expression}: {_said(found)}{example}"
    return _said(error)


def _expressions(tables: Tables, rows: DataFrame, plan: dict[str, Any]) -> Iterator[tuple[str, DataFrame, str]]:
    """Every declared expression with what it is and the rows that it is of, in the order in which they are needed."""
    for join in plan["joins"]:
        name = join["table"]
        yield from ((f"join {name}, column {alias}", tables[name], text) for alias, text in join["columns"].items())
        yield from ((f"join {name}, match {column}", rows, text) for column, text in join["match"].items())
        rows = look_up(rows, tables[name], join, plan["features"]["date"])
    yield from ((f"feature {name}", rows, text) for name, text in plan["expressions"].items())


def _failure(rows: DataFrame, expression: str) -> Exception | None:
    try:
        return rows.select(F.expr(expression)).write.format("noop").mode("overwrite").save()
    except Exception as error:  # whatever it is, it is what is looked for
        return error


def _example(rows: DataFrame, expression: str, key: str) -> str:
    """A row that the expression fails for, found by halving."""
    keys = sorted(row[0] for row in rows.select(key).collect()) if key in rows.columns else []
    while len(keys) > 1:
        half = keys[: len(keys) // 2]
        keys = half if _failure(rows.where(F.col(key).between(half[0], half[-1])), expression) else keys[len(half) :]
    row = rows.where(F.col(key) == keys[0]).select(F.to_json(F.struct("*"))).first() if keys else None
    return f", such as for {row[0]}" if row else ""


def _said(error: Exception) -> str:
    """The condition of an error of Spark, without what it repeats and without frames."""
    condition = re.search(r"\[[A-Z][A-Z0-9_.]+\][^\n]*", str(error))
    return condition.group() if condition else str(error).partition("\n")[0]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", required=True, help="the plan file that `pipelines.features.plan` wrote")
    options, spark = parser.parse_args(argv), settled(SparkSession.builder.appName("build_features").getOrCreate())
    # A failure is explained in one line: nobody has to look for it among the frames of every attempt.
    if not is_remote():
        spark.sparkContext.setLogLevel("OFF")
    PySparkLogger.getLogger("SQLQueryContextLogger").disabled = True
    try:
        plan = json.loads(spark.read.text(options.plan, wholetext=True).collect()[0][0])
        tables = tables_of(spark, plan)
        entities = read(spark, plan["inputs"][plan["features"]["entity"]], list(plan["rows"]))
        try:
            run(spark, plan, tables, entities)
        except Exception as error:
            sys.exit(WHY + explained(tables, entities, plan, error))
    finally:
        spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
