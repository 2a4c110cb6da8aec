"""A model card as a page: printable, without scripts and without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.pages.markup import Html, document, el
from pipelines.pages.model_card_blocks import Bars, Block, Bullets, Calibration, Facts, Section, Table, Text

_WIDTH, _LEFT, _RIGHT, _ROW = 1040, 230, 190, 18
_SIDE, _EDGE = 320, 44
_TONES = {"passed": "good", "failed": "bad"}


def card_page(title: str, content: Sequence[Block]) -> Html:
    """A section per `Section` of the content; what comes before the first one stands at the top."""
    starts = [i for i, block in enumerate(content) if isinstance(block, Section)]
    parts = [content[a:b] for a, b in zip([0, *starts], [*starts, len(content)], strict=True)]
    return document(title, el("h1", title), [_part(part) for part in parts if part])


def _part(part: Sequence[Block]) -> Html:
    return el("section", [_block(block) for block in part], class_="part")


def _block(block: Block) -> Html:
    if isinstance(block, Section):
        return el("h2", block.title)
    if isinstance(block, Text):
        return el("p", block.text, class_="soft small why" if block.soft else None)
    if isinstance(block, Facts):
        return el("dl", [[el("dt", name), el("dd", value)] for name, value in block.rows], class_="facts card")
    if isinstance(block, Bullets):
        return el("ul", [el("li", item) for item in block.items], class_="plain card")
    if isinstance(block, Bars):
        return _bars(block)
    return _calibration(block) if isinstance(block, Calibration) else _table(block)


def _table(table: Table) -> Html:
    last = len(table.head) - 1
    words = ["left" if i < table.left or (table.wide and i == last) else None for i in range(last + 1)]
    head = el("tr", [el("th", name, class_=style) for name, style in zip(table.head, words, strict=True)])
    rows = [el("tr", [_cell(text, style) for text, style in zip(row, words, strict=True)]) for row in table.rows]
    return el("div", el("table", el("thead", head), el("tbody", rows), class_="wrap"), class_="scroll")


def _cell(text: str, style: str | None) -> Html:
    shown = el("span", text, class_=f"badge {_TONES[text]}") if text in _TONES else text
    return el("td", shown, class_=style)


def _bars(block: Bars) -> Html:
    """A bar per row from zero, with a line from its lowest to its highest value."""
    low, high = min(0.0, *(v[1] for v in block.values)), max(0.0, *(v[2] for v in block.values))
    height = 8 + _ROW * len(block.values)

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - low) / ((high - low) or 1.0)

    drawn = []
    for i, (row, (value, lowest, highest)) in enumerate(zip(block.table.rows, block.values, strict=True)):
        top, left, name = 4 + _ROW * i, min(x(0), x(value)), row[0]
        drawn += [
            el("text", name if len(name) <= 36 else f"{name[:35]}…", x=_LEFT - 10, y=top + 11, text_anchor="end"),
            el("rect", el("title", ", ".join(row)), x=f"{left:.1f}", y=top + 1, width=f"{max(abs(x(value) - x(0)), 1):.1f}",
               height=_ROW - 6, rx=2, class_="bar"),
            el("line", x1=f"{x(lowest):.1f}", x2=f"{x(highest):.1f}", y1=top + 7, y2=top + 7, class_="spread"),
            el("text", f"{row[1]}  ({row[2]})", x=f"{x(max(highest, 0)) + 8:.1f}", y=top + 11),
        ]  # fmt: skip
    image = el("svg", drawn, viewBox=f"0 0 {_WIDTH} {height}", role="img", aria_label=block.title)
    return el("figure", el("p", block.title), image, class_="card")


def _calibration(block: Calibration) -> Html:
    """Predicted against observed, with the diagonal of a perfect model, beside the table."""
    most = max((max(p) for p in block.points), default=1.0)
    top = min(1.0, -(-most * 10 // 1) / 10 or 0.1)

    def place(predicted: float, observed: float) -> tuple[float, float]:
        side = _SIDE - 2 * _EDGE
        return _EDGE + side * predicted / top, _SIDE - _EDGE - side * observed / top

    points = [place(*p) for p in block.points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [
        el("circle", el("title", ", ".join(row)), cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, class_="dot auc")
        for row, (x, y) in zip(block.table.rows, points, strict=True)
    ]
    image = el(
        "svg", _axes(top), el("polyline", points=line, class_="line auc"), dots,
        viewBox=f"0 0 {_SIDE} {_SIDE}", role="img", aria_label=block.title,
    )  # fmt: skip
    return el("div", el("figure", el("p", block.title), image, class_="card"), _table(block.table), class_="beside")


def _axes(top: float) -> list[Html]:
    far, near = _SIDE - _EDGE, _EDGE
    lines = [
        el("line", x1=near, x2=far, y1=far, y2=far, class_="grid"),
        el("line", x1=near, x2=near, y1=near, y2=far, class_="grid"),
        el("line", x1=near, x2=far, y1=far, y2=near, class_="change"),
    ]
    texts = [
        el("text", "0", x=near - 8, y=far + 14, text_anchor="end"),
        el("text", f"{top:.1f}", x=far, y=far + 16, text_anchor="middle"),
        el("text", f"{top:.1f}", x=near - 8, y=near + 4, text_anchor="end"),
        el("text", "predicted", x=(near + far) / 2, y=far + 28, text_anchor="middle", class_="name"),
        el("text", "came true", x=near - 30, y=near - 14, class_="name"),
        el("text", "dashed: perfect", x=far, y=far - 8, text_anchor="end", class_="mark"),
    ]
    return [*lines, *texts]
