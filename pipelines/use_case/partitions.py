"""Partitions: string keys for half-open intervals of local time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from pipelines.errors import PermanentError


class Grain(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


# Which longer periods are made of whole partitions.
LONGER = {Grain.DAY: (Grain.WEEK, Grain.MONTH), Grain.WEEK: (), Grain.MONTH: ()}
_FORM = {
    Grain.DAY: (r"\d{4}-\d{2}-\d{2}", "2013-04-08"),
    Grain.WEEK: (r"\d{4}-W\d{2}", "2013-W15"),
    Grain.MONTH: (r"\d{4}-\d{2}", "2013-04"),
}


@dataclass(frozen=True, order=True)
class Partition:
    """The interval `[start, end)` of local dates that `key` names."""

    start: date
    end: date
    key: str
    grain: Grain

    @classmethod
    def parse(cls, key: str, grain: Grain) -> Partition:
        """Read a key such as `2013-04`, `2013-W15` or `2013-04-08`.

        Raises:
            PermanentError: the key is not of the grain's form or names no date.
        """
        pattern, example = _FORM[grain]
        if not isinstance(key, str) or not re.fullmatch(pattern, key):
            raise PermanentError(f"'{key}' is no {grain} partition: write it like {example}")
        try:
            return cls.of(_first_day(key, grain), grain)
        except ValueError as error:
            raise PermanentError(f"'{key}' is no {grain} partition: {error}; write it like {example}") from None

    @classmethod
    def parse_period(cls, key: str, grain: Grain) -> Partition:
        """A partition, or a longer period of whole ones: `2013-04` where the grain is a day, or `2013-12-01--2013-12-26`.

        Raises:
            PermanentError: it is neither, or ends before it begins.
        """
        first, several, last = key.partition("--")
        if several and "--" not in last:
            start, end = cls.parse_period(first, grain).start, cls.parse_period(last, grain).end
            if end <= start:
                raise PermanentError(f"'{key}' ends before it begins: write the earlier one first")
            return cls(start, end, key, grain)
        for longer in LONGER[grain]:
            if re.fullmatch(_FORM[longer][0], key):
                return cls.parse(key, longer)
        return cls.parse(key, grain)

    @classmethod
    def of(cls, day: date, grain: Grain) -> Partition:
        """The partition that holds `day`."""
        if grain is Grain.DAY:
            return cls(day, day + timedelta(days=1), day.isoformat(), grain)
        if grain is Grain.WEEK:
            start = day - timedelta(days=day.weekday())
            year, week, _ = start.isocalendar()
            return cls(start, start + timedelta(days=7), f"{year}-W{week:02d}", grain)
        start = day.replace(day=1)
        return cls(start, (start + timedelta(days=32)).replace(day=1), f"{start:%Y-%m}", grain)

    def within(self, grain: Grain) -> list[Partition]:
        """The partitions of a finer grain that it is made of; itself where it is of that grain."""
        found = [self.of(self.start, grain)]
        while found[-1].end < self.end:
            found.append(found[-1].next)
        return found

    @property
    def next(self) -> Partition:
        return self.of(self.end, self.grain)

    @property
    def previous(self) -> Partition:
        return self.of(self.start - timedelta(days=1), self.grain)

    def starts_at(self, timezone: str, days_before: int = 0) -> datetime:
        """00:00 local time of the first day, or so many days before."""
        day = self.start - timedelta(days=days_before)
        return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone))

    def ends_at(self, timezone: str) -> datetime:
        """00:00 local time after the last day."""
        return datetime(self.end.year, self.end.month, self.end.day, tzinfo=ZoneInfo(timezone))

    def back_to(self, days: int) -> list[Partition]:
        """This partition and those before it that reach `days` before its start, oldest first."""
        found = [self]
        while found[-1].start > self.start - timedelta(days=days):
            found.append(found[-1].previous)
        return found[::-1]


def _first_day(key: str, grain: Grain) -> date:
    if grain is Grain.WEEK:
        return date.fromisocalendar(int(key[:4]), int(key[6:]), 1)
    return date.fromisoformat(key if grain is Grain.DAY else f"{key}-01")


def span(first: Partition, last: Partition) -> list[Partition]:
    """All partitions from `first` to `last`, both included."""
    found = [first]
    while found[-1].start < last.start:
        found.append(found[-1].next)
    return found
