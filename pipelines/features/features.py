"""Features: audit what Spark built of a plan, and publish it.

plan     (`planning.py`) which published files (versions pinned) go in, where the output is staged; one JSON file
build    (`spark.py`) Spark: `spark_jobs/build_features.py --plan <file>`, through an Airflow operator or a subprocess
publish  by partition, one row per row of the entity table, no key twice; one Delta transaction for all
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.features.feature_types import as_features
from pipelines.features.planning import FeaturePlan
from pipelines.features.windows import PARTITION
from pipelines.results import TableSlice
from pipelines.use_case import UseCase, definitions_in_plan, features_table
from pipelines.workspace import CommitRecord, StageRun, list_files, read_bytes

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Table

JOINS = "_joins"  # as spark_jobs/build_features.py has it


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
    declared = [name for name in use_case.features.expressions if name not in use_case.features.sparse]
    empty = [name for name in declared if numbers[name][0] == rows.num_rows]
    if empty:
        raise PermanentError(
            f"{where}: no value at all in {', '.join(empty)}; look at its source and its join, "
            "or name it in features.sparse if that may be"
        )


def _nothing(values: ChunkedArray) -> tuple[int, list[int]]:
    """How many values are none (null, not a number, infinite), and where the infinite ones are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(values.type):
        return values.null_count, []
    finite, infinite = pc.is_finite(values), pc.indices_nonzero(pc.is_inf(values))
    return len(values) - (pc.sum(finite).as_py() or 0), infinite.to_pylist()
