"""Windows in expressions see the rows of their own partition only: in bulk as in a run for this partition alone."""

from __future__ import annotations

import re

PARTITION = "_partition"  # as spark_jobs/build_features.py has it

_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`"
_GAP = r"(?:\s|/\*.*?\*/|--[^\n]*\n)*"
_WINDOW = re.compile(
    rf"{_QUOTED}|(?P<over>\bover{_GAP}\({_GAP})(?P<by>\b(?:partition|distribute|cluster){_GAP}by\b{_GAP})?", re.I | re.S
)
_BRACKET = re.compile(f"{_QUOTED}|[()]", re.S)


def within_partition(expression: str, but_for_ranges: bool = False) -> str:
    """The expression, with each window over the rows of one partition only.

    But for those of a range of time, where so told: how far they reach is declared, and all of that is read.
    """

    def own(found: re.Match[str]) -> str:
        if not found["over"] or (
            but_for_ranges and re.search(r"\bpreceding\b", _inside(expression[found.end("over") :]), re.I)
        ):
            return found[0]
        return f"{found[0]}{PARTITION}, " if found["by"] else f"{found[0]}partition by {PARTITION} "

    return _WINDOW.sub(own, expression)


def _inside(text: str) -> str:
    """The text up to the bracket that closes what was opened before it."""
    depth = 1
    for found in _BRACKET.finditer(text):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return text[: found.start()]
    return text
