"""A source's file as typed rows: decoded strictly, cast column by column, every row accounted for."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.ingestion.arrival import Declaration
from pipelines.ingestion.schema_changes import judge_header, stop_or_report
from pipelines.use_case import ROW, Reject, Source, cast_rows, value_text
from pipelines.workspace import read_bytes

if TYPE_CHECKING:
    from pyarrow import Table
    from pyarrow.csv import InvalidRow

RAGGED = "row.columns"


@dataclass(frozen=True)
class Reading:
    """Typed rows with the file's row number, rejected rows, and the counts.

    `unknown_columns`: those that the contract does not know, as text with the row number; None where there are none.
    """

    rows: Table
    rejects: list[Reject]
    rows_in: int
    digest: str
    changes: tuple[str, ...]
    unknown_columns: Table | None = None


def read_source(uri: str, declaration: Declaration) -> Reading:
    """Read a file as its contract declares it.

    Raises:
        PermanentError: the file is missing, empty, truncated, not in its encoding or lacks a column; says which.
    """
    source, contract, where = declaration.source, declaration.contract, declaration.where
    try:
        data = read_bytes(uri)
    except (PermanentError, IsADirectoryError) as error:
        raise PermanentError(f"{where}: the source file is missing ({error}); ask its owner, then run again") from None
    text, changes = _decode(data, uri, source, where)
    header, rows, ragged = _split(text, source, uri, where)
    changes += _compare_header(header, declaration, uri)
    typed, rejects = cast_rows(rows, header, contract)
    rejects += [Reject(row=number, rule=RAGGED, value="", text=line) for number, line in ragged]
    extra = [name for name in header if name not in contract.columns]
    return Reading(
        rows=typed,
        rejects=rejects,
        rows_in=rows.num_rows + len(ragged),
        digest=hashlib.sha256(data).hexdigest(),
        changes=tuple(changes),
        unknown_columns=rows.select([ROW, *extra]) if extra else None,
    )


def reread(rejects: Sequence[Reject], declaration: Declaration) -> tuple[Table, list[Reject]]:
    """Quarantined rows, read again from their text as contract and source are declared now; and those that still fail."""
    import pyarrow as pa

    source, contract = declaration.source, declaration.contract
    lost = [r for r in rejects if _fields(r) is None]
    found = [(r.row, fields) for r in rejects if (fields := _fields(r)) is not None]
    columns = {ROW: pa.array([row for row, _ in found], pa.int64())}
    for name, column in contract.columns.items():
        texts = [value_text(fields.get(name, column.default)) for _, fields in found]
        columns[name] = pa.array([None if t in source.null_values else t for t in texts], pa.string())
    typed, broken = cast_rows(pa.table(columns), list(contract.columns), contract)
    return typed, lost + broken


def _fields(reject: Reject) -> dict[str, str | None] | None:
    """The row's values by column; None where it had too few or too many, so that nobody knows which is which."""
    if reject.rule == RAGGED:
        return None
    found = json.loads(reject.text)
    return found if isinstance(found, dict) else None


def _decode(data: bytes, uri: str, source: Source, where: str) -> tuple[bytes, list[str]]:
    if uri.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise PermanentError(f"{where}: {uri} is no complete gzip file ({error}); have it sent again") from None
    if not data.strip():
        raise PermanentError(f"{where}: {uri} is empty; have it sent again")
    changes = []
    if data.startswith(b"\xef\xbb\xbf"):
        data, changes = data[3:], ["file: a byte order mark was dropped"]
    try:
        text = data.decode(source.encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PermanentError(
            f"{where}: {uri} line {line} is not {source.encoding} ({error.reason}); "
            f"set sources encoding to what it is, or have it sent again"
        ) from None
    return text.encode(), changes


def _split(text: bytes, source: Source, uri: str, where: str) -> tuple[list[str], Table, list[tuple[int, str]]]:
    """Header, the rows as strings (Arrow, with row numbers), and the rows with too few or too many fields."""
    import pyarrow as pa
    import pyarrow.csv

    ragged: list[tuple[int, str]] = []

    def keep(row: InvalidRow) -> str:
        ragged.append((row.number or 0, row.text))
        return "skip"

    if b"\r" in text.strip() and b"\n" not in text:
        raise PermanentError(f"{where}: {uri} ends its lines with carriage returns alone; have it sent with line feeds")
    first = text.split(b"\n", 1)[0].decode().rstrip("\r")
    header = [name.strip().strip('"') for name in first.split(source.delimiter)]
    repeated = sorted({h for h in header if header.count(h) > 1})
    if repeated:
        raise PermanentError(f"{where}: {uri} has the column {', '.join(repeated)} twice; have it sent again")
    try:
        rows = pa.csv.read_csv(
            io.BytesIO(text),
            read_options=pa.csv.ReadOptions(use_threads=False, column_names=header, skip_rows=1, block_size=len(text) + 1),
            parse_options=pa.csv.ParseOptions(delimiter=source.delimiter, invalid_row_handler=keep),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=list(source.null_values)
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" not in str(error):
            raise PermanentError(f"{where}: {uri} is not readable as CSV ({error}); have it sent again") from None
        rows = pa.table({name: pa.array([], pa.string()) for name in header})
    if rows.num_rows == 0 and not ragged:
        raise PermanentError(f"{where}: {uri} holds a header and no row; have it sent again")
    if not source.multiline:
        _stop_at_open_quote(rows, ragged, uri, where)
    bad = sorted(number for number, _ in ragged)
    return header, rows.append_column(ROW, pa.array(_numbers(rows.num_rows, bad), pa.int64())), ragged


def _stop_at_open_quote(rows: Table, ragged: list[tuple[int, str]], uri: str, where: str) -> None:
    """A quote that is not closed on its line swallows the lines after it: they would be lost without being counted."""
    import pyarrow.compute as pc

    broken = [number for number, text in ragged if "\n" in text]
    for name in rows.column_names:
        found = pc.index(pc.match_substring(rows[name], "\n"), True).as_py()
        broken += [found + 2] if found >= 0 else []
    if broken:
        raise PermanentError(
            f"{where}: {uri}, near line {min(broken)}: a quoted value runs over the end of its line; have the file sent "
            "again, or set sources.multiline if values hold line breaks"
        )


def _numbers(count: int, without: list[int]) -> list[int]:
    """Line numbers in the file (the header is line 1) of the rows that were read."""
    skipped = set(without)
    found: list[int] = []
    line = 2
    while len(found) < count:
        if line not in skipped:
            found.append(line)
        line += 1
    return found


def _compare_header(header: list[str], declaration: Declaration, uri: str) -> list[str]:
    changes, where = judge_header(header, declaration.contract), declaration.where
    if len(header) == 1 and any(change.stops for change in changes):
        raise PermanentError(f"{where}: {uri} has one column only: is its delimiter really '{declaration.source.delimiter}'?")
    return stop_or_report(changes, where, declaration.impact_of)
