"""Python's regular expressions in Java's words, for Spark, where both mean the very same.

The two differ in what `$`, `.`, `\\d`, `\\w` and flags match. A pattern is taken apart by Python's own parser and put
together again from parts that cannot be misunderstood; what has none is left to Python (None).
"""

from __future__ import annotations

import re
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_PLACES = {
    sre.AT_BEGINNING: r"\A",
    sre.AT_BEGINNING_STRING: r"\A",
    sre.AT_END: r"(?=\n?\z)",
    sre.AT_END_STRING: r"\z",
}
_DIGITS = {sre.CATEGORY_DIGIT: r"\p{Nd}", sre.CATEGORY_NOT_DIGIT: r"\P{Nd}"}
_REPEATS = {sre.MAX_REPEAT: "", sre.MIN_REPEAT: "?", sre.POSSESSIVE_REPEAT: "+"}


class _OnlyPython(Exception):
    """Java has no part that means the same."""


def java_pattern(pattern: str) -> str | None:
    """The same pattern for Java, to be searched for anywhere in a text; None where only Python can tell.

    Raises:
        re.error: it is no pattern.
    """
    parsed = _parser.parse(pattern)
    if parsed.state.flags != re.UNICODE:
        return None
    try:
        return _sequence(parsed)
    except _OnlyPython:
        return None


def _sequence(parsed: Any) -> str:
    return "".join(_part(kind, value) for kind, value in parsed)


def _part(kind: Any, value: Any) -> str:
    if kind in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN):
        return _character(kind, value)
    if kind is sre.AT and value in _PLACES:
        return _PLACES[value]
    if kind in _REPEATS:
        return _repeat(*value) + _REPEATS[kind]
    if kind is sre.BRANCH:
        return f"(?:{'|'.join(map(_sequence, value[1]))})"
    if kind is sre.SUBPATTERN and not value[1] and not value[2]:
        return f"(?:{_sequence(value[3])})"
    if kind in (sre.ASSERT, sre.ASSERT_NOT) and value[0] == 1:
        return f"(?{'=' if kind is sre.ASSERT else '!'}{_sequence(value[1])})"
    raise _OnlyPython


def _repeat(least: int, most: Any, parsed: Any) -> str:
    """One character is repeated without a group: Java's stack grows with each repetition of a group."""
    one = len(parsed) == 1 and parsed[0][0] in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN)
    inner = _sequence(parsed) if one else f"(?:{_sequence(parsed)})"
    return f"{inner}{{{least},{'' if most is sre.MAXREPEAT else most}}}"


def _character(kind: Any, value: Any) -> str:
    if kind is sre.LITERAL:
        return _code(value)
    if kind is sre.NOT_LITERAL:
        return f"[^{_code(value)}]"
    return r"[^\n]" if kind is sre.ANY else f"[{''.join(_member(*member) for member in value)}]"


def _member(kind: Any, value: Any) -> str:
    if kind is sre.NEGATE:
        return "^"
    if kind is sre.LITERAL:
        return _code(value)
    if kind is sre.RANGE:
        return f"{_code(value[0])}-{_code(value[1])}"
    if kind is sre.CATEGORY and value in _DIGITS:
        return _DIGITS[value]
    raise _OnlyPython


def _code(point: int) -> str:
    return f"\\x{{{point:x}}}"
