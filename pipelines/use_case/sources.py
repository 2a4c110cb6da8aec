"""Section `sources:` where the rows of each table come from."""

from __future__ import annotations

import math
import string
from datetime import datetime, timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipelines.use_case.partitions import Partition
from pipelines.use_case.section import Section


def _one_byte(sign: str) -> str:
    if len(sign.encode()) != 1 or sign in "\r\n\0":
        raise ValueError("must be one byte, and no line break")
    return sign


OneByte = Annotated[str, AfterValidator(_one_byte)]


class Source(Section):
    """Where rows of one table come from. `{landing}` and `{partition}` in the URI are filled in."""

    uri: str
    delimiter: OneByte = ","
    quote: OneByte | None = Field('"', description="around values; doubled it is part of one. null: none, quotes are text")
    escape: OneByte | None = Field(None, description='the character after it is taken as it is, such as \\ in a\\"b')
    encoding: str = "utf-8"
    multiline: bool = Field(False, description="quoted values may hold line breaks")
    null_values: tuple[str, ...] = Field(("",), description="texts that mean: no value")
    snapshot: bool = Field(False, description="reference data: one file that replaces the table, no partitions")
    time_column: str | None = Field(None, description="timestamp or date that must fall into the partition")
    forecast: bool = Field(False, description="known before what it is about: a plan or a forecast; else rows join once known")
    available_after: timedelta = Field(timedelta(0), description="how long after the partition's end rows are complete")
    in_parts: bool = Field(
        False, description="sent again while rows become known, which then count at once; else they count when complete"
    )
    schedule: str | None = Field(None, description="cron: when its files are looked for; null: as schedules.ingestion says")
    deadline: timedelta = Field(timedelta(days=1), ge=timedelta(0), description="so long after it was due a file may be late")
    marker: str | None = Field(None, description="a file that says that the other one is whole; {landing}, {partition}")

    @property
    def available_days(self) -> int:
        """`available_after` in whole days."""
        return math.ceil(self.available_after / timedelta(days=1))

    @property
    def timing(self) -> dict[str, float | bool]:
        """What says when its rows are known, as far as it was declared."""
        told = {"forecast": self.forecast, "in_parts": self.in_parts, "after": self.available_after.total_seconds()}
        return {name: value for name, value in told.items() if value}

    def complete_at(self, partition: Partition, timezone: str) -> datetime:
        """When all its rows of a partition should have come in: a plan or forecast before, an observation after."""
        if self.forecast:
            return partition.starts_at(timezone)
        return partition.ends_at(timezone) + self.available_after

    def counts_from(self, partition: Partition, timezone: str) -> datetime:
        """No row of a partition counts before: in parts the first midnight in it, and else when it should be complete."""
        return partition.starts_at(timezone, -1) if self.in_parts else self.complete_at(partition, timezone)

    @model_validator(mode="after")
    def _signs_differ(self) -> Self:
        signs = [sign for sign in (self.delimiter, self.quote, self.escape) if sign is not None]
        if len(set(signs)) < len(signs):
            raise ValueError("delimiter, quote and escape must differ")
        return self

    @field_validator("uri", "marker")
    @classmethod
    def _known_placeholders(cls, uri: str | None) -> str | None:
        names = {name for _, name, _, _ in string.Formatter().parse(uri or "") if name is not None}
        if not names <= {"landing", "partition"}:
            raise ValueError("only {landing} and {partition} are filled in")
        return uri

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            "a".encode(encoding)
        except (LookupError, UnicodeError):
            raise ValueError(f"unknown encoding '{encoding}': use a Python name such as utf-8 or latin-1") from None
        return encoding
