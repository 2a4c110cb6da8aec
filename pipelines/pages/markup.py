"""HTML elements. Text becomes markup only here, and is escaped on the way."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from pipelines.pages.style import STYLE

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_VOID = ("meta", "br", "hr", "img")


class Html(str):
    """Markup that goes on a page as it is; any other text is escaped."""


def el(tag: str, *children: object, **attributes: object) -> Html:
    """`<tag attributes>children</tag>`; children None are left out, lists are flattened, text is escaped.

    `class_` stands for `class`, and `_` for `-`; an attribute that is None is left out.
    """
    given = "".join(f' {_name(k)}="{escape(str(v))}"' for k, v in attributes.items() if v is not None)
    opened = f"<{tag}{given}>"
    return Html(opened if tag in _VOID else f"{opened}{join(children)}</{tag}>")


def join(children: Iterable[object]) -> Html:
    return Html("".join(_markup(child) for child in children))


def document(title: str, *body: object) -> Html:
    """A whole page."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", Html(STYLE)),
    )
    return Html("<!doctype html>\n" + el("html", head, el("body", el("main", *body)), lang="en"))


def problem(title: str, message: str, back: str | None = None) -> Html:
    """A page for what went wrong, in the words of the error."""
    link = el("p", el("a", "← Back to all use cases", href=back)) if back else None
    return document(title, el("section", el("h1", title), el("p", message), link, class_="notice bad", role="alert"))


def _markup(child: object) -> str:
    if child is None:
        return ""
    if isinstance(child, list | tuple):
        return join(child)
    return str(child) if isinstance(child, Html) else escape(str(child))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
