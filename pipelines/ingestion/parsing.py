"""Text to records, strictly as the source declares its delimiter, quote and escape, with the lines that an editor counts."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from pipelines.use_case import Source

LONGEST = 64 * 2**20  # characters of a record: more is a quote that was never closed, or no text at all
Record = tuple[int, str, Sequence[str | None] | None]


class OpenQuoteError(Exception):
    """A quoted value runs over the end of its line, or has no end."""


class Lines:
    """The lines of a text; `taken` are those of the record that is being read, `number` is the last one's."""

    def __init__(self, text: TextIO, multiline: bool) -> None:
        self.text, self.multiline = text, multiline
        self.number, self.taken = 0, [""]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.text.readline(LONGEST)
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        if len(self.taken) > 1 and (not self.multiline or sum(map(len, self.taken)) > LONGEST):
            raise OpenQuoteError
        return line


def records(lines: Lines, source: Source) -> Iterator[Record]:
    """Of each record: its first line, its text, and its fields; None instead of fields where it is not strictly as declared.

    Raises:
        OpenQuoteError: a value runs over the end of a line in a source that is not `multiline`.
    """
    csv.field_size_limit(sys.maxsize)
    quote, strict = source.quote, _strict(source)
    reader = csv.reader(
        lines,
        delimiter=source.delimiter,
        quotechar=quote,
        escapechar=source.escape,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        strict=True,
    )
    while True:
        first, lines.taken = lines.number + 1, []
        fields: list[str] | None = None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            pass
        text = "".join(lines.taken).rstrip("\r\n")
        if fields is not None and quote and quote in text and not strict.fullmatch(text):
            fields = None
        if fields != []:
            yield first, text, fields


def _strict(source: Source) -> re.Pattern[str]:
    """A record whose quotes stand around whole values: the csv module lets them stand anywhere."""
    delimiter, quote, escape = (re.escape(sign or "") for sign in (source.delimiter, source.quote, source.escape))
    escaped = f"|{escape}." if escape else ""
    field = f"(?:{quote}(?:[^{quote}{escape}]|{quote}{quote}{escaped})*+{quote}|(?:[^{quote}{delimiter}{escape}]{escaped})*+)"
    return re.compile(f"{field}(?:{delimiter}{field})*+", re.DOTALL)
