"""Section `features:` what a model sees of a row."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.use_case.section import ColumnName, Name, Section


class Join(Section):
    """Columns of another table, looked up by equal keys. Expressions are Spark SQL over that table."""

    table: str
    match: dict[str, str] = Field(description="by column of the table, all of its key: an expression over the row")
    columns: dict[ColumnName, str]
    max_unmatched_share: float | None = Field(None, ge=0, le=1, description="of rows without a partner: more are refused")


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
