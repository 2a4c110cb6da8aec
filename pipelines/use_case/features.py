"""Section `features:` what a model sees of a row."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Annotated

from pydantic import Field, model_validator

from pipelines.use_case.section import ColumnName, Name, Section

_ROWS = re.compile(r"\brows\s+(between|unbounded|\d|current)|\b(lag|lead)\s*\(", re.I)
_OVER = re.compile(r"\bover\s*\(", re.I)
_AHEAD = re.compile(r"\bfollowing\b|\bdesc\b", re.I)
_PRECEDING = re.compile(r"\bpreceding\b", re.I)
_BOUNDED = (
    r"\bover\s*\(\s*(?:partition\s+by\s+[\w`,\s]+?\s+)?order\s+by\s+`?{time}`?\s+range\s+between\s+"
    r"interval\s+'?\d+'?\s+\w+\s+preceding\s+and\s+(?:current\s+row|interval\s+'?\d+'?\s+\w+\s+preceding)\s*\)"
)
_REACH = re.compile(r"\binterval\s+'?(\d+)'?\s+(minute|hour|day|week)s?\s+preceding", re.I)


class Join(Section):
    """Columns of another table, looked up by equal keys. Expressions are Spark SQL over that table."""

    table: str
    match: dict[str, str] = Field(description="by column of the table, all of its key: an expression over the row")
    columns: dict[ColumnName, str]
    lookback: timedelta = Field(timedelta(0), ge=timedelta(0), description="how far its windows reach before the partition")
    max_unmatched_share: float | None = Field(None, ge=0, le=1, description="of rows without a partner: more are refused")

    @property
    def lookback_days(self) -> int:
        """Whole days: partitions are read whole."""
        return math.ceil(self.lookback / timedelta(days=1))

    def unbounded_windows(self, time: str) -> list[str]:
        """Columns with a window that is not one of time, along this column, up to the row's own time."""
        bounded = re.compile(_BOUNDED.format(time=re.escape(time)), re.I)
        return [name for name, text in self.columns.items() if len(_OVER.findall(text)) > len(bounded.findall(text))]

    @model_validator(mode="after")
    def _windows_are_of_time(self) -> Join:
        for name, text in self.columns.items():
            if _ROWS.search(text):
                raise ValueError(
                    f"columns.{name} counts rows, which are no hours where some are missing: write a window of time, such as "
                    "'range between interval 5 hours preceding and current row'"
                )
            if len(_PRECEDING.findall(text)) > len(_REACH.findall(text)):
                raise ValueError(
                    f"columns.{name}: say how far a window reaches, 'interval <n> hours preceding' (or minutes, days, weeks)"
                )
            if _AHEAD.search(text):
                raise ValueError(f"columns.{name} looks ahead: a window ends at the current row")
            reach = max((timedelta(**{f"{unit}s": int(n)}) for n, unit in _REACH.findall(text)), default=timedelta(0))
            if reach > self.lookback:
                raise ValueError(f"columns.{name} reaches {reach} back, but lookback is {self.lookback}: it would be cut off")
        return self


class History(Section):
    """Share of positive labels, by these columns, over the last n days before 00:00 of the row's date."""

    name: Name
    by: tuple[str, ...] = ()
    windows: tuple[Annotated[int, Field(gt=0)], ...]


class Features(Section):
    """Features as Spark SQL. `key`, `date` and `segments` are kept beside the features, never trained on."""

    entity: str
    key: str
    date: str
    joins: tuple[Join, ...] = ()
    expressions: dict[Name, str]
    history: tuple[History, ...] = ()
    max_missing_share: float = Field(0.0, ge=0, le=1, description="of the partitions within reach; more stop the run")
    sparse: tuple[str, ...] = Field((), description="expressions that may have no value in a whole partition; others stop it")
    prior_weight: float = 5.0
    categorical: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()

    @property
    def lookback_days(self) -> int:
        return max((w for h in self.history for w in h.windows), default=0)

    @property
    def names(self) -> tuple[str, ...]:
        """Every feature column, in the order of the file."""
        past = (f"{h.name}_late_{w}d" for h in self.history for w in h.windows)
        return (*self.expressions, *past)
