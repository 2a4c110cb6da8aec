"""Section `sources:` where the rows of each table come from."""

from __future__ import annotations

import codecs
import string
from datetime import timedelta

from pydantic import Field, field_validator

from pipelines.use_case.section import Section


class Source(Section):
    """Where rows of one table come from. `{landing}` and `{partition}` in the URI are filled in."""

    uri: str
    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = "utf-8"
    multiline: bool = Field(False, description="quoted values may hold line breaks")
    null_values: tuple[str, ...] = Field(("",), description="texts that mean: no value")
    snapshot: bool = Field(False, description="reference data: one file that replaces the table, no partitions")
    time_column: str | None = Field(None, description="timestamp or date that must fall into the partition")
    available_after: timedelta = Field(timedelta(0), description="how long after the partition's end rows are complete")

    @field_validator("uri")
    @classmethod
    def _known_placeholders(cls, uri: str) -> str:
        names = {name for _, name, _, _ in string.Formatter().parse(uri) if name is not None}
        if not names <= {"landing", "partition"}:
            raise ValueError("only {landing} and {partition} are filled in")
        return uri

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise ValueError(f"unknown encoding '{encoding}': use a Python name such as utf-8 or latin-1") from None
        return encoding
