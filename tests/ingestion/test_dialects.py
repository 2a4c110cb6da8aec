"""Any table, written as CSV in any dialect that can be declared, comes out with every value unchanged, or rejected by line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines import ingestion
from pipelines.use_case import Contract, Source, UseCase
from pipelines.workspace import StageRun
from tests import synthetic
from tests.conftest import make_workspace

NULLABLE = {"nullable": True}
COLUMNS: dict[str, dict[str, Any]] = {
    "id": {"type": "string"},
    "text": {"type": "string", "max_length": 10**6, **NULLABLE},
    "whole": {"type": "integer", **NULLABLE},
    "number": {"type": "number", **NULLABLE},
    "yes": {"type": "boolean", **NULLABLE},
    "day": {"type": "date", **NULLABLE},
    "at": {"type": "timestamp", **NULLABLE},
}
CONTRACT = Contract.model_validate({"key": ["id"], "columns": COLUMNS, "max_rejected_share": 1.0})


@dataclass(frozen=True)
class Dialect:
    """What is declared of the file, and what its writer may choose: where it quotes, and how its lines end."""

    delimiter: str
    quote: str | None
    escape: str | None
    encoding: str
    multiline: bool
    always: bool
    end: str

    def field(self, value: str) -> str:
        """A value in the file: in quotes where it must be, or always."""
        special = {self.delimiter, self.quote, self.escape, "\n", "\r"} - {None}
        if self.quote is None:
            return "".join(f"{self.escape}{sign}" if sign in special else sign for sign in value)
        if not self.always and not special & set(value):
            return value
        if self.escape is None:
            return self.quote + value.replace(self.quote, 2 * self.quote) + self.quote
        signs = (f"{self.escape}{sign}" if sign in (self.quote, self.escape) else sign for sign in value)
        return self.quote + "".join(signs) + self.quote

    def holds(self, value: str) -> bool:
        """Whether the dialect has a way to write the value."""
        breaks = "\n" in value or ("\r" in value and self.quote is None)
        plain = self.quote is None and self.escape is None and self.delimiter in value
        return not plain and (not breaks or (self.multiline and self.quote is not None)) and encodes(value, self.encoding)


def encodes(value: str, encoding: str) -> bool:
    try:
        return value.encode(encoding).decode(encoding) == value
    except UnicodeError:
        return False


DIALECTS = st.builds(
    Dialect,
    delimiter=st.sampled_from([",", ";", "\t", "|", " ", "~"]),
    quote=st.sampled_from(['"', "'", None]),
    escape=st.sampled_from([None, "\\", "^"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"]),
    multiline=st.booleans(),
    always=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
NASTY = [
    "", " ", '"', "''", '""', "\\", '\\"', "\\\\", "a,b", "NA", "null", "=1+1", "\ufeff", "\0", "\r", "\n", "\r\n", "\x1a",
    "\u2028", "0.1", "1e5", "é", "🚂", "e\u0301", "#", "^", "a\tb", "a|b", "x" * 5000,
]  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.sampled_from("ab\"'\\^,;\t|~ \n\r"), max_size=8),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
ROWS = st.fixed_dictionaries(
    {
        "text": TEXTS,
        "whole": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**53 + 1, -(2**53) - 1, 2**64])),
        "number": st.one_of(st.none(), st.floats()),
        "yes": st.one_of(st.none(), st.booleans()),
        "day": st.one_of(st.none(), st.dates()),
        "at": st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
    }
)


def written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def is_good(row: dict[str, Any]) -> bool:
    """Whether every value is one of its column's type, that every stage can carry."""
    far = [row[name] for name in ("day", "at") if row[name] and not 1678 <= row[name].year <= 2261]
    late = row["at"] and row["at"].year == 2261 and row["at"] > datetime(2261, 12, 31, tzinfo=UTC)
    fits = row["whole"] is None or abs(row["whole"]) < 2**63 or row["whole"] == -(2**63)
    return not far and not late and fits and "\0" not in row["text"] and (row["number"] is None or math.isfinite(row["number"]))


def file_of(rows: list[dict[str, Any]], dialect: Dialect) -> tuple[str, list[int]]:
    """The file's text, and the line that each row begins at, as an editor counts."""
    text, lines = dialect.delimiter.join(COLUMNS) + dialect.end, []
    for number, row in enumerate(rows):
        lines.append(text.count("\n") + 1)
        values = [f"row{number}", *(written(row[name]) for name in list(COLUMNS)[1:])]
        text += dialect.delimiter.join(map(dialect.field, values)) + dialect.end
    return text, lines


def check(rows: list[dict[str, Any]], dialect: Dialect, folder: Path, use_case: UseCase, whole_pipeline: bool) -> None:
    rows = [row for row in rows if all(dialect.holds(written(value)) for value in row.values())]
    assume(rows)  # a file without a row is no case
    declared = Source.model_validate(
        {
            "uri": "{landing}/parcels/carriers.csv",
            "snapshot": True,
            **{name: getattr(dialect, name) for name in ("delimiter", "quote", "escape", "encoding", "multiline")},
        }
    )
    changed = use_case.model_copy(
        update={"sources": {**use_case.sources, "carriers": declared}, "contract": {**use_case.contract, "carriers": CONTRACT}}
    )
    run = StageRun(make_workspace(folder), changed, use_case.partition(synthetic.FIRST_DAY))
    text, lines = file_of([{"text": "", **dict.fromkeys(list(COLUMNS)[2:])}, *rows], dialect)
    synthetic.put(run.workspace, "carriers", run.partition, text.encode(dialect.encoding))
    landed = ingestion.land(run, "carriers")
    if whole_pipeline:
        ingestion.publish_all(run, ingestion.audit_all(run, [landed]))
        found = run.lake.read("parcels/carriers").to_pylist()
        bad = run.lake.read("parcels/carriers_quarantine").to_pylist() if landed.rows_rejected else []
    else:
        found = run.lake.read_staged("parcels/carriers", landed.staged).to_pylist()
        bad = run.lake.read_staged("parcels/carriers", [landed.rejects]).to_pylist()
    good = {row["_row"]: row for row in found}
    assert landed.rows_in == len(rows) + 1 == len(good) + len(bad)
    for number, (row, line) in enumerate(zip(rows, lines[1:], strict=True), 1):
        if not is_good(row):
            assert line in {reject["row"] for reject in bad}, row
            continue
        expected = {**row, "id": f"row{number}", "text": row["text"] or None}
        assert {name: good[line][name] for name in COLUMNS} == expected
        assert type(good[line]["day"]) in (date, type(None))


@settings(max_examples=60)
@given(rows=st.lists(ROWS, min_size=1, max_size=5), dialect=DIALECTS)
def test_every_value_is_unchanged_or_rejected_by_line(
    rows: list[dict[str, Any]], dialect: Dialect, tmp_path_factory: pytest.TempPathFactory, use_case: UseCase
) -> None:
    check(rows, dialect, tmp_path_factory.mktemp("dialect"), use_case, whole_pipeline=False)


@settings(max_examples=12)
@given(rows=st.lists(ROWS, min_size=1, max_size=20), dialect=DIALECTS)
def test_every_value_is_unchanged_when_it_is_published(
    rows: list[dict[str, Any]], dialect: Dialect, tmp_path_factory: pytest.TempPathFactory, use_case: UseCase
) -> None:
    check(rows, dialect, tmp_path_factory.mktemp("published"), use_case, whole_pipeline=True)


@pytest.mark.long
@pytest.mark.timeout(7200)
@settings(max_examples=10_000, derandomize=False)
@given(rows=st.lists(ROWS, min_size=1, max_size=5), dialect=DIALECTS)
def test_every_value_is_unchanged_or_rejected_by_line_in_ten_thousand_files(
    rows: list[dict[str, Any]], dialect: Dialect, tmp_path_factory: pytest.TempPathFactory, use_case: UseCase
) -> None:
    check(rows, dialect, tmp_path_factory.mktemp("long"), use_case, whole_pipeline=False)
