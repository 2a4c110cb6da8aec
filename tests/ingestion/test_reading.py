"""A source's file as typed rows: every defect is named, every row is either typed or rejected."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.errors import PermanentError
from pipelines.ingestion.arrival import Declaration
from pipelines.ingestion.quarantining import Reject
from pipelines.ingestion.reading import open_source
from pipelines.use_case import Contract, Source

CONTRACT = Contract.model_validate(
    {
        "key": ["id"],
        "columns": {
            "id": {"type": "string"},
            "count": {"type": "integer", "nullable": True},
            "size": {"type": "number", "nullable": True},
            "day": {"type": "date", "nullable": True},
            "at": {"type": "timestamp", "nullable": True},
            "ok": {"type": "boolean", "nullable": True},
            "kind": {"type": "string", "nullable": True, "default": "plain"},
        },
    }
)
WHERE = "parcels/shipments 2024-03-01"
HEADER = "id,count,size,day,at,ok,kind\n"
GOOD = "a,1,1.5,2024-03-01,2024-03-01T10:00:00Z,true,x\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@dataclass(frozen=True)
class Read:
    """All batches of a file as one."""

    rows: pa.Table
    rejects: list[Reject]
    rows_in: int
    changes: tuple[str, ...]
    texts: dict[int, str]


def read_source(uri: str, declaration: Declaration) -> Read:
    with open_source(uri, declaration) as reading:
        batches = list(reading.batches())
        rejects = [reject for batch in batches for reject in batch.rejects]
        texts = {line: text for batch in batches for line, text in batch.texts.items()}
        rows = pa.concat_tables([batch.rows for batch in batches])
        return Read(rows=rows, rejects=rejects, rows_in=len(texts), changes=tuple(reading.changes), texts=texts)


def read(folder: Path, data: str | bytes, contract: Contract = CONTRACT, name: str = "a.csv", **source: Any) -> Read:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return read_source(f"{folder}/{name}", Declaration(Source(uri="a.csv", **source), contract, WHERE))


def rows(reading: Read) -> list[dict[str, Any]]:
    return list(reading.rows.to_pylist())


def test_values_take_the_types_of_the_contract(folder: Path) -> None:
    found = read(folder, HEADER + GOOD)
    assert rows(found) == [
        {
            "id": "a", "count": 1, "size": 1.5, "day": date(2024, 3, 1), "at": datetime(2024, 3, 1, 10, tzinfo=UTC),
            "ok": True, "kind": "x", "_row": 2,
        }
    ]  # fmt: skip
    assert (found.rows_in, found.rejects, found.changes) == (1, [], ())


# files that are no good ----------------------------------------------------------------------------------------------

BROKEN = [
    ("empty", "", "a.csv", "is empty; have it sent again"),
    ("blank", "\n \n", "a.csv", "is empty; have it sent again"),
    ("header only", HEADER, "a.csv", "holds a header and no row"),
    ("truncated gzip", gzip.compress((HEADER + GOOD * 50).encode())[:-20], "a.csv.gz", "is no complete gzip file"),
    ("damaged gzip", gzip.compress(GOOD.encode())[:12] + b"\0\0\0\0\0", "a.csv.gz", "is no complete gzip file"),
    ("no gzip", GOOD, "a.csv.gz", "is no complete gzip file"),
    ("empty gzip", gzip.compress(b""), "a.csv.gz", "is empty"),
    ("wrong delimiter", (HEADER + GOOD).replace(",", ";"), "a.csv", "one column only: is its delimiter really ','"),
    ("wrong encoding", (HEADER + GOOD + GOOD.replace("x", "Zürich")).encode("latin-1"), "a.csv", "line 3 is not utf-8"),
    ("column twice", HEADER.replace("size", "count") + GOOD, "a.csv", "has the column count twice"),
    ("column missing", "id,count,day,at,ok,kind\na,1,2024-03-01,,,\n", "a.csv", r"'size' is missing"),
    ("column renamed", HEADER.replace("size", "sizes") + GOOD, "a.csv", r"'size' is missing \(renamed to 'sizes'\?\)"),
    ("key missing", HEADER.replace("id,", "") + GOOD.replace("a,1", "1"), "a.csv", "'id' is missing"),
    ("quote not closed", HEADER + GOOD + GOOD.replace(",x", ',"x') + GOOD, "a.csv", "near line 3: a quoted value runs over"),
    ("quote at the start", HEADER + GOOD + '"' + GOOD + GOOD, "a.csv", "near line 3: a quoted value runs over"),
]  # fmt: skip


@pytest.mark.parametrize(("_case", "data", "name", "message"), BROKEN, ids=[b[0] for b in BROKEN])
def test_a_file_that_is_no_good_is_refused_by_name(
    _case: str, data: str | bytes, name: str, message: str, folder: Path
) -> None:
    with pytest.raises(PermanentError, match=message) as refused:
        read(folder, data, name=name)
    assert str(refused.value).startswith("parcels/shipments 2024-03-01: ")


def test_a_missing_file_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(PermanentError, match=r"2024-03-01: the source file is missing \(.*none\.csv.*ask its owner"):
        read_source(f"{folder}/none.csv", Declaration(Source(uri="x"), CONTRACT, WHERE))


# differences that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ((HEADER + GOOD).replace("\n", "\r\n"), {}),
        ((HEADER + GOOD).rstrip("\n"), {}),
        (HEADER + "\n" + GOOD + "\n\n", {}),
        ((HEADER + GOOD).replace(",", ";"), {"delimiter": ";"}),
        ((HEADER + GOOD).encode("utf-16"), {"encoding": "utf-16"}),
        (HEADER + ",".join(f'"{v}"' for v in GOOD.strip().split(",")), {}),
        (HEADER + GOOD.replace(",1,", ",1.0,"), {}),
    ],
    ids=["CRLF", "no last line end", "blank lines", "delimiter", "encoding", "quotes", "whole float"],
)
def test_the_same_rows_in_another_dress_are_the_same_rows(data: str | bytes, options: dict[str, str], folder: Path) -> None:
    expected, found = rows(read(folder, HEADER + GOOD)), rows(read(folder, data, **options))
    assert [{**row, "_row": None} for row in found] == [{**row, "_row": None} for row in expected]


def test_a_byte_order_mark_is_dropped_and_said(folder: Path) -> None:
    found = read(folder, b"\xef\xbb\xbf" + (HEADER + GOOD).encode())
    assert rows(found)[0]["id"] == "a"
    assert found.changes == ("file: a byte order mark was dropped",)


def test_columns_in_another_order_are_read_by_name_and_said(folder: Path) -> None:
    found = read(folder, "count,id,size,day,at,ok,kind\n" + GOOD.replace("a,1,", "1,a,"))
    assert (rows(found)[0]["id"], rows(found)[0]["count"]) == ("a", 1)
    assert any("in another order" in change for change in found.changes)


def test_a_new_column_is_not_published_and_said(folder: Path) -> None:
    found = read(folder, HEADER.replace("\n", ",extra\n") + GOOD.replace("\n", ",7\n"))
    assert "extra" not in rows(found)[0]
    assert any(change.startswith("extra: a new column") for change in found.changes)


def test_a_column_with_a_default_may_be_missing_and_it_is_said(folder: Path) -> None:
    found = read(folder, HEADER.replace(",kind", "") + GOOD.replace(",x", ""))
    assert rows(found)[0]["kind"] == "plain"
    assert any("kind: missing, filled with its default" in change for change in found.changes)


def test_texts_that_mean_no_value_are_null(folder: Path) -> None:
    found = read(folder, HEADER + "a,NA,,NA,,,\n", null_values=["", "NA"])
    assert [rows(found)[0][name] for name in ("count", "size", "day", "kind")] == [None] * 4
    assert read(folder, HEADER + "a,NA,,,,,\n").rejects[0].rule == "count.type"


def test_values_may_hold_line_breaks_where_the_source_says_so(folder: Path) -> None:
    found = read(folder, HEADER + GOOD.replace("x", '"x\ny"') + GOOD, multiline=True)
    assert [r["kind"] for r in rows(found)] == ["x\ny", "x"]


# rows that are no good -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("count", "many"), ("count", "1.5"), ("count", "1e400"), ("count", "0x1F"), ("count", "nan"), ("count", "1\0"),
        ("size", "1,5"), ("size", "nan"), ("size", "inf"), ("day", "01.03.2024"), ("day", "2024-02-30"),
        ("at", "2024-03-01 10:00:00"), ("at", "yesterday"), ("ok", "perhaps"), ("kind", "a\0b"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_rejects_its_row_alone(column: str, value: str, folder: Path) -> None:
    broken = {"id": "b", "count": "1", "size": "1", "day": "", "at": "", "ok": "", "kind": "", column: value}
    line = ",".join(f'"{v}"' if "," in v else v for v in broken.values())
    found = read(folder, HEADER + GOOD + line + "\n" + GOOD)
    assert [(r.row, r.rule, r.value) for r in found.rejects] == [(3, f"{column}.type", value)]
    assert [r["_row"] for r in rows(found)] == [2, 4]
    assert found.rows_in == 3


def test_rows_with_too_few_or_too_many_fields_are_rejected_with_their_line(folder: Path) -> None:
    found = read(folder, HEADER + GOOD + "b,1\n" + GOOD + GOOD.strip() + ",y\n" + GOOD)
    assert [(r.row, r.rule) for r in found.rejects] == [(3, "row.columns"), (5, "row.columns")]
    assert found.texts[3] == "b,1"
    assert [r["_row"] for r in rows(found)] == [2, 4, 6]
    assert found.rows_in == 5


def test_a_row_with_two_defects_is_rejected_once(folder: Path) -> None:
    found = read(folder, HEADER + GOOD + "b,many,big,never,,,\n")
    assert [r.rule for r in found.rejects] == ["count.type"]


def test_a_long_whole_number_keeps_its_last_digits(folder: Path) -> None:
    found = read(folder, HEADER + "a,9007199254740993,,,,,\nb,5.0,,,,,\n")
    assert [r["count"] for r in rows(found)] == [9007199254740993, 5]


def test_a_file_of_defects_only_still_accounts_for_every_row(folder: Path) -> None:
    found = read(folder, HEADER + "a,many,,,,,\nb,1\n")
    assert (found.rows.num_rows, len(found.rejects), found.rows_in) == (0, 2, 2)
