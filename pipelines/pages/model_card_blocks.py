"""What a model card is made of: words and figures, before they become a page or Markdown."""

from __future__ import annotations

from dataclasses import dataclass

Row = tuple[str, ...]


@dataclass(frozen=True)
class Section:
    title: str


@dataclass(frozen=True)
class Text:
    text: str
    soft: bool = False


@dataclass(frozen=True)
class Facts:
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Bullets:
    items: Row


@dataclass(frozen=True)
class Table:
    """`left`: so many leading columns are words; the last one is, too, where `wide`."""

    head: Row
    rows: tuple[Row, ...]
    left: int = 1
    wide: bool = False


@dataclass(frozen=True)
class Bars:
    """`table` in words, and the same as numbers: value, low and high per row."""

    title: str
    table: Table
    values: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Calibration:
    """`table` in words, and the same as numbers: predicted and observed per row."""

    title: str
    table: Table
    points: tuple[tuple[float, float], ...]


Block = Section | Text | Facts | Bullets | Table | Bars | Calibration
