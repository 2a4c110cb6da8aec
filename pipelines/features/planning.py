"""Plan a Spark job over published files: which go in, which rows are known when, where its output is staged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pipelines.errors import PermanentError
from pipelines.features.inputs import Files, chosen_files, contents, counts_from, latest_outcomes, missing, versions_known
from pipelines.features.windows import within_partition
from pipelines.use_case import ColumnType, Join, features_table, source_table, value_text
from pipelines.workspace import StageRun, write_bytes

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
    """What the Spark job is told: `uri` is the plan file, `area` where its output is staged; `period` is what it is of."""

    uri: str
    area: str
    rows_expected: int
    period: str


def plan(run: StageRun) -> FeaturePlan:
    """Pin the input files and write the job's plan.

    Raises:
        PermanentError: the entity's partition, or another one that it stands on, is not published.
    """
    spec, table = run.use_case.features, features_table(run.use_case)
    if absent := missing(run):
        raise PermanentError(f"{run}: {'; '.join(absent)}")
    published, latest = run.lake.partitions(source_table(run.use_case, spec.entity)), latest_outcomes(run)
    files = chosen_files(run, latest)
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
        "latest": {key: at and at.isoformat() for key in files[run.use_case.label.source] for at in [latest.get(key)]},
        "rows": rows,
        "output": f"{run.lake.uri(table)}/{area}",
    }
    uri = f"{run.lake.uri(table)}/plans/{run.key}-{area.rsplit('/', 1)[-1]}.json"
    write_bytes(uri, json.dumps(document, indent=1).encode())
    return FeaturePlan(uri, area, sum(rows.values()), run.key)


def _input(run: StageRun, table: str, files: Files) -> dict[str, Any]:
    columns = {
        column: {"type": SPARK_TYPES[declared.type], "default": value_text(declared.default), "nullable": declared.nullable}
        for column, declared in run.use_case.contract[table].columns.items()
    }
    name = source_table(run.use_case, table)
    version = run.lake.version(name) if run.lake.exists(name) else None  # outcomes come later than the first features
    known = {"version": version, "files": files, "contents": contents(run, table, files)}
    source = run.use_case.sources[table]
    return {**known, "columns": columns, "snapshot": source.snapshot, "when": source.timing}


def _known(run: StageRun, table: str, files: Files) -> dict[str, Any] | None:
    """From which midnight a row is known: by its own moment or day, and not before `from`. None is always."""
    source, label = run.use_case.sources[table], run.use_case.label
    if table == label.source:
        return {"column": label.known_at, "from": counts_from(run, table, files)}
    if source.snapshot or source.forecast or table not in (join.table for join in run.use_case.features.joins):
        return None
    return {"column": source.time_column, "days": 1 + source.available_days, "from": counts_from(run, table, files)}


def _join(run: StageRun, join: Join, keys: list[str]) -> dict[str, Any]:
    """As declared, with the oldest and the newest partition, or version, that the rows of each partition see (`reach`)."""
    reach = {key: (run.use_case.partition(key).back_to(join.lookback_days)[0].key, key) for key in keys}
    if run.use_case.sources[join.table].snapshot:
        reach = {key: (str(version), str(version)) for key, version in versions_known(run, join.table).items()}
    columns = {name: within_partition(text, but_for_ranges=True) for name, text in join.columns.items()}
    return {"table": join.table, "match": join.match, "columns": columns, "reach": reach}
