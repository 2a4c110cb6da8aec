"""One suite, two engines: the same rows break the same rules on pandas and on Spark, and nothing is skipped on either."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import ingestion
from pipelines.errors import PermanentError
from pipelines.use_case import ROW, Column, ColumnType, Contract, UseCase, arrow_type, rules
from pipelines.validation import check as validation
from pipelines.validation import spark as validation_spark
from pipelines.validation.check import Check
from pipelines.validation.patterns import java_pattern
from pipelines.workspace import SparkSettings, StageRun, Workspace
from tests import synthetic
from tests.conftest import make_workspace

SETTINGS = SparkSettings(
    operator="spark_submit",
    connection="spark_default",
    driver_memory="1g",
    properties={
        "spark.master": "local[2]",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.adaptive.enabled": "false",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    },
    dataproc=None,
)
NAN = float("nan")


@pytest.fixture(scope="module", autouse=True)
def one_session() -> Iterator[None]:
    """Every check below finds a session and leaves it running."""
    with validation_spark.session(SETTINGS):
        yield


def both(tmp_path: Path, rows: pa.Table, contract: Contract) -> tuple[Check, Check]:
    """The check on pandas, and on Spark over a file as the lake stages it."""
    file = str(tmp_path / "part-00000.parquet")
    pq.write_table(rows, file, compression="zstd", coerce_timestamps="us")
    on_spark = contract.model_copy(update={"spark_above_rows": 0})
    return (
        validation.check_rows(rows, contract, "here"),
        validation.check_staged(rows, [file], on_spark, "here", SETTINGS),
    )


def said(check: Check) -> tuple[int, list[Any]]:
    return check.evaluated, [(f.rule.id, f.rule.severity, f.rows, f.values, f.count) for f in check.failures]


def shown(check: Check) -> str:
    """The page without the moment of the run, and without the numbers that GX draws for its folds."""
    return re.sub(r"\d{8}T\d{6}\.\d+Z|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "", check.page)


def table(contract: Contract, **columns: list[Any]) -> pa.Table:
    """Rows numbered from 2 on, as in a file."""
    typed = {name: pa.array(columns[name], arrow_type(column.type)) for name, column in contract.columns.items()}
    count = len(next(iter(columns.values())))
    return pa.table({**typed, ROW: pa.array(range(2, count + 2), pa.int64())})


# all kinds of rules, all types ---------------------------------------------------------------------------------------

EVERYTHING = Contract.model_validate(
    {
        "key": ["id", "part"],
        "columns": {
            "id": {"type": "string", "pattern": r"^\d{2}-[a-f]$", "max_length": 4},
            "part": {"type": "integer", "min": 1, "max": 3},
            "word": {"type": "string", "pattern": "b+a", "max_length": 5, "severity": "warn"},
            "other": {"type": "string", "nullable": True, "pattern": r"\w", "max_length": 3},
            "depot": {"type": "string", "values": ["north", "süd", ""], "severity": "fail"},
            "whole": {"type": "integer", "min": 0, "max": 100},
            "maybe": {"type": "integer", "nullable": True, "min": -5, "values": ["7", "-5", "100"]},
            "size": {"type": "number", "min": 0, "max": 2.5},
            "rate": {"type": "number", "nullable": True, "max": 1e300, "values": ["2.5", "0", "1e300"]},
            "flag": {"type": "boolean", "values": ["true"]},
            "perhaps": {"type": "boolean", "nullable": True, "values": ["false"]},
            "day": {"type": "date", "min": "2024-02-29", "max": "2024-03-01"},
            "last": {"type": "date", "nullable": True, "values": ["2024-03-01", "2261-12-31"]},
            "begin": {"type": "timestamp", "min": "2024-03-01T00:00:00+01:00", "max": "2024-03-02"},
            "end": {"type": "timestamp", "nullable": True, "values": ["2024-03-01T12:00:00Z"]},
        },
        "rules": [
            {"id": "days", "left": "day", "operator": "<=", "right": "last"},
            {"id": "times", "left": "begin", "operator": "<", "right": "end", "severity": "warn"},
            {"id": "same_whole", "left": "whole", "operator": "==", "right": "maybe"},
            {"id": "same_word", "left": "word", "operator": "==", "right": "other", "severity": "fail"},
            {"id": "words", "left": "word", "operator": "<", "right": "other"},
            {"id": "sizes", "left": "size", "operator": "<=", "right": "rate"},
            {"id": "mixed", "left": "whole", "operator": "<", "right": "rate"},
            {"id": "flags", "left": "flag", "operator": "==", "right": "perhaps"},
            {"id": "same_end", "left": "begin", "operator": "==", "right": "end"},
        ],
    }
)
MOMENTS = [
    datetime(2024, 2, 29, 23, 0, tzinfo=UTC),
    datetime(2024, 2, 29, 22, 59, 59, 999_999, tzinfo=UTC),
    datetime(2024, 3, 1, 12, 0, tzinfo=UTC),
    datetime(2024, 3, 2, 0, 0, tzinfo=UTC),
    datetime(2024, 3, 2, 0, 0, 0, 1, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    None,
]
DAYS = [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1), date(2024, 3, 2), date(1, 1, 1), date(9999, 12, 31), None]
WORDS = [
    "",
    " ",
    "ba",
    "xbba",
    "baton-rouge",
    "ab",
    "BA",
    "ba\n",
    "\n",
    "žba",
    "東京",
    "🚂🚃",
    "é",
    "é",
    "0",
    "null",
    "NaN",
    None,
]
POOLS: dict[str, list[Any]] = {
    "id": ["01-a", "01-b", "02-c", "٠١-a", "01-a\n", "1-a", "", "01-g", None],
    "part": [1, 1, 2, 3, 0, 4, None],
    "word": WORDS,
    "other": WORDS,
    "depot": ["north", "süd", "", "su\u0308d", "North", "x" * 201, None],
    "whole": [0, -1, 100, 101, 7, 2**53, -(2**62), None],
    "maybe": [7, -5, -6, 100, 0, None],
    "size": [0.0, -0.0, -1e-300, 2.5, 2.5000000001, NAN, float("inf"), None],
    "rate": [2.5, 0.0, -0.0, 1e300, 1e301, NAN, float("-inf"), None],
    "flag": [True, False, None],
    "perhaps": [True, False, None],
    "day": DAYS,
    "last": DAYS,
    "begin": MOMENTS,
    "end": MOMENTS,
}


def drawn(count: int, seed: int) -> pa.Table:
    rng = random.Random(seed)
    return table(EVERYTHING, **{name: rng.choices(pool, k=count) for name, pool in POOLS.items()})


@pytest.fixture(scope="module")
def checked(one_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Check, Check]:
    return both(tmp_path_factory.mktemp("drawn"), drawn(400, seed=1), EVERYTHING)


def test_every_rule_and_type_has_the_same_failures_on_both_engines(checked: tuple[Check, Check]) -> None:
    on_pandas, on_spark = checked
    assert said(on_spark) == said(on_pandas)
    assert on_pandas.evaluated == len(rules(EVERYTHING))
    assert [f.rule.id for f in on_pandas.failures] == [rule.id for rule in rules(EVERYTHING)], "a rule that nothing breaks"
    assert all(f.complete and len(f.values) == len(f.rows) for f in on_pandas.failures)
    assert shown(on_spark) == shown(on_pandas)


def test_the_failures_are_those_that_python_finds(checked: tuple[Check, Check]) -> None:
    """Two engines could agree and be wrong."""
    found = {f.rule.id: set(f.rows) for f in checked[1].failures}
    kept = drawn(400, seed=1).to_pylist()

    def broken(breaks: Any) -> set[int]:
        return {row[ROW] for row in kept if breaks(row)}

    low, high = datetime(2024, 2, 29, 23, tzinfo=UTC), datetime(2024, 3, 2, tzinfo=UTC)
    assert found["id.pattern"] == broken(lambda r: r["id"] is not None and not re.search(r"^\d{2}-[a-f]$", r["id"]))
    assert found["word.pattern"] == broken(lambda r: r["word"] is not None and not re.search("b+a", r["word"]))
    assert found["word.length"] == broken(lambda r: r["word"] is not None and len(r["word"]) > 5)
    assert found["size.not_null"] == broken(lambda r: r["size"] is None or r["size"] != r["size"])
    assert found["size.range"] == broken(lambda r: r["size"] is not None and (r["size"] < 0 or r["size"] > 2.5))
    assert found["begin.range"] == broken(lambda r: r["begin"] is not None and not low <= r["begin"] <= high)
    assert found["same_whole"] == broken(lambda r: None not in (r["whole"], r["maybe"]) and r["whole"] != r["maybe"])
    assert found["times"] == broken(lambda r: None not in (r["begin"], r["end"]) and not r["begin"] < r["end"])
    keys = [(r["id"], r["part"]) for r in kept]
    twice = broken(lambda r: (r["id"], r["part"]) != (None, None) and keys.count((r["id"], r["part"])) > 1)
    assert found["key.unique"] == twice


def test_a_good_table_has_no_failure_on_either_engine(tmp_path: Path) -> None:
    contract = Contract.model_validate(
        {"key": ["id"], "columns": {"id": {"type": "string"}, "n": {"type": "integer", "min": 0}}}
    )
    on_pandas, on_spark = both(tmp_path, table(contract, id=["a", "b", "ä"], n=[0, 1, 2]), contract)
    assert said(on_pandas) == said(on_spark) == (len(rules(contract)), [])
    assert shown(on_spark) == shown(on_pandas)


@pytest.mark.parametrize("kind", ["string", "integer", "number", "date", "timestamp"])
def test_a_key_of_one_column_is_unique_alike(kind: str, tmp_path: Path) -> None:
    pool = {
        "string": ["a", "a ", "A", "á", "á", "", "a"],
        "integer": [2**53, 2**53 + 1, 1, 1, 3],
        "number": [0.0, -0.0, 1.5, NAN, NAN, 2.0],
        "date": [date(2024, 1, 1), date(2024, 1, 1), date(1, 1, 1)],
        "timestamp": [MOMENTS[0], MOMENTS[1], MOMENTS[0]],
    }[kind]
    contract = Contract.model_validate({"key": ["k"], "columns": {"k": {"type": kind}}})
    on_pandas, on_spark = both(tmp_path, table(contract, k=[*pool, None, None]), contract)
    assert said(on_pandas) == said(on_spark)
    assert {f.rule.id for f in on_pandas.failures} == {"k.not_null", "key.unique"}


PATTERNS = [
    r"^\d{2}$", r"\d", r"^[A-Z]{2}$", "a|^b$", r"^.$", r"^.*$", "x", "^$", r"\Aab?\Z", r"^(ab)+$", r"^(?:a|b)*?c", r"[^a-z]",
    r"\D", r"^[^\d]+$", r"a{2,}", r"^(?!a)", r"\.", r"[\]\-\\^]", r"^[東-鿿]+$", "🚂", r"^\S+$", r"\bab\b", r"(?i)ab", r"(a)\1",
    "é$",
]  # fmt: skip
TEXTS = [
    "", "a", "ab", "abab", "aa", "b", "c", "abc", "AB", "AB\n", "AB\r", "AB\r\n", "AB\u2028", "AB\u0085", "ab\nAB", "12", "١٢",
    "1２", "12\n", "\n", "\r", ".", "]", "-", "\\", "^", "東京", "🚂", "🚂🚂", "é", "e\u0301", " ab ", "a_b", "x" * 3000,
    "ab" * 3000, None,
]  # fmt: skip


@pytest.mark.long
def test_patterns_mean_the_same_on_both_engines(tmp_path: Path) -> None:
    columns = {f"c{n}": Column(type=ColumnType.STRING, pattern=p, nullable=True) for n, p in enumerate(PATTERNS)}
    contract = Contract(key=("id",), columns={"id": Column(type=ColumnType.STRING), **columns})
    rows = table(contract, id=[str(n) for n in range(len(TEXTS))], **dict.fromkeys(columns, TEXTS))
    on_pandas, on_spark = both(tmp_path, rows, contract)
    assert said(on_spark) == said(on_pandas)
    broken = {f.rule.id: f.rows for f in on_spark.failures}
    for n, pattern in enumerate(PATTERNS):
        wanted = tuple(i + 2 for i, text in enumerate(TEXTS) if text is not None and not re.search(pattern, text))
        assert broken.get(f"c{n}.pattern", ()) == wanted, pattern


def test_only_patterns_that_java_understands_alike_are_given_to_it() -> None:
    for pattern in (r"\w", r"\s", r"\bx", "(?i)a", r"(a)\1", "(?m)^a", "(?<=a)b", r"(?s)."):
        assert java_pattern(pattern) is None
    for pattern in (r"^\d{4}-\d{2}-[A-Z0-9]{2}\d{1,4}-[A-Z]{3}$", "a|b", "[^x]+?"):
        assert java_pattern(pattern) is not None
    with pytest.raises(re.error):
        java_pattern("(")


# many failures -------------------------------------------------------------------------------------------------------


def test_of_very_many_failures_some_are_named_and_all_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "ALWAYS_NAMED", 5)
    monkeypatch.setattr(validation, "SAMPLE", 3)
    contract = Contract.model_validate(
        {
            "key": ["id"],
            "max_rejected_share": 0.5,
            "columns": {
                "id": {"type": "integer"},
                "few": {"type": "integer", "max": 0},
                "half": {"type": "integer", "max": 0},
                "most": {"type": "integer", "max": 0},
                "warned": {"type": "integer", "max": 0, "severity": "warn"},
            },
        }
    )

    def bad(count: int) -> list[int]:
        return [1] * count + [0] * (20 - count)

    rows = table(contract, id=list(range(12)) + list(range(8)), few=bad(5), half=bad(10), most=bad(11), warned=bad(6))
    for check in both(tmp_path, rows, contract):
        named = {f.rule.id: (f.count, len(f.rows), f.complete) for f in check.failures}
        assert named == {
            "few.range": (5, 5, True),
            "half.range": (10, 10, True),
            "most.range": (11, 3, False),
            "warned.range": (6, 3, False),
            "key.unique": (16, 16, True),
        }


# a check that did not happen -----------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> tuple[pa.Table, Contract]:
    contract = Contract.model_validate({"key": ["k"], "columns": {"k": {"type": "string", "pattern": "^[ab]$"}}})
    return table(contract, k=["a", "b", "c"]), contract


@pytest.mark.parametrize("planted", ["skipped", "failed without rows", "fewer rows named"])
def test_an_expectation_without_a_proper_result_on_spark_is_a_failure(
    planted: str, small: tuple[pa.Table, Contract], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = validation_spark.OnSpark.count

    def tampered(engine: Any, wanted: Any) -> Any:
        results = count(engine, wanted)
        if planted == "skipped":
            del results[1]
        elif planted == "failed without rows":
            results[0].success = False
        else:
            results[1].result["unexpected_count"] = 2
        return results

    monkeypatch.setattr(validation_spark.OnSpark, "count", tampered)
    with pytest.raises(PermanentError, match=r"rule k\.\w+ (was not evaluated|failed but names (no row|1 of 2 rows))"):
        both(tmp_path, *small)


@pytest.mark.parametrize("pattern", ["(", r"(\w)\2"])
def test_an_expectation_that_crashes_on_spark_is_a_failure(
    pattern: str, small: tuple[pa.Table, Contract], tmp_path: Path
) -> None:
    rows, contract = small
    pq.write_table(rows, tmp_path / "rows.parquet")
    # A contract's own check refuses such a pattern; this one came around it.
    column = Column(type=ColumnType.STRING).model_copy(update={"pattern": pattern})
    broken = contract.model_copy(update={"columns": {"k": column}, "spark_above_rows": 0})
    with pytest.raises(PermanentError, match=r"here: rule k\.pattern crashed: .*mend the rule"):
        validation.check_staged(rows, [str(tmp_path / "rows.parquet")], broken, "here", SETTINGS)


def test_an_expectation_that_crashes_while_spark_runs_is_a_failure(
    small: tuple[pa.Table, Contract], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark.sql import functions as F

    monkeypatch.setattr(validation_spark, "_matches", lambda column, regex: F.raise_error(F.lit("planted")).cast("boolean"))
    with pytest.raises(PermanentError, match=r"here: rule k\.\w+ crashed: .*mend the rule"):
        both(tmp_path, *small)


def test_a_column_that_the_files_lack_is_a_failure(small: tuple[pa.Table, Contract], tmp_path: Path) -> None:
    rows, contract = small
    pq.write_table(rows.rename_columns(["other", ROW]), tmp_path / "rows.parquet")
    on_spark = contract.model_copy(update={"spark_above_rows": 0})
    with pytest.raises(PermanentError, match=r"here: rule k\.not_null crashed"):
        validation.check_staged(rows, [str(tmp_path / "rows.parquet")], on_spark, "here", SETTINGS)


NOTICED = EVERYTHING.model_copy(
    update={
        "columns": {n: EVERYTHING.columns[n] for n in ("id", "part", "word", "other", "size", "whole", "maybe")},
        "rules": tuple(rule for rule in EVERYTHING.rules if rule.id in ("same_whole", "same_word")),
    }
)


# would the comparison notice? ----------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("planted", ["NaN is left as it is", "patterns are Java's", "patterns are anchored"])
def test_the_comparison_notices_a_difference(planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if planted == "NaN is left as it is":
        monkeypatch.setattr(validation_spark, "comparable", lambda frame: frame)
    elif planted == "patterns are Java's":
        monkeypatch.setattr(validation_spark, "_matches", lambda column, regex: column.rlike(regex))
    else:
        monkeypatch.setattr(validation_spark, "_matches", lambda column, regex: column.rlike(f"^(?:{regex})$"))
    try:
        on_pandas, on_spark = both(tmp_path, drawn(100, seed=3), NOTICED)
    except PermanentError:  # the rows that are counted are not those that are named
        return
    assert said(on_pandas) != said(on_spark)


# the session ---------------------------------------------------------------------------------------------------------


def test_a_running_session_is_used_and_left_running() -> None:
    from pyspark.sql import SparkSession

    before = SparkSession.getActiveSession()
    assert before is not None
    with validation_spark.session(SETTINGS) as spark:
        assert spark.sparkContext is before.sparkContext
        assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
    assert before.sparkContext._jsc is not None


def test_nothing_listens_beyond_this_machine() -> None:
    with validation_spark.session(SETTINGS) as spark:
        conf = spark.sparkContext.getConf()
        assert conf.get("spark.driver.bindAddress") == conf.get("spark.driver.host") == "127.0.0.1"
        assert conf.get("spark.ui.enabled") == "false"
        assert conf.get("spark.driver.memory") == "1g"


# write, audit, publish -----------------------------------------------------------------------------------------------


def test_ingestion_publishes_and_quarantines_the_same_on_both_engines(
    tmp_path: Path, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = use_case.partition("2024-03-01")
    rows = synthetic.parcels(day, 40)[0].astype(object)
    rows.loc[1, "depot"], rows.loc[2, "pieces"], rows.loc[3, "carrier"] = "west", 99, "ab"
    rows.loc[40] = rows.loc[7]
    spark_too = []
    real = validation_spark.on_spark
    monkeypatch.setattr(validation_spark, "on_spark", lambda *args: spark_too.append(args[0]) or real(*args))
    found = [
        _ingested(make_workspace(tmp_path / name), _above(use_case, count), day, rows)
        for name, count in (("p", 1000), ("s", 1))
    ]
    assert found[0] == found[1]
    assert len(found[0]["quarantine"]) == 4
    assert len(spark_too) == 2, "the check, and the one after the split"
    assert spark_too[0] != spark_too[1]


def _above(use_case: UseCase, count: int) -> UseCase:
    contract = use_case.contract["shipments"].model_copy(update={"spark_above_rows": count, "max_rejected_share": 0.2})
    return use_case.model_copy(update={"contract": {**use_case.contract, "shipments": contract}})


def _ingested(workspace: Workspace, use_case: UseCase, day: Any, rows: Any) -> dict[str, Any]:
    workspace = replace(workspace, environment=workspace.environment.model_copy(update={"spark": SETTINGS}))
    synthetic.put(workspace, "shipments", day, rows)
    landed = ingestion.land(StageRun(workspace, use_case, day), "shipments")
    ingestion.publish_all(
        StageRun(workspace, use_case, day), [ingestion.audit_all(StageRun(workspace, use_case, day), [landed])[0]]
    )[0]
    aside = workspace.lake.read("parcels/shipments_quarantine").drop_columns(["at"]).to_pylist()
    return {"rows": workspace.lake.read("parcels/shipments").to_pylist(), "quarantine": aside}


def test_a_flood_of_rejects_stops_the_partition_with_its_count(
    tmp_path: Path, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "ALWAYS_NAMED", 3)
    monkeypatch.setattr(validation, "SAMPLE", 3)
    day, workspace = use_case.partition("2024-03-01"), make_workspace(tmp_path)
    rows = synthetic.parcels(day, 40)[0]
    rows.loc[:29, "depot"] = "west"
    with pytest.raises(
        PermanentError, match=r"30 of 40 rows \(75\.0%\) break rule depot\.values, such as line \d+ with 'west'"
    ):
        _ingested(workspace, _above(use_case, 1000), day, rows)
    assert not workspace.lake.exists("parcels/shipments")


# contracts that the engines would take differently are refused -------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        {"type": "integer", "pattern": "1"},
        {"type": "string", "min": 1},
        {"type": "boolean", "max": 1},
        {"type": "date", "min": "yesterday"},
        {"type": "date", "min": 20240101},
        {"type": "timestamp", "max": "noon"},
        {"type": "integer", "values": ["one"]},
        {"type": "boolean", "values": ["yes"]},
        {"type": "number", "min": "low"},
    ],
)
def test_a_rule_that_does_not_suit_its_column_is_refused(column: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has no '|' is no "):
        Column.model_validate(column)


def test_columns_of_two_types_are_not_compared() -> None:
    columns = {"k": {"type": "string"}, "d": {"type": "date"}, "t": {"type": "timestamp"}}
    rule = {"id": "order", "left": "d", "operator": "<", "right": "t"}
    with pytest.raises(ValueError, match="rule order: 'd' is a date, 't' a timestamp"):
        Contract.model_validate({"key": ["k"], "columns": columns, "rules": [rule]})
