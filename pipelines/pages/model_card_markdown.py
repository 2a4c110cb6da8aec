"""A model card as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.pages.model_card_blocks import Bars, Block, Bullets, Calibration, Facts, Row, Section, Table, Text


def card_markdown(title: str, content: Sequence[Block]) -> str:
    return "\n\n".join([f"# {plain(title)}", *map(_block, content)]) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Section):
        return f"## {plain(block.title)}"
    if isinstance(block, Text):
        return plain(block.text)
    if isinstance(block, Facts):
        return "\n".join(f"- **{plain(name)}**: {plain(value)}" for name, value in block.rows)
    if isinstance(block, Bullets):
        return "\n".join(f"- {plain(item)}" for item in block.items)
    if isinstance(block, Bars | Calibration):
        return f"{plain(block.title)}:\n\n{_table(block.table)}"
    return _table(block)


def _table(table: Table) -> str:
    words = [i < table.left or (table.wide and i == len(table.head) - 1) for i in range(len(table.head))]
    lines: list[Row] = [
        tuple(map(plain, table.head)),
        tuple("---" if word else "---:" for word in words),
        *(tuple(map(plain, row)) for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """Text that Markdown shows as it is; no HTML gets through."""
    escaped = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|#~]|(?<!\w)_|_(?!\w))", r"\\\1", escaped)
