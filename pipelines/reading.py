"""A source's file as typed rows: decoded strictly, cast column by column, every row accounted for."""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from typing import Any

from pipelines import files
from pipelines.config import Source
from pipelines.contract import ColumnType, Contract
from pipelines.errors import PermanentError

ROW = "_row"
_MAX_COLUMNS_SHOWN = 8


@dataclass(frozen=True)
class Reading:
    """Typed rows (Arrow, with the file's row number), rejected rows (`row`, `rule`, `value`, `text`), and the counts."""

    rows: Any
    rejects: list[dict[str, Any]]
    rows_in: int
    digest: str
    changes: tuple[str, ...]


def read_source(uri: str, source: Source, contract: Contract, where: str) -> Reading:
    """Read a file as its contract declares it.

    Raises:
        PermanentError: the file is missing, empty, truncated, not in its encoding or lacks a column; says which.
    """
    try:
        data = files.read_bytes(uri)
    except PermanentError as error:
        raise PermanentError(f"{where}: the source file is missing ({error}); ask its owner, then run again") from None
    text, changes = _decode(data, uri, source, where)
    header, rows, ragged = _split(text, source, uri, where)
    changes += _compare_header(header, contract, source, uri, where)
    typed, rejects = _cast(rows, header, contract)
    for number, line in ragged:
        rejects.append({"row": number, "rule": "row.columns", "value": "", "text": line})
    digest = hashlib.sha256(data).hexdigest()
    return Reading(typed, rejects, rows.num_rows + len(ragged), digest, tuple(changes))


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


def _split(text: bytes, source: Source, uri: str, where: str) -> tuple[list[str], Any, list[tuple[int, str]]]:
    """Header, the rows as strings (Arrow, with row numbers), and the rows with too few or too many fields."""
    import pyarrow as pa
    import pyarrow.csv

    ragged: list[tuple[int, str]] = []

    def keep(row: Any) -> str:
        ragged.append((row.number or 0, row.text))
        return "skip"

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
    bad = sorted(number for number, _ in ragged)
    return header, rows.append_column(ROW, pa.array(_numbers(rows.num_rows, bad), pa.int64())), ragged


def _numbers(count: int, without: list[int]) -> list[int]:
    """Line numbers in the file (the header is line 1) of the rows that were read."""
    skipped = set(without)
    found, line = [], 2
    while len(found) < count:
        if line not in skipped:
            found.append(line)
        line += 1
    return found


def _compare_header(header: list[str], contract: Contract, source: Source, uri: str, where: str) -> list[str]:
    missing = [n for n, c in contract.columns.items() if n not in header and c.default is None]
    extra = [n for n in header if n not in contract.columns]
    if missing and len(header) == 1:
        raise PermanentError(f"{where}: {uri} has one column only: is its delimiter really '{source.delimiter}'?")
    if missing:
        hints = [f"'{n}' is missing{_renamed(n, extra)}" for n in missing]
        raise PermanentError(
            f"{where}: {'; '.join(hints[:_MAX_COLUMNS_SHOWN])}. The source dropped or renamed it: mend the source, "
            "give the column a default in contract, or drop it from contract and features"
        )
    known = [n for n in contract.columns if n in header]
    changes = [f"{n}: a new column, not in the contract, was left out" for n in extra]
    if [n for n in header if n in contract.columns] != known:
        changes.append("columns: in another order than the contract's; read by name")
    return changes + [f"{n}: missing, filled with its default" for n in contract.columns if n not in header]


def _renamed(name: str, extra: list[str]) -> str:
    close = difflib.get_close_matches(name, extra, n=1, cutoff=0.5)
    return f" (renamed to '{close[0]}'?)" if close else ""


def _cast(rows: Any, header: list[str], contract: Contract) -> tuple[Any, list[dict[str, Any]]]:
    """Typed columns in the contract's order. A value that does not cast rejects its row, once, by its first rule."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns, bad = {}, {}
    for name, column in contract.columns.items():
        if name not in header:
            columns[name] = pa.array([column.default] * rows.num_rows, arrow_type(column.type))
            continue
        text = rows[name].combine_chunks()
        columns[name] = _typed(text, column.type)
        failed = pc.and_(pc.is_valid(text), pc.is_null(columns[name])).to_pylist()
        for index in (i for i, wrong in enumerate(failed) if wrong):
            bad.setdefault(index, (f"{name}.type", text[index].as_py()))
    keep = pa.array([i for i in range(rows.num_rows) if i not in bad], pa.int64())
    numbers = rows[ROW].to_pylist()
    rejects = [{"row": numbers[i], "rule": rule, "value": value, "text": as_text(rows, i)} for i, (rule, value) in bad.items()]
    return pa.table({**columns, ROW: rows[ROW].combine_chunks()}).take(keep), rejects


def as_text(rows: Any, index: int) -> str:
    """One row as JSON text, for the quarantine."""
    import json

    row = {name: rows[name][index].as_py() for name in rows.column_names if name != ROW}
    return json.dumps(row, default=str)


def arrow_type(kind: ColumnType) -> Any:
    import pyarrow as pa

    return {
        ColumnType.STRING: pa.string(),
        ColumnType.INTEGER: pa.int64(),
        ColumnType.NUMBER: pa.float64(),
        ColumnType.BOOLEAN: pa.bool_(),
        ColumnType.DATE: pa.date32(),
        ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    }[kind]


def _typed(text: Any, kind: ColumnType) -> Any:
    """Cast text; null where it does not cast. The fast path casts the whole column at once."""
    import pyarrow as pa

    if kind is ColumnType.STRING:
        return _without_nul(text)
    target = arrow_type(kind)
    try:
        return _plain(text, kind).cast(target)
    except pa.ArrowInvalid:
        return pa.array([_one(v, kind) for v in text.to_pylist()], target)


def _plain(text: Any, kind: ColumnType) -> Any:
    """Integers may arrive as '5.0'; times without a zone are refused, as nobody knows which one is meant."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind is ColumnType.INTEGER:
        return pc.cast(text, pa.float64()).cast(pa.int64())
    if kind is ColumnType.NUMBER:
        numbers = pc.cast(text, pa.float64())
        if not pc.all(pc.is_finite(numbers)).as_py() and pc.any(pc.invert(pc.is_finite(numbers))).as_py():
            raise pa.ArrowInvalid("not finite")
        return numbers
    return text


def _one(value: str | None, kind: ColumnType) -> Any:
    import pyarrow as pa

    if value is None:
        return None
    try:
        return _plain(pa.array([value]), kind).cast(arrow_type(kind))[0].as_py()
    except pa.ArrowInvalid:
        return None


def _without_nul(text: Any) -> Any:
    """Null where the text holds a NUL byte: no reader downstream agrees on what it means."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.match_substring(text, "\0"), pa.scalar(None, pa.string()), text)
