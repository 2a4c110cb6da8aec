"""Features: plan a Spark job over published files, then audit and publish what it wrote.

plan     which published files (versions pinned) go in, where the output is staged; one JSON file
build    Spark: `spark_jobs/build_features.py --plan <file>`, through an Airflow operator or a subprocess
publish  by partition, one row per row of the entity table, no key twice; one Delta transaction for all
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import PermanentError
from pipelines.features.feature_types import as_features
from pipelines.features.inputs import Files, chosen_files, contents, counts_from, missing
from pipelines.features.windows import PARTITION, within_partition
from pipelines.results import TableSlice
from pipelines.use_case import (
    ROOT,
    SNAPSHOT,
    ColumnType,
    Join,
    UseCase,
    definitions_in_plan,
    features_table,
    source_table,
    value_text,
)
from pipelines.workspace import CommitRecord, StageRun, Workspace, list_files, read_bytes, write_bytes

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Table

WHY, JOINS = "build_features failed: ", "_joins"  # as spark_jobs/build_features.py has them
JOB = ROOT / "spark_jobs" / "build_features.py"
SPARK_TYPES = {
    ColumnType.STRING: "string",
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.DATE: "date",
    ColumnType.TIMESTAMP: "timestamp",
}


@dataclass(frozen=True)
class FeaturePlan:
    """What the Spark job is told: `uri` is the plan file, `area` where its output is staged."""

    uri: str
    area: str
    rows_expected: int


def plan(run: StageRun) -> FeaturePlan:
    """Pin the input files and write the job's plan.

    Raises:
        PermanentError: the entity's partition, or another one that it stands on, is not published.
    """
    spec, table = run.use_case.features, features_table(run.use_case)
    if absent := missing(run):
        raise PermanentError(f"{run}: {'; '.join(absent)}")
    published, files = run.lake.partitions(source_table(run.use_case, spec.entity)), chosen_files(run)
    rows = {p.key: published[p.key] for p in run.partitions if published[p.key]}
    area = run.lake.staging_area(table, run.key)
    document = {
        "use_case": run.use_case.name,
        "timezone": run.use_case.timezone,
        "features": run.use_case.features.model_dump(mode="json"),
        "label": run.use_case.label.model_dump(mode="json"),
        "known": {table: known for table in files if (known := _known(run, table, files[table]))},
        "joins": [_join(run, join, list(rows)) for join in spec.joins],
        "expressions": {name: within_partition(text) for name, text in spec.expressions.items()},
        "inputs": {table: _input(run, table, files[table]) for table in files},
        "rows": rows,
        "output": f"{run.lake.uri(table)}/{area}",
    }
    uri = f"{run.lake.uri(table)}/plans/{run.key}-{area.rsplit('/', 1)[-1]}.json"
    write_bytes(uri, json.dumps(document, indent=1).encode())
    return FeaturePlan(uri, area, sum(rows.values()))


def _input(run: StageRun, table: str, files: Files) -> dict[str, Any]:
    columns = {
        column: {"type": SPARK_TYPES[declared.type], "default": value_text(declared.default), "nullable": declared.nullable}
        for column, declared in run.use_case.contract[table].columns.items()
    }
    name = source_table(run.use_case, table)
    version = run.lake.version(name) if run.lake.exists(name) else None  # outcomes come later than the first features
    return {"version": version, "files": files, "contents": contents(run, table, files), "columns": columns}


def _known(run: StageRun, table: str, files: Files) -> dict[str, Any] | None:
    """From which midnight a row is known: by its own moment or day, and not before `from`. None is always."""
    source, label = run.use_case.sources[table], run.use_case.label
    if table == label.source:
        return {"column": label.known_at, "from": counts_from(run, table, files)}
    if source.snapshot or source.forecast or table not in (join.table for join in run.use_case.features.joins):
        return None
    return {"column": source.time_column, "days": 1 + source.available_days, "from": counts_from(run, table, files)}


def _join(run: StageRun, join: Join, keys: list[str]) -> dict[str, Any]:
    """As declared, with the oldest and the newest partition that the rows of each partition are joined to (`reach`)."""
    whole = run.use_case.sources[join.table].snapshot
    reach = {key: (run.use_case.partition(key).back_to(join.lookback_days)[0].key, key) for key in keys}
    columns = {name: within_partition(text, but_for_ranges=True) for name, text in join.columns.items()}
    return {
        "table": join.table,
        "match": join.match,
        "columns": columns,
        "reach": dict.fromkeys(keys, (SNAPSHOT, SNAPSHOT)) if whole else reach,
    }


def build(workspace: Workspace, plan: FeaturePlan) -> None:
    """Run the Spark job here, without Airflow.

    Raises:
        PermanentError: it failed; its last lines are in the message.
    """
    settings = workspace.environment.spark.properties
    flags = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    command = [
        spark_submit(),
        *flags,
        "--driver-memory",
        workspace.environment.spark.driver_memory,
        str(JOB),
        "--plan",
        plan.uri,
    ]
    done = subprocess.run(command, env=spark_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermanentError(f"{plan.uri}: the Spark job failed: {_why(done.stdout + done.stderr)}")


def publish(run: StageRun, plan: FeaturePlan) -> TableSlice:
    """Audit the job's files and make them visible.

    Raises:
        PermanentError: rows are missing or doubled, or a column is not as declared.
    """
    table = features_table(run.use_case)
    staged = run.lake.staged_files(table, plan.area)
    if not staged:
        raise PermanentError(f"{table} {run.key}: the Spark job left no files in {plan.area}; read its log")
    document = json.loads(read_bytes(plan.uri))
    rows: dict[str, int] = document["rows"]
    each = {key: [path for path in staged if f"/{PARTITION}={key}/" in path] for key in rows} if len(rows) > 1 else {}
    ready = {key: _audited(run, key, each.get(key, staged), rows[key]) for key in rows}
    record = CommitRecord(
        run=run.id,
        plan=plan.uri,
        definitions=definitions_in_plan(document),
        unmatched=_unmatched(run, plan),
    )
    version = run.lake.publish_each(table, ready, record)[0].version
    return TableSlice(table=table, partition=run.key, version=version, rows=sum(rows.values()))


def _audited(run: StageRun, key: str, staged: list[str], expected: int) -> list[str]:
    """The files of a partition once they are as declared, in the types that features have."""
    table, where = features_table(run.use_case), f"{features_table(run.use_case)} {key}"
    if not staged:
        raise PermanentError(f"{where}: the Spark job left no row of {expected}; read its log")
    rows = run.lake.read_staged(table, staged)
    _audit(rows, run.use_case, where, expected)
    typed = as_features(rows, run.use_case, where)
    return staged if typed is rows else [run.lake.stage(table, key, typed)]


def _unmatched(run: StageRun, plan: FeaturePlan) -> str | None:
    """How many rows found no partner, per join, as the job counted them.

    Raises:
        PermanentError: more than a join allows, or the job left no counts.
    """
    joins, where = run.use_case.features.joins, f"{features_table(run.use_case)} {run.key}"
    folder = f"{run.lake.uri(features_table(run.use_case))}/{plan.area}/{JOINS}"
    found = [uri for uri, _ in list_files(folder) if uri.endswith(".txt")] if joins else []
    counts: list[int] = json.loads(read_bytes(found[0])) if found else []
    if len(counts) != len(joins):
        raise PermanentError(f"{where}: the Spark job left no count of rows without a partner; read its log, and run it again")
    for join, count in zip(joins, counts, strict=True):
        most = join.max_unmatched_share
        if most is not None and count > most * plan.rows_expected:
            raise PermanentError(
                f"{where}: {count} of {plan.rows_expected} rows find no partner in {join.table}, more than {most:.1%}: look at "
                "what the source sends, or raise max_unmatched_share of the join"
            )
    return "; ".join(f"{j.table}: {n} of {plan.rows_expected}" for j, n in zip(joins, counts, strict=True)) or None


def _audit(rows: Table, use_case: UseCase, where: str, expected: int) -> None:
    wanted = [use_case.features.key, use_case.features.date, *use_case.features.names]
    if sorted(rows.column_names) != sorted(wanted):
        raise PermanentError(f"{where}: the job wrote {rows.column_names}, but the use case declares {wanted}")
    if rows.num_rows != expected:
        raise PermanentError(f"{where}: {rows.num_rows} feature rows for {expected} rows of {use_case.features.entity}")
    if len(rows[use_case.features.key].unique()) != rows.num_rows:
        raise PermanentError(f"{where}: {use_case.features.key} is there more than once; a join multiplies rows")
    numbers = {name: _nothing(rows[name]) for name in use_case.features.names}
    for name, (_, infinite) in numbers.items():
        if infinite:
            key = use_case.features.key
            raise PermanentError(
                f"{where}: {name} is infinite in {len(infinite)} rows, such as {key} {rows[key][infinite[0]]}; guard the "
                f"division in features.expressions.{name}, such as by nullif"
            )
    # A window of history may be empty: nothing became known on a day without work, or before the first partition.
    empty = [name for name in use_case.features.expressions if numbers[name][0] == rows.num_rows]
    if empty:
        raise PermanentError(f"{where}: no value at all in {', '.join(empty)}; look at its source and its join")


def _nothing(values: ChunkedArray) -> tuple[int, list[int]]:
    """How many values are none (null, not a number, infinite), and where the infinite ones are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(values.type):
        return values.null_count, []
    finite, infinite = pc.is_finite(values), pc.indices_nonzero(pc.is_inf(values))
    return len(values) - (pc.sum(finite).as_py() or 0), infinite.to_pylist()


def spark_submit() -> str:
    """pip's `spark-submit`, next to the interpreter in use."""
    return os.path.join(os.path.dirname(sys.executable), "spark-submit")


def spark_environment() -> dict[str, str]:
    """The process's environment with Spark's workers on this very interpreter."""
    found = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    found.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    return found


def _why(text: str) -> str:
    """The job's own explanation; without one, it did not come that far. `spark-submit` prints a job's stderr on its stdout."""
    _, found, why = text.rpartition(WHY)
    return why.splitlines()[0].strip() if found else text[-500:]
