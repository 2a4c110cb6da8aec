"""Planted data faults: each is ingested for real, after two good days, and ends in its declared outcome.

A fault is a pure function of the good file's text. Refused: nothing at all is published, and the message names source and
column or rule. Published or quarantined: the tables' own counts add up to the rows that came in.
"""

from __future__ import annotations

import gzip
import io
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines import ingestion
from pipelines.errors import PermanentError
from pipelines.use_case import Contract, Grain, Partition, UseCase
from pipelines.validation import check as validation
from pipelines.workspace import StageRun, Workspace, files
from tests import synthetic
from tests.conftest import make_workspace

ROWS = 60  # with `max_rejected_share: 0.1` six may be rejected
DAY, DAYS_BEFORE = "2024-03-03", 2
SOURCES = ("shipments", "deliveries", "carriers")

Spoil = Callable[[bytes], bytes]
REFUSED = "refused"


@dataclass(frozen=True)
class Fault:
    """`spoil` changes the file's text, `packed` the gzip file around it, `place` what lies at the file's address.

    `outcome`: REFUSED, or the quarantined rows by rule; no rows at all means that everything is published. `says` must stand
    in the message of the refusal, or in the recorded warnings. `holds` looks at the published rows.
    """

    id: str
    outcome: str | dict[str, int]
    says: tuple[str, ...] = ()
    spoil: Spoil = bytes
    packed: Spoil = bytes
    place: str = "file"
    source: str = "shipments"
    contract: dict[str, Any] = field(default_factory=dict)
    declared: dict[str, Any] = field(default_factory=dict)
    holds: Callable[[pd.DataFrame], bool] = lambda rows: True


# how a file is spoiled -----------------------------------------------------------------------------------------------


def rows(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Spoil:
    """A change of the rows, all as text."""

    def spoil(text: bytes) -> bytes:
        return change(pd.read_csv(io.BytesIO(text), dtype=str, keep_default_na=False)).to_csv(index=False).encode()

    return spoil


def cells(column: str, *values: str) -> Spoil:
    """Other values of one column, in the rows from the third on."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[range(2, 2 + len(values)), column] = list(values)
        return frame

    return rows(change)


def everywhere(column: str, value: str) -> Spoil:
    return rows(lambda frame: frame.assign(**{column: value}))


def each(column: str, change: Callable[[str], str]) -> Spoil:
    return rows(lambda frame: frame.assign(**{column: frame[column].map(change)}))


def header(change: Callable[[bytes], bytes]) -> Spoil:
    """Another first line; the rows stay as they are."""

    def spoil(text: bytes) -> bytes:
        first, rest = text.split(b"\n", 1)
        return change(first) + b"\n" + rest

    return spoil


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Spoil:
    return lambda text: b"\n".join(change(text.rstrip(b"\n").split(b"\n"))) + b"\n"


def another_day(day: str, count: int = ROWS) -> Spoil:
    """Some rows, or all, are another day's."""
    return rows(lambda frame: frame.assign(ship_date=[day if i < count else d for i, d in enumerate(frame.ship_date)]))


def ten_times(text: bytes) -> bytes:
    return synthetic.parcels(Partition.parse(DAY, Grain.DAY), 10 * ROWS)[0].to_csv(index=False).encode()


def without(column: str) -> Spoil:
    return rows(lambda frame: frame.drop(columns=column))


def swapped(left: str, right: str) -> Spoil:
    return rows(lambda frame: frame.assign(**{left: frame[right], right: frame[left]}))


def copied(**changes: str) -> Spoil:
    """The third and the fourth row once more, at the end, perhaps with other values."""
    return rows(lambda frame: pd.concat([frame, frame.iloc[2:4].assign(**changes)]))


def earlier(hours: int) -> Callable[[str], str]:
    """Local time with the zone of another."""
    return lambda value: (pd.Timestamp(value) - pd.Timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def in_zone(value: str) -> str:
    """The same moment, written in another zone."""
    return pd.Timestamp(value).tz_convert("Asia/Tokyo").isoformat()


def flipped(data: bytes) -> bytes:
    """One byte in the middle is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def has_carrier(text: str) -> Callable[[pd.DataFrame], bool]:
    return lambda found: text in set(found.carrier)


FREE_TEXT = {"columns": {"carrier": {"pattern": None}}}
GARBAGE = bytes(range(128, 256)) * 20

FILES = [
    Fault("missing-file", REFUSED, ("the source file is missing",), place="nothing"),
    Fault("directory-instead-of-file", REFUSED, ("the source file is missing",), place="directory"),
    Fault("missing-snapshot", REFUSED, ("the source file is missing",), place="nothing", source="carriers"),
    Fault("truncated-gzip", REFUSED, ("no complete gzip file",), packed=lambda data: data[: len(data) // 2]),
    Fault("gzip-without-its-end", REFUSED, ("no complete gzip file",), packed=lambda data: data[:-8]),
    Fault("corrupted-gzip", REFUSED, ("no complete gzip file",), packed=flipped),
    Fault("gzip-with-something-after-it", REFUSED, ("no complete gzip file",), packed=lambda data: data + b"more"),
    Fault("not-gzip", REFUSED, ("no complete gzip file",), packed=gzip.decompress),
    Fault("garbage", REFUSED, ("no complete gzip file",), packed=lambda _: GARBAGE),
    Fault("garbage-in-gzip", REFUSED, ("line 1 is not utf-8",), lambda _: GARBAGE),
    Fault("only-nul-bytes", REFUSED, ("is not readable as CSV",), lambda _: b"\0" * 500),
    Fault("no-bytes", REFUSED, ("is empty",), packed=lambda _: b""),
    Fault("empty", REFUSED, ("is empty",), lambda _: b""),
    Fault("only-blank-lines", REFUSED, ("is empty",), lambda _: b"\n \r\n\n"),
    Fault("header-only", REFUSED, ("holds a header and no row",), lines(lambda found: found[:1])),
    Fault("latin-1", REFUSED, ("line 4 is not utf-8",), lambda text: cells("carrier", "É")(text).decode().encode("latin-1")),
    Fault("utf-16", REFUSED, ("line 1 is not utf-8",), lambda text: text.decode().encode("utf-16")),
    Fault("byte-order-mark", {}, ("byte order mark was dropped",), lambda text: b"\xef\xbb\xbf" + text),
    Fault("semicolons", REFUSED, ("one column only", "delimiter really ','"), lambda text: text.replace(b",", b";")),
    Fault("tabs", REFUSED, ("one column only", "delimiter really ','"), lambda text: text.replace(b",", b"\t")),
    Fault("windows-line-ends", {}, (), lambda text: text.replace(b"\n", b"\r\n")),
    Fault("old-line-ends", REFUSED, ("carriage returns alone",), lambda text: text.replace(b"\n", b"\r")),
    Fault("blank-lines-at-the-end", {}, (), lambda text: text + b"\n\n\n"),
    Fault("no-line-end-at-the-end", {}, (), lambda text: text.rstrip(b"\n")),
    Fault("half-of-the-lines", REFUSED, ("invariant volume", "25 rows"), lines(lambda found: found[:26])),
    Fault("cut-within-a-row", {"row.columns": 1}, (), lines(lambda found: [*found[:50], found[50][:16]])),
]  # fmt: skip

HEADERS = [
    Fault("column-missing", REFUSED, ("'depot' is missing [needs a default; affected: depot]",), without("depot")),
    Fault("nullable-column-missing", REFUSED, ("'weight' is missing [needs a default",), without("weight")),
    Fault(
        "column-with-default-missing", {}, ("weight: missing, filled with its default",), without("weight"),
        contract={"columns": {"weight": {"default": 1.5}}}, holds=lambda found: bool((found.weight == 1.5).all()),
    ),
    Fault("key-missing", REFUSED, ("'shipment_id' is missing [breaking",), without("shipment_id")),
    Fault("label-missing", REFUSED, ("'delay' is missing", "the label"), without("delay"), source="deliveries"),
    Fault(
        "column-renamed", REFUSED, ("'depot' is missing (renamed to 'depot_name'?)",),
        header(lambda h: h.replace(b"depot", b"depot_name")),
    ),
    Fault(
        "header-in-capitals", REFUSED, ("'depot' is missing (renamed to 'Depot'?)",),
        header(lambda h: h.replace(b"depot", b"Depot")),
    ),
    Fault("columns-reordered", {}, ("in another order",), rows(lambda f: f[list(reversed(f.columns))])),
    Fault(
        "column-more", {}, ("colour: a new column, not in the contract, is kept aside",),
        rows(lambda f: f.assign(colour="red")),
    ),
    Fault("column-twice", REFUSED, ("has the column depot twice",), header(lambda h: h.replace(b"carrier", b"depot"))),
    Fault("no-header", REFUSED, ("'shipment_id' is missing",), lines(lambda found: found[1:])),
    Fault("header-twice", {"ship_date.type": 1}, (), lines(lambda found: [found[0], *found])),
    Fault("header-with-spaces", {}, (), header(lambda h: h.replace(b",", b" , "))),
    Fault("header-quoted", {}, (), header(lambda h: b'"' + h.replace(b",", b'","') + b'"')),
    Fault("header-with-a-comma-more", REFUSED, ("rule row.columns",), header(lambda h: h + b",")),
    Fault(
        "every-row-with-a-comma-more", REFUSED, ("rule row.columns",),
        lines(lambda found: [found[0], *(x + b"," for x in found[1:])]),
    ),
    Fault("values-swapped-of-two-texts", REFUSED, ("rule depot.values", "depot: its meaning"), swapped("depot", "carrier")),
    Fault("values-swapped-of-two-numbers", REFUSED, ("pieces.type", "pieces: its type"), swapped("distance", "pieces")),
]  # fmt: skip

VALUES = [
    Fault("row-with-too-few-fields", {"row.columns": 1}, (), lines(lambda found: [*found, b"2024-03-03-9999,2024-03-03"])),
    Fault(
        "row-with-too-many-fields", {"row.columns": 1}, (),
        lines(lambda found: [*found[:9], found[9] + b",1,2", *found[10:]]),
    ),
    Fault(
        "quote-not-closed", REFUSED, ("a quoted value runs over the end of its line",),
        lambda text: text.replace(b",north,", b',"north,', 1),
    ),
    Fault("line-break-in-a-value", REFUSED, ("a quoted value runs over the end of its line",), cells("carrier", "A\nA")),
    Fault("comma-in-a-value", {}, (), cells("carrier", "A, B"), contract=FREE_TEXT, holds=has_carrier("A, B")),
    Fault("quote-in-a-value", {}, (), cells("carrier", 'A "B"'), contract=FREE_TEXT, holds=has_carrier('A "B"')),
    Fault(
        "letters-of-all-scripts", {}, (), cells("carrier", "Žižkov 東京 🚂"), contract=FREE_TEXT,
        holds=has_carrier("Žižkov 東京 🚂"),
    ),
    Fault("formula-as-text", {}, (), cells("carrier", "=cmd()"), contract=FREE_TEXT, holds=has_carrier("=cmd()")),
    Fault("formula", {"carrier.pattern": 2}, (), cells("carrier", "=cmd|' /C calc'!A0", "@SUM(A1)")),
    Fault("pattern-broken", {"carrier.pattern": 3}, (), cells("carrier", "aa", "AAA", "A1")),
    Fault("key-with-a-space", {"shipment_id.pattern": 1}, (), cells("shipment_id", "2024-03-03-0002 ")),
    Fault("absurdly-long-value", {"carrier.length": 1}, (), cells("carrier", "x" * 1_000_000), contract=FREE_TEXT),
    Fault("nul-byte", {"depot.type": 1}, (), cells("depot", "nor\0th")),
    Fault("nul-byte-in-the-key", {"shipment_id.type": 1}, (), cells("shipment_id", "2024-03-03-\0002")),
    Fault("type-wrong-in-one-row", {"distance.type": 1}, (), cells("distance", "far")),
    Fault(
        "type-wrong-in-all-rows", REFUSED, ("not one of 60 rows", "rule distance.type", "affected: distance"),
        everywhere("distance", "far"),
    ),
    Fault("type-wrong-in-a-third", REFUSED, ("rule distance.type", "distance: its type"), cells("distance", *["far"] * 20)),
    Fault("unknown-text-for-null", {"weight.type": 3}, (), cells("weight", "NULL", "N/A", "-")),
    Fault("not-finite", {"distance.type": 3}, (), cells("distance", "inf", "-Infinity", "NaN")),
    Fault("not-finite-where-null-is-allowed", {"weight.type": 2}, (), cells("weight", "NaN", "inf")),
    Fault("number-beyond-all", {"distance.type": 1}, (), cells("distance", "1e999")),
    Fault("negative-zero", {}, (), cells("distance", "-0.0"), holds=lambda found: bool((found.distance == 0).any())),
    Fault("decimal-comma", {"distance.type": 1}, (), cells("distance", "512,3")),
    Fault("thousands-with-commas", {"distance.type": 1}, (), cells("distance", "1,512.3")),
    Fault("whole-number-as-float", {}, (), each("pieces", lambda v: f"{v}.0")),
    Fault("fraction-in-whole-numbers", {"pieces.type": 1}, (), cells("pieces", "5.5")),
    Fault("fraction-in-all-whole-numbers", REFUSED, ("rule pieces.type",), each("pieces", lambda v: f"{v}.5")),
    Fault("beyond-2-to-the-53", {"pieces.range": 1}, (), cells("pieces", "9007199254740993")),
    Fault(
        "beyond-2-to-the-53-and-allowed", {}, (), cells("pieces", "9007199254740993"),
        contract={"columns": {"pieces": {"max": None}}}, holds=lambda found: 9007199254740993 in set(found.pieces),
    ),
    Fault("beyond-64-bits", {"pieces.type": 1}, (), cells("pieces", "99999999999999999999")),
    Fault("out-of-range", {"distance.range": 2}, (), cells("distance", "-0.1", "5000.1")),
    Fault("at-the-bounds", {}, (), cells("distance", "0", "5000")),
    Fault(
        "another-unit", REFUSED, ("rule distance.range", "distance: its meaning"),
        each("distance", lambda v: str(1000 * float(v))),
    ),
    Fault(
        "out-of-range-where-that-fails", REFUSED, ("rule pieces.range: 1 rows, such as line 4 with '99'",),
        cells("pieces", "99"), contract={"columns": {"pieces": {"severity": "fail"}}},
    ),
    Fault(
        "out-of-range-where-that-warns", {}, ("pieces.range: 1 rows",), cells("pieces", "99"),
        contract={"columns": {"pieces": {"severity": "warn"}}},
    ),
    Fault("null", {"pieces.not_null": 1}, (), cells("pieces", "")),
    Fault("null-in-all-rows", REFUSED, ("rule depot.not_null",), everywhere("depot", "")),
    Fault("null-in-the-key", {"shipment_id.not_null": 3}, (), cells("shipment_id", "", "", "")),
    Fault("null-in-all-keys", REFUSED, ("rule shipment_id.not_null",), everywhere("shipment_id", "")),
    Fault("exact-copies", {"key.unique": 2}, (), copied()),
    Fault("conflicting-copies", {"key.unique": 4}, (), copied(pieces="20")),
    Fault("the-whole-file-twice", REFUSED, ("60 of 120 rows", "rule key.unique"), rows(lambda f: pd.concat([f, f]))),
    Fault("one-key-in-all-rows", REFUSED, ("rule key.unique",), everywhere("shipment_id", "2024-03-03-0001")),
    Fault("category-unseen", {"depot.values": 1}, (), cells("depot", "west")),
    Fault("category-unseen-in-many", REFUSED, ("rule depot.values", "depot: its meaning"), cells("depot", *["west"] * 9)),
    Fault("category-in-capitals", REFUSED, ("rule depot.values",), each("depot", str.upper)),
    Fault(
        "rule-of-two-columns-broken", {"arrives_after_leaving": 1}, (), cells("delivered_at", "2024-03-02T00:00:00Z"),
        source="deliveries",
    ),
    Fault(
        "rule-of-two-columns-broken-in-all", REFUSED, ("rule arrives_after_leaving",),
        swapped("left_at", "delivered_at"), source="deliveries",
        contract={"columns": {"left_at": {"nullable": True}}},
    ),
    Fault(
        "snapshot-with-a-key-twice", REFUSED, ("snapshot", "rule key.unique"), lambda text: text + b"AA,1.0\n",
        source="carriers",
    ),
    Fault("snapshot-of-another-type", REFUSED, ("rule rating.type",), everywhere("rating", "good"), source="carriers"),
    Fault("snapshot-out-of-range", REFUSED, ("rule rating.range",), cells("rating", "50"), source="carriers"),
]  # fmt: skip

TIMES = [
    Fault("date-in-the-future", {"ship_date.partition": 1}, (), cells("ship_date", "2099-01-01")),
    Fault(
        "time-in-the-future", {"delivered_at.range": 1}, (), cells("delivered_at", "2099-01-01T00:00:00Z"), source="deliveries",
        contract={"columns": {"delivered_at": {"max": "2030-01-01T00:00:00Z"}}},
    ),
    Fault("no-such-date", {"ship_date.type": 2}, (), cells("ship_date", "2024-02-30", "2024-13-01")),
    Fault("dates-written-otherwise", REFUSED, ("rule ship_date.type",), everywhere("ship_date", "03/03/2024")),
    Fault("time-without-zone", {"left_at.type": 1}, (), cells("left_at", "2024-03-03T09:00:00"), source="deliveries"),
    Fault(
        "times-without-zone", REFUSED, ("rule left_at.type",), each("left_at", lambda v: v.rstrip("Z")),
        source="deliveries",
    ),
    Fault(
        "times-as-epoch-seconds", REFUSED, ("rule left_at.type",), everywhere("left_at", "1709456400"),
        source="deliveries",
    ),
    Fault(
        "times-of-another-zone-but-right", {}, (), each("left_at", in_zone), source="deliveries",
        holds=lambda found: set(found.left_at.dt.day) == {3},
    ),
    Fault(
        "times-of-a-wrong-zone", REFUSED, ("rule left_at.partition",), each("left_at", earlier(9)),
        source="deliveries", declared={"time_column": "left_at"},
    ),
    Fault("some-rows-of-another-day", {"ship_date.partition": 4}, (), another_day("2024-03-02", 4)),
    Fault("many-rows-of-another-day", REFUSED, ("rule ship_date.partition",), another_day("2024-03-02", 20)),
    Fault("all-rows-of-another-day", REFUSED, ("not one of 60 rows", "rule ship_date.partition"), another_day("2024-03-02")),
    Fault(
        "rows-not-fresh", REFUSED, ("rule left_at.freshness",), source="deliveries",
        contract={"freshness": {"column": "left_at", "max_gap": "PT6H"}},
    ),
]  # fmt: skip

AMOUNTS = [
    Fault("ten-times-the-rows", REFUSED, ("invariant volume is broken: 600 rows where 60 are usual",), ten_times),
    Fault(
        "a-tenth-of-the-rows", REFUSED, ("invariant volume is broken: 6 rows where 60 are usual",),
        rows(lambda f: f.head(6)),
    ),
    Fault("fewer-rows-than-the-least", REFUSED, ("4 good rows", "contract wants 5"), rows(lambda f: f.head(4))),
    Fault("more-rows-than-the-most", REFUSED, ("60 good rows", "to 50"), contract={"max_rows": 50}),
    Fault(
        "category-share-shifted", REFUSED, ("invariant depots is broken", "'north' in depot"),
        everywhere("depot", "north"),
    ),
    Fault("null-share-shifted", {}, ("weights: the share of 'null' in weight",), everywhere("weight", "")),
    Fault(
        "null-share-shifted-where-that-fails", REFUSED, ("invariant weights is broken", "in weight"), everywhere("weight", ""),
        contract={"invariants": [{"id": "weights", "measure": "null_share", "column": "weight", "max_change": 0.3}]},
    ),
]  # fmt: skip

CORPUS = [*FILES, *HEADERS, *VALUES, *TIMES, *AMOUNTS]


# the corpus ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good_days(tmp_path_factory: pytest.TempPathFactory, use_case: UseCase) -> Path:
    """A workspace with two good days ingested and a third one landed."""
    folder = tmp_path_factory.mktemp("good")
    workspace = make_workspace(folder)
    *before, day = synthetic.days(use_case, DAYS_BEFORE + 1)
    for partition in before:
        synthetic.arrive(workspace, partition, rows=ROWS)
        ingestion.ingest_all(StageRun(workspace, use_case, partition))
    assert day.key == DAY
    synthetic.arrive(workspace, day, rows=ROWS)
    return folder


@pytest.fixture
def yard_before(good_days: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(good_days, tmp_path, dirs_exist_ok=True)
    return make_workspace(tmp_path)


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    assert len(CORPUS) >= 40
    assert len({fault.id for fault in CORPUS}) == len(CORPUS)


def test_the_good_file_is_published_whole(yard_before: Workspace, use_case: UseCase) -> None:
    """What every fault starts from has none."""
    _assert_reconciled(
        yard_before, Fault("none", {}), ingestion.ingest_all(StageRun(yard_before, use_case, use_case.partition(DAY))), ROWS
    )


@pytest.mark.parametrize("fault", CORPUS, ids=lambda fault: fault.id)
def test_a_fault_ends_in_its_outcome(
    fault: Fault, yard_before: Workspace, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A quarter of each audit's time, and no outcome depends on it; the good days have their pages.
    monkeypatch.setattr(validation, "_page", lambda results: "")
    workspace, changed = yard_before, _changed(use_case, fault)
    count = _plant(workspace, fault)
    if fault.outcome != REFUSED:
        found = ingestion.ingest(StageRun(workspace, changed, use_case.partition(DAY)), fault.source)
        _assert_reconciled(workspace, fault, found, count)
        return
    before = _published(workspace)
    with pytest.raises(PermanentError) as refusal:
        ingestion.ingest(StageRun(workspace, changed, use_case.partition(DAY)), fault.source)
    keys = ("snapshot", DAY) if fault.source == "carriers" else (DAY,)
    assert str(refusal.value).startswith(tuple(f"parcels/{fault.source} {key}: " for key in keys))
    assert [words for words in fault.says if words not in str(refusal.value)] == [], refusal.value
    assert _published(workspace) == before


def _changed(use_case: UseCase, fault: Fault) -> UseCase:
    """The use case with the fault's contract and source declaration, validated again."""
    changes = dict(fault.contract)
    contract = use_case.contract[fault.source].model_dump(exclude_unset=True)
    for name, column in changes.pop("columns", {}).items():
        contract["columns"][name].update(column)
    source = use_case.sources[fault.source].model_copy(update=fault.declared)
    return use_case.model_copy(
        update={
            "contract": {**use_case.contract, fault.source: Contract.model_validate({**contract, **changes})},
            "sources": {**use_case.sources, fault.source: source},
        }
    )


def _plant(workspace: Workspace, fault: Fault) -> int:
    """Put the spoiled file where the good one lies; how many rows it has, for files that are published."""
    name = "carriers.csv" if fault.source == "carriers" else f"{fault.source}/{DAY}.csv.gz"
    path = Path(workspace.environment.landing) / "parcels" / name
    good = path.read_bytes()
    path.unlink()
    if fault.place == "directory":
        path.mkdir()
    if fault.place != "file":
        return 0
    zipped = path.suffix == ".gz"
    text = fault.spoil(gzip.decompress(good) if zipped else good)
    files.write_bytes(str(path), fault.packed(gzip.compress(text, mtime=0)) if zipped else text)
    return sum(1 for line in text.splitlines() if line.strip()) - 1


def _published(workspace: Workspace) -> dict[str, tuple[int, dict[str, int]]]:
    """Version and rows by partition of every table of the sources, also of quarantine and of columns kept aside."""
    tables = [f"parcels/{source}{more}" for source in SOURCES for more in ("", "_quarantine", "_unknown_columns")]
    return {t: (workspace.lake.version(t), workspace.lake.partitions(t)) for t in tables if workspace.lake.exists(t)}


def _assert_reconciled(workspace: Workspace, fault: Fault, results: list[Any], count: int) -> None:
    """What came in is what the tables hold, and each quarantined row says by which rule, with its source and its text."""
    assert isinstance(fault.outcome, dict)
    table = f"parcels/{fault.source}"
    result = next(r for r in results if r.table == table)
    held, aside = workspace.lake.partitions(table)[DAY], workspace.lake.partitions(f"{table}_quarantine").get(DAY, 0)
    assert (result.rows_in, result.rows_published, result.rows_quarantined) == (count, held, aside)
    assert count == held + aside
    assert aside == sum(fault.outcome.values())
    found = workspace.lake.read(table, [DAY]).to_pandas()
    assert len(found) == held
    assert fault.holds(found)
    rejects = workspace.lake.read(f"{table}_quarantine", [DAY]).to_pylist() if aside else []
    assert Counter(r["rule"] for r in rejects) == fault.outcome
    assert all(r["source"] == fault.source and r["text"] and r["row"] > 1 for r in rejects)
    warnings = workspace.lake.published(table, DAY).record.warnings or ""
    assert [words for words in fault.says if words not in warnings] == [], warnings
    assert bool(warnings) == bool(fault.says), warnings
