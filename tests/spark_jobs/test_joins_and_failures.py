"""What a stage joins is checked, counted and named; infinity is no value; and Spark's failures are explained.

Sources are ingested, planned over, built by the very job and published; one session for all.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from pyspark.sql import SparkSession

from pipelines import features, ingestion
from pipelines.errors import PermanentError
from pipelines.use_case import UseCase, features_table, read_use_case
from pipelines.use_case.features import Features
from pipelines.workspace import CommitRecord, StageRun
from spark_jobs import build_features as job
from tests import synthetic
from tests.conftest import USE_CASES, make_workspace

ROWS = 40
CARRIERS = "parcels/carriers"


@pytest.fixture
def run(tmp_path: Path, use_case: UseCase) -> StageRun:
    """A day that is ingested; it has no history yet, so no feature is of one."""
    found = StageRun(make_workspace(tmp_path), use_case, synthetic.days(use_case, 1)[0])
    synthetic.arrive(found.workspace, found.partition, rows=ROWS)
    ingestion.ingest_all(found)
    return featured(found, history=())


def featured(run: StageRun, **changes: Any) -> StageRun:
    """The run with other keys under `features`."""
    spec = Features.model_validate({**run.use_case.features.model_dump(), **changes})
    return StageRun(run.workspace, run.use_case.model_copy(update={"features": spec}), run.partition)


def with_feature(run: StageRun, expression: str) -> StageRun:
    return featured(run, expressions={**run.use_case.features.expressions, "extra": expression})


def publish(run: StageRun, spark: SparkSession) -> Any:
    """Plan, job and publication; a failure of the job is explained as its `main` does."""
    planned = features.plan(run)
    plan = json.loads(Path(planned.uri).read_text())
    tables = job.tables_of(spark, plan)
    entities = job.read(spark, plan["inputs"]["shipments"], [run.key])
    try:
        job.run(spark, plan, tables, entities)
    except Exception as error:
        raise SystemExit(job.explained(tables, entities, plan, error)) from None
    return features.publish(run, planned)


def republish(run: StageRun, table: str, key: str, rows: pa.Table) -> None:
    run.lake.publish(table, key, [run.lake.stage(table, key, rows)], CommitRecord(run="by hand"))


# joins ---------------------------------------------------------------------------------------------------------------


def refused(tmp_path: Path, change: Any) -> str:
    document = yaml.safe_load((USE_CASES / "parcels.yaml").read_text())
    change(document)
    (tmp_path / "parcels.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(PermanentError) as said:
        read_use_case(tmp_path / "parcels.yaml")
    return str(said.value)


def _key_of_two(document: dict[str, Any]) -> None:
    document["contract"]["carriers"]["columns"]["depot"] = {"type": "string"}
    document["contract"]["carriers"]["key"] = ["carrier", "depot"]


def _no_column(document: dict[str, Any]) -> None:
    document["features"]["joins"][0]["match"] = {"carier": "carrier"}


def _other_type(document: dict[str, Any]) -> None:
    document["features"]["joins"][0]["match"] = {"carrier": "pieces"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_key_of_two, "features.joins.0.match: 'depot' is part of the key of carriers, so without it a row finds several"),
        (_no_column, "features.joins.0.match: 'carier' is no column of carriers; did you mean 'carrier'?"),
        (_other_type, "features.joins.0.match: 'pieces' is a integer, carriers.carrier a string; cast one"),
    ],
)
def test_a_join_that_could_not_find_one_partner_is_refused(change: Any, says: str, tmp_path: Path) -> None:
    assert says in refused(tmp_path, change)


def test_a_join_that_multiplies_rows_is_named_with_key_and_example(run: StageRun, spark: SparkSession) -> None:
    """The table was published under another key, say: the job finds what no configuration shows."""
    rows = run.lake.read(CARRIERS).drop_columns(["partition"])
    republish(run, CARRIERS, "snapshot", pa.concat_tables([rows, rows.slice(0, 1)]))
    says = "join carriers multiplies rows: its key carrier is there more than once, such as carrier=AA"
    with pytest.raises(SystemExit, match=says):
        publish(run, spark)
    assert not run.lake.exists(features_table(run.use_case))


def test_types_that_differ_behind_an_expression_are_refused_with_both(run: StageRun, spark: SparkSession) -> None:
    joins = [{"table": "carriers", "match": {"carrier": "pieces + 1"}, "columns": {"rating": "rating"}}]
    with pytest.raises(SystemExit, match=r"join carriers: 'pieces \+ 1' is a bigint, carriers.carrier a string; cast one"):
        publish(featured(run, joins=joins), spark)


def without_partner(run: StageRun, most: float | None) -> tuple[StageRun, int]:
    """The carrier BB is in the reference data no more."""
    rows = run.lake.read(CARRIERS).drop_columns(["partition"])
    republish(run, CARRIERS, "snapshot", rows.filter(pc.not_equal(rows["carrier"], "BB")))
    count = run.lake.read("parcels/shipments")["carrier"].to_pylist().count("BB")
    joins = [{**run.use_case.features.joins[0].model_dump(), "max_unmatched_share": most}]
    return featured(run, joins=joins), count


def test_rows_without_a_partner_are_counted_and_published(run: StageRun, spark: SparkSession) -> None:
    changed, count = without_partner(run, None)
    assert count > 0
    publish(changed, spark)
    commit = run.lake.published(features_table(run.use_case), run.key)
    assert commit is not None
    assert commit.record.unmatched == f"carriers: {count} of {ROWS}"
    assert run.lake.read(features_table(run.use_case)).column("rating").null_count == count


def test_more_rows_without_a_partner_than_declared_are_refused(run: StageRun, spark: SparkSession) -> None:
    changed, count = without_partner(run, 0.1)
    says = rf"parcels/features 2024-03-01: {count} of {ROWS} rows find no partner in carriers, more than 10.0%"
    with pytest.raises(PermanentError, match=says):
        publish(changed, spark)
    assert not run.lake.exists(features_table(run.use_case))


def test_a_job_that_left_no_counts_is_not_believed(run: StageRun, spark: SparkSession, monkeypatch: Any) -> None:
    monkeypatch.setattr("pipelines.features.features.JOINS", "elsewhere")
    with pytest.raises(PermanentError, match="the Spark job left no count of rows without a partner"):
        publish(run, spark)


# values that are none ------------------------------------------------------------------------------------------------


def test_infinity_is_named_with_feature_and_row(run: StageRun, spark: SparkSession) -> None:
    infinite = with_feature(run, "case when pieces = 1 then double('infinity') else weight end")
    says = r"extra is infinite in \d+ rows, such as shipment_id 2024-03-01-\d{4}; guard the division"
    with pytest.raises(PermanentError, match=says):
        publish(infinite, spark)


@pytest.mark.parametrize("nothing", ["null", "double('nan')"])
def test_a_feature_without_any_value_is_named(nothing: str, run: StageRun, spark: SparkSession) -> None:
    with pytest.raises(PermanentError, match="no value at all in extra; look at its source and its join"):
        publish(with_feature(run, f"cast({nothing} as double)"), spark)


def test_a_feature_that_may_have_no_value_in_a_whole_partition_stops_nothing(run: StageRun, spark: SparkSession) -> None:
    empty = with_feature(run, "cast(null as double)")
    spec = empty.use_case.features.model_copy(update={"sparse": ("extra",)})
    publish(replace(empty, use_case=empty.use_case.model_copy(update={"features": spec})), spark)
    assert run.lake.read(features_table(run.use_case))["extra"].null_count > 0


def test_a_finite_feature_passes(run: StageRun, spark: SparkSession) -> None:
    publish(with_feature(run, "case when pieces = 1 then double('nan') else distance / nullif(pieces, 0) end"), spark)
    found = run.lake.read(features_table(run.use_case))["extra"].to_pylist()
    assert any(math.isnan(value) for value in found)


# why it failed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("distance / (pieces - pieces)", r"feature extra = distance / \(pieces - pieces\): \[DIVIDE_BY_ZERO\]"),
        ("distance / nope", r"feature extra = distance / nope: \[UNRESOLVED_COLUMN"),
        ("distance +", r"feature extra = distance \+: \[PARSE_SYNTAX_ERROR\]"),
        ("cast(carrier as int)", r"feature extra = cast\(carrier as int\): \[CAST_INVALID_INPUT\]"),
        ("element_at(array(1), int(pieces + 1))", r"feature extra = element_at.*: \[INVALID_ARRAY_INDEX_IN_ELEMENT_AT\]"),
    ],
)
def test_the_failing_feature_is_named_with_expression_and_error(
    expression: str, says: str, run: StageRun, spark: SparkSession
) -> None:
    with pytest.raises(SystemExit, match=says) as failed:
        publish(with_feature(run, expression), spark)
    assert "\n" not in str(failed.value)
    assert "at org.apache" not in str(failed.value)


def test_the_row_that_fails_is_named(run: StageRun, spark: SparkSession) -> None:
    """Of forty rows one divides by zero: that very one is shown."""
    expression = "distance / if(shipment_id = '2024-03-01-0023', 0, pieces)"
    with pytest.raises(SystemExit, match=r'such as for \{"shipment_id":"2024-03-01-0023"'):
        publish(with_feature(run, expression), spark)


def test_a_failing_column_of_a_join_is_named(run: StageRun, spark: SparkSession) -> None:
    joins = [{"table": "carriers", "match": {"carrier": "carrier"}, "columns": {"rating": "rating / (rating - rating)"}}]
    with pytest.raises(SystemExit, match=r"join carriers, column rating = rating / \(rating - rating\): \[DIVIDE_BY_ZERO\]"):
        publish(featured(run, joins=joins), spark)


@pytest.mark.long
def test_the_explanation_stands_before_any_frame(run: StageRun) -> None:
    """The job as a process, as the stage runs it."""
    failing = with_feature(run, "distance / (pieces - pieces)")
    with pytest.raises(PermanentError) as failed:
        features.build(run.workspace, features.plan(failing))
    said = str(failed.value)
    assert "the Spark job failed: feature extra = distance / (pieces - pieces): [DIVIDE_BY_ZERO]" in said
    assert 'such as for {"shipment_id"' in said
    assert "SparkErrorUtils" not in said
