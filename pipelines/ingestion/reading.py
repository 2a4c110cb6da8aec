"""A source's file as typed rows, in batches: decoded and split strictly, cast column by column, every row accounted for."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from pipelines.errors import PermanentError
from pipelines.ingestion.arrival import Declaration
from pipelines.ingestion.parsing import LONGEST, Lines, OpenQuoteError, Record, records
from pipelines.ingestion.quarantining import QuarantinedRow, Reject
from pipelines.ingestion.schema_changes import judge_header, stop_or_report
from pipelines.use_case import ROW, cast_rows, fold, value_text
from pipelines.workspace import digest_of, open_stream

if TYPE_CHECKING:
    from pyarrow import Array, Schema, Table

RAGGED, NOT_AS_DECLARED = "row.columns", "row.format"
UNKNOWN = "_columns"  # what the contract does not know of a row, as one JSON object: no name of a file names a column inside
_ROWS, _CHARACTERS = 50_000, 32 * 2**20


@dataclass(frozen=True)
class Batch:
    """Typed rows with their line numbers, rejected rows, the text of all by line, and columns that the contract lacks."""

    rows: Table
    rejects: list[Reject]
    texts: dict[int, str]
    unknown_columns: Table


class Reading:
    """A file that is being read."""

    def __init__(self, text: TextIO, uri: str, digest: str, declaration: Declaration) -> None:
        self.uri, self.digest, self.declaration = uri, digest, declaration
        self.lines = Lines(text, declaration.source.multiline)
        self._records = records(self.lines, declaration.source)
        with self._readable():
            self.columns, self.header = self._read_header()
            self.changes = _compare_header(self.columns, declaration, uri)
        if self.marked:
            self.changes.insert(0, "file: a byte order mark was dropped")

    def _read_header(self) -> tuple[list[str], str]:
        """Names of the columns, and the text of the line that they were read from."""
        where = f"{self.declaration.where}: {self.uri}"
        _, text, fields = next(self._records, (0, "", None))
        self.marked = text.startswith("\ufeff")
        if not text.strip():
            raise PermanentError(f"{where} is empty; have it sent again")
        if self.marked:
            text = text[1:]
            _, text, fields = next(records(Lines(io.StringIO(text), True), self.declaration.source), (0, "", None))
        if fields is None and "\r" in text:
            raise PermanentError(f"{where} ends its lines with carriage returns alone; have it sent with line feeds")
        if fields is None or "\0" in text:
            why = "its first line is no header in the declared format"
            raise PermanentError(f"{where} is not readable as CSV: {why}; have it sent again")
        names = _names(fields)
        repeated = sorted({n for n in names if [fold(m) for m in names].count(fold(n)) > 1})
        if repeated:
            hint = "" if len(set(map(fold, repeated))) == len(repeated) else ", as capitals are not told apart"
            raise PermanentError(f"{where} has the column {', '.join(repeated)} twice{hint}; have it sent again")
        return names, text

    @property
    def unknown_columns(self) -> list[str]:
        return [name for name in self.columns if name not in self.declaration.contract.columns]

    def batches(self) -> Iterator[Batch]:
        """The rows, so many at a time that memory stays small.

        Raises:
            PermanentError: the file is truncated, not in its encoding, has an open quote, or has no row.
        """
        found: list[Record] = []
        size = rows = 0
        with self._readable():
            for record in self._records:
                found.append(record)
                size += len(record[1])
                if len(found) == _ROWS or size > _CHARACTERS:
                    yield _batch(self.columns, found, self.declaration)
                    found, size, rows = [], 0, rows + len(found)
        if not found and not rows:
            raise PermanentError(f"{self.declaration.where}: {self.uri} holds a header and no row; have it sent again")
        if found:
            yield _batch(self.columns, found, self.declaration)

    def texts(self, wanted: set[int]) -> dict[int, str]:
        """The text of records by their line."""
        with self._readable():
            return {line: text for line, text, _ in self._records if line in wanted}

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """What is wrong with the file as such, by name."""
        source, where = self.declaration.source, f"{self.declaration.where}: {self.uri}"
        line = self.lines.number
        try:
            yield
        except UnicodeDecodeError as error:
            line = self.lines.number + 1 + error.object[: error.start].count(b"\n")
            raise PermanentError(
                f"{where} line {line} is not {source.encoding} ({error.reason}); set sources encoding to what it is, or have "
                "it sent again"
            ) from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise PermanentError(f"{where} is no complete gzip file ({error}); have it sent again") from None
        except OpenQuoteError:
            line = self.lines.number - len(self.lines.taken) + 1
            raise PermanentError(
                f"{where}, near line {line}: a quoted value runs over the end of its line; have the file sent again, or set "
                f"sources.multiline if values hold line breaks (of {LONGEST:,} characters at most)"
            ) from None


@contextmanager
def open_source(uri: str, declaration: Declaration) -> Iterator[Reading]:
    """Open a file that is read as its contract declares it.

    Raises:
        PermanentError: the file is missing, empty, truncated, not in its encoding or lacks a column; says which.
        TransientError: the store did not answer.
    """
    try:
        stream = open_stream(uri)
    except PermanentError as error:
        raise PermanentError(
            f"{declaration.where}: the source file is missing ({error}); ask its owner, then run again"
        ) from None
    with stream:
        digest = digest_of(stream)
        unpacked = gzip.GzipFile(fileobj=stream) if uri.endswith(".gz") else stream
        # Lines end where a line feed is: a carriage return may be part of a value.
        text = io.TextIOWrapper(unpacked, encoding=declaration.source.encoding, newline="\n")
        yield Reading(text, uri, digest, declaration)


def reread(rows: Sequence[QuarantinedRow], declaration: Declaration) -> Batch:
    """Quarantined rows, parsed anew from their text as contract and source are declared now.

    Rows of before quarantines kept the file's own text have their values as JSON, and no header.
    """
    import pyarrow as pa

    found = [_batch([], [], declaration)]
    headers: dict[str | None, list[QuarantinedRow]] = {}
    for row in rows:
        headers.setdefault(row["header"], []).append(row)
    for header, group in headers.items():
        names = list(declaration.contract.columns) if header is None else _names(_fields(header, declaration) or ())
        values = [(r["row"], r["text"], _values(r, declaration)) for r in group]
        found.append(_batch(names, values, declaration))
    return Batch(
        rows=pa.concat_tables([batch.rows for batch in found]),
        rejects=[reject for batch in found for reject in batch.rejects],
        texts={},
        unknown_columns=pa.concat_tables([batch.unknown_columns for batch in found]),
    )


def _names(fields: Sequence[str | None]) -> list[str]:
    return [(name or "").strip() for name in fields]


def _fields(text: str, declaration: Declaration) -> Sequence[str | None] | None:
    """The fields of one record by itself; None where it is not strictly as declared."""
    try:
        found = list(records(Lines(io.StringIO(text), declaration.source.multiline), declaration.source))
    except OpenQuoteError:
        return None
    return found[0][2] if len(found) == 1 else None


def _values(row: QuarantinedRow, declaration: Declaration) -> Sequence[str | None] | None:
    if row["header"] is not None:
        return _fields(row["text"], declaration)
    if row["rule"] == RAGGED or not row["text"]:
        return None
    kept = json.loads(row["text"])
    return [value_text(kept.get(name, column.default)) for name, column in declaration.contract.columns.items()]


def _batch(names: Sequence[str], found: Sequence[Record], declaration: Declaration) -> Batch:
    import pyarrow as pa

    good = [(line, fields) for line, _, fields in found if fields is not None and len(fields) == len(names)]
    numbers = pa.array([line for line, _ in good], pa.int64())
    values = list(zip(*(fields for _, fields in good), strict=True)) or [()] * len(names)
    columns = dict(zip(names, values, strict=True))
    nulls = pa.array(declaration.source.null_values, pa.string())
    texts = {name: _text(columns[name], nulls) for name in declaration.contract.columns if name in columns}
    rows, broken = cast_rows(texts, numbers, declaration.contract)
    rejects = [Reject(row=line, rule=rule, value=value) for line, (rule, value) in broken.items()]
    for line, _, fields in found:
        if fields is None or len(fields) != len(names):
            rejects.append(Reject(row=line, rule=NOT_AS_DECLARED if fields is None else RAGGED, value=""))
    unknown = {name: columns[name] for name in names if name not in declaration.contract.columns}
    return Batch(
        rows=rows,
        rejects=rejects,
        texts={line: text for line, text, _ in found},
        unknown_columns=_unknown_columns(unknown, numbers),
    )


def _text(values: Sequence[str | None], nulls: Array) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.array(values, pa.string())
    return pc.if_else(pc.is_in(text, value_set=nulls), pa.scalar(None, pa.string()), text)


def unknown_schema() -> Schema:
    import pyarrow as pa

    return pa.schema([(ROW, pa.int64()), (UNKNOWN, pa.string())])


def _unknown_columns(columns: Mapping[str, Sequence[str | None]], numbers: Array) -> Table:
    """By line number; no row where there is no such column."""
    import pyarrow as pa

    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    texts = [json.dumps(row, ensure_ascii=False) for row in rows]
    return pa.table([numbers if columns else numbers.slice(0, 0), pa.array(texts, pa.string())], schema=unknown_schema())


def _compare_header(names: Sequence[str], declaration: Declaration, uri: str) -> list[str]:
    changes, where = judge_header(names, declaration.contract), declaration.where
    if len(names) == 1 and any(change.stops for change in changes):
        raise PermanentError(f"{where}: {uri} has one column only: is its delimiter really '{declaration.source.delimiter}'?")
    return stop_or_report(changes, where, declaration.impact_of)
