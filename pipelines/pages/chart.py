"""Quality per partition as an inline SVG: AUC, log loss and drifted share, one panel each, over the same partitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipelines.pages.markup import Html, el
from pipelines.pages.view import Quality

_WIDTH, _LEFT, _RIGHT, _TOP = 1040, 56, 18, 22
_PANEL, _GAP, _MOST_LABELS = 112, 34, 14


@dataclass(frozen=True)
class _Panel:
    name: str
    style: str
    values: tuple[float | None, ...]
    top: int
    low: float
    high: float

    def y(self, value: float) -> float:
        return self.top + _PANEL * (1 - (value - self.low) / (self.high - self.low))


def chart(quality: Sequence[Quality]) -> Html:
    """Three panels; a dashed line marks each partition where another model version took over."""
    panels = _panels(quality)
    height = _TOP + len(panels) * (_PANEL + _GAP)
    drawn = [_drawn(panel, len(quality)) for panel in panels]
    return el(
        "svg", _changes(quality, height - _GAP), drawn, _labels(quality, height - _GAP + 18),
        viewBox=f"0 0 {_WIDTH} {height}", role="img", aria_label="AUC, log loss and drifted share per partition",
    )  # fmt: skip


def changes(quality: Sequence[Quality]) -> list[int]:
    """The positions at which the model version is another one than before."""
    found, before = [], None
    for i, each in enumerate(quality):
        if each.model_version is not None and each.model_version != before:
            found.append(i)
            before = each.model_version
    return found


def _panels(quality: Sequence[Quality]) -> list[_Panel]:
    wanted: list[tuple[str, str, Callable[[Quality], float | None]]] = [
        ("AUC", "auc", lambda q: q.auc),
        ("Log loss", "loss", lambda q: q.log_loss),
        ("Drifted share", "bar", lambda q: q.drifted_share),
    ]
    return [
        _panel(name, style, tuple(value(q) for q in quality), _TOP + i * (_PANEL + _GAP))
        for i, (name, style, value) in enumerate(wanted)
    ]


def _panel(name: str, style: str, values: tuple[float | None, ...], top: int) -> _Panel:
    known = [v for v in values if v is not None] or [0.0, 1.0]
    if style == "bar":
        return _Panel(name, style, values, top, 0.0, max(*known, 0.05) * 1.15)
    room = max((max(known) - min(known)) * 0.2, 0.01)
    return _Panel(name, style, values, top, min(known) - room, max(known) + room)


def _drawn(panel: _Panel, count: int) -> list[Html]:
    edges = [el("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid") for y in (panel.top, panel.top + _PANEL)]
    scale = [
        el("text", f"{value:.2f}", x=_LEFT - 8, y=y + 4, text_anchor="end")
        for value, y in ((panel.high, panel.top), (panel.low, panel.top + _PANEL))
    ]
    name = el("text", panel.name, x=_LEFT, y=panel.top - 7, class_="name")
    return [*edges, *scale, name, *(_bars(panel, count) if panel.style == "bar" else _line(panel, count))]


def _line(panel: _Panel, count: int) -> list[Html]:
    """A line through the known values; it is broken where one is not known."""
    runs: list[list[tuple[float, float]]] = [[]]
    for i, value in enumerate(panel.values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((_x(i, count), panel.y(value)))
    points = [" ".join(f"{x:.1f},{y:.1f}" for x, y in run) for run in runs if run]
    lines = [el("polyline", points=p, class_=f"line {panel.style}") for p in points]
    return lines + [_dot(panel, i, count) for i, value in enumerate(panel.values) if value is not None]


def _dot(panel: _Panel, i: int, count: int) -> Html:
    value = panel.values[i] or 0.0
    tip = el("title", f"{panel.name} {value:.4f}")
    return el("circle", tip, cx=f"{_x(i, count):.1f}", cy=f"{panel.y(value):.1f}", r=4, class_=f"dot {panel.style}")


def _bars(panel: _Panel, count: int) -> list[Html]:
    width = min(26.0, (_WIDTH - _LEFT - _RIGHT) / count * 0.6)
    return [_bar(panel, value, _x(i, count), width) for i, value in enumerate(panel.values) if value is not None]


def _bar(panel: _Panel, value: float, x: float, width: float) -> Html:
    top, bottom = panel.y(value), panel.y(0)
    tip = el("title", f"{panel.name} {value:.4f}")
    place = {"x": f"{x - width / 2:.1f}", "y": f"{top:.1f}", "width": f"{width:.1f}", "height": f"{bottom - top:.1f}"}
    return el("rect", tip, class_="bar", rx=2, **place)


def _changes(quality: Sequence[Quality], bottom: int) -> list[Html]:
    drawn = []
    for i in changes(quality):
        x = f"{_x(i, len(quality)):.1f}"
        drawn.append(el("line", x1=x, x2=x, y1=_TOP - 6, y2=bottom, class_="change"))
        drawn.append(el("text", f"v{quality[i].model_version}", x=x, y=_TOP - 9, text_anchor="middle", class_="mark"))
    return drawn


def _labels(quality: Sequence[Quality], y: int) -> list[Html]:
    """As many partition keys below the panels as there is room for."""
    step = -(-len(quality) // _MOST_LABELS)
    shown = range(0, len(quality), step)
    return [el("text", quality[i].partition, x=f"{_x(i, len(quality)):.1f}", y=y, text_anchor="middle") for i in shown]


def _x(i: int, count: int) -> float:
    """The middle of the i-th of `count` equal columns."""
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (i + 0.5) / count
