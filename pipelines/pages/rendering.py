"""Templates become pages: every value is escaped on its way in, and a name that nobody gave is an error."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

    from pipelines.workspace import Decision

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
UNKNOWN = "–"
_LONGEST = 6000


def render(template: str, **values: object) -> str:
    """A template of `templates/` with `values`; in one whose name ends with `.md`, they are escaped for Markdown."""
    return _environment(template.endswith(".md")).get_template(template).render(values)


@lru_cache
def _environment(markdown: bool) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from pipelines.pages import charts

    def escaped(value: object) -> object:
        return Markup(plain(str(value))) if markdown and not isinstance(value, Markup) else value

    made = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=escaped,
    )  # fmt: skip
    made.filters |= {f.__name__: f for f in (figure, money, count, percent, moment, short, words, evidence)}
    made.globals |= {"UNKNOWN": UNKNOWN, "charts": charts}
    return made


def figure(value: float | None) -> str:
    """Four decimals, as in `python -m pipelines status`."""
    return UNKNOWN if value is None else f"{value:.4f}"


def money(value: float | None, unit: str | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f} {unit or ''}".strip()


def count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def percent(share: float, decimals: int) -> str:
    return f"{share:.{decimals}%}"


def moment(at: str) -> str:
    """`2013-04-08 12:00 UTC` of an ISO time in UTC."""
    return f"{at[:10]} {at[11:16]} UTC"


def short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def words(name: str) -> str:
    return name.replace("_", " ")


def evidence(made: Decision) -> str:
    """What a decision was based on, cut where it is very long."""
    text = json.dumps(made.evidence, indent=1, sort_keys=True, default=str)
    rest = f"\n… all of it: python -m pipelines decisions {made.use_case} --json" if len(text) > _LONGEST else ""
    return text[:_LONGEST] + rest


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line; no HTML gets through."""
    escaped = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|#~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", escaped)
