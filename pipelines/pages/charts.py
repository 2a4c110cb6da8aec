"""Charts as SVG that stands in a page: laid out by matplotlib, coloured by the page's style sheet, and without a script."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypedDict
from xml.etree import ElementTree

from pipelines.pages.view import Quality

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib knows no variables of a style sheet: it draws in colours that stand for them.
ACCENT, SECOND, THIRD, TEXT, SOFT, LINE, CARD = (f"#00000{n}" for n in range(1, 8))
_VARIABLES = {
    ACCENT: "var(--accent)", SECOND: "var(--second)", THIRD: "var(--third)", TEXT: "var(--text)", SOFT: "var(--soft)",
    LINE: "var(--line)", CARD: "var(--card)",
}  # fmt: skip
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "trainyard", "text.parse_math": False, "font.size": 11, "text.color": SOFT,
    "figure.facecolor": "none", "axes.facecolor": "none", "axes.titlesize": 12, "axes.titleweight": "bold",
    "axes.titlecolor": TEXT, "axes.titlelocation": "left", "axes.labelcolor": SOFT, "axes.axisbelow": True, "grid.color": LINE,
    "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False, "axes.spines.bottom": False,
    "xtick.color": SOFT, "ytick.color": SOFT, "xtick.major.size": 0, "ytick.major.size": 0,
    "lines.linewidth": 2, "lines.markersize": 8, "lines.markeredgewidth": 1.5, "lines.markeredgecolor": CARD,
}  # fmt: skip
_DASHES = (0, (3, 3))
_WIDTH, _ROW, _MOST_LABELS, _MOST_DAYS, _WIDEST_BAR, _LONGEST_NAME = 1040, 19, 14, 10, 26, 36
_one_at_a_time = threading.Lock()  # matplotlib's settings are the process's


class Importance(TypedDict):
    feature: str
    mean: float
    low: float
    high: float


class Group(TypedDict):
    rows: int
    predicted: float
    observed: float


def quality(found: Sequence[Quality]) -> Markup:
    """AUC, log loss and drifted share over the same windows; a dashed line marks each at which another version took over."""

    def draw(figure: Figure) -> None:
        auc, loss, drifted = figure.subplots(3, 1, sharex=True)
        figure.subplots_adjust(left=0.055, right=0.985, top=0.91, bottom=0.07, hspace=0.34)
        _line(auc, "AUC", [q.auc for q in found], ACCENT)
        _line(loss, "Log loss", [q.log_loss for q in found], SECOND)
        known = {i: q.drifted_share for i, q in enumerate(found) if q.drifted_share is not None}
        drifted.bar(list(known), list(known.values()), min(0.6, _WIDEST_BAR * len(found) / _WIDTH), color=THIRD, gid=".bar")
        _panel(drifted, "Drifted share")
        drifted.set_ylim(0, max(*known.values(), 0.05, 0.05) * 1.15)
        drifted.set_xlim(-0.5, len(found) - 0.5)
        shown = range(0, len(found), -(-len(found) // _MOST_LABELS))
        drifted.set_xticks(shown, [found[i].partition for i in shown])
        for i in changes(found):
            for axes in (auc, loss, drifted):
                axes.axvline(i, 0, 1 if axes is auc else 1.34, color=ACCENT, linewidth=1, linestyle=_DASHES)
            _mark(auc, i, auc.get_ylim()[1], f"v{found[i].model_version}", "center")

    return _svg("AUC, log loss and drifted share per window", 440, draw)


def shares(
    weights: Sequence[tuple[str, Mapping[str, float]]], variants: Sequence[str], partitions: Sequence[str], until: int
) -> Markup:
    """A line of steps per variant over all `partitions`: its share from each of the given ones on, `until` so many are over."""
    at = [sum(key < since for key in partitions) for since, given in weights if given]
    colors, styles = (ACCENT, SECOND, THIRD), ("-", "--", ":")

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.055, right=0.87, top=0.93, bottom=0.12)
        last = {name: [given.get(name, 0.0) for _, given in weights if given] for name in variants}
        for i, (name, height) in enumerate(_apart({name: values[-1] for name, values in last.items()}).items()):
            drawn = {"color": colors[i % 3], "linestyle": styles[i // 3], "gid": ".line"}
            axes.step([*at, until], [*last[name], last[name][-1]], where="post", **drawn)
            text = f"{name} {last[name][-1]:.0%}"
            axes.annotate(text, (until, height), (6, -4), textcoords="offset points", color=colors[i % 3])
        _panel(axes, "Share of units")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlim(0, len(partitions))
        shown = range(0, len(partitions), -(-len(partitions) // _MOST_DAYS))
        axes.set_xticks(shown, [partitions[i] for i in shown])

    return _svg("Share of units per variant", 260, draw)


def _apart(heights: Mapping[str, float], least: float = 0.09) -> dict[str, float]:
    """In the order of the names, so far from each other that what is written there can be read."""
    free, found = -math.inf, {}
    for name in sorted(heights, key=heights.__getitem__):
        found[name] = free = max(heights[name], free + least)
    return {name: found[name] for name in heights}


def changes(found: Sequence[Quality]) -> list[int]:
    """The positions at which the model version is another one than before; the first takes over from nobody."""
    known = [(i, each.model_version) for i, each in enumerate(found) if each.model_version is not None]
    return [i for (_, before), (i, now) in pairwise(known) if now != before]


def learning_curve(sizes: Sequence[int], losses: Sequence[float]) -> Markup:
    """Log loss over the number of rows, on a logarithmic scale."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.03, right=0.97, top=0.95, bottom=0.14)
        axes.plot(sizes, losses, "o-", color=SECOND)
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.yaxis.set_visible(False)
        axes.margins(y=0.25)
        for size, loss in zip(sizes, losses, strict=True):
            axes.annotate(f"{loss:.4f}", (size, loss), (0, 9), textcoords="offset points", ha="center")

    return _svg("Log loss by the number of rows", 190, draw)


def bars(values: Mapping[str, float | None], base: float = 0.0, noise: float | None = None) -> Markup:
    """A bar per name from `base`, largest first, where its value is known; a dashed line where noise ends."""
    ranked = sorted(((name, v) for name, v in values.items() if v is not None), key=lambda item: -item[1])

    def draw(figure: Figure) -> None:
        axes = _rows(figure, [name for name, _ in ranked], right=70)
        axes.barh(range(len(ranked)), [v - base for _, v in ranked], 0.68, base, color=THIRD, gid=".bar")
        for i, (_, value) in enumerate(ranked):
            _beside(axes, i, max(base, value), f"{value:.4f}")
        if noise is not None:
            axes.axvline(noise, color=ACCENT, linewidth=1, linestyle=_DASHES)
            _mark(axes, noise, -0.5, "noise ends here", "left")

    return _svg("A bar per name, largest first", 40 + _ROW * len(ranked), draw)


def importances(found: Sequence[Importance]) -> Markup:
    """A bar per feature from zero, with a line from its lowest to its highest value."""

    def draw(figure: Figure) -> None:
        axes = _rows(figure, [f["feature"] for f in found], right=190)
        spread = [[f["mean"] - f["low"] for f in found], [f["high"] - f["mean"] for f in found]]
        means = [f["mean"] for f in found]
        axes.barh(range(len(found)), means, 0.68, color=THIRD, xerr=spread, ecolor=TEXT, error_kw={"elinewidth": 1.5})
        for i, f in enumerate(found):
            _beside(axes, i, max(f["high"], 0), f"{f['mean']:+.4f}  ({f['low']:+.4f} to {f['high']:+.4f})")

    return _svg("What shuffling a feature's values costs in log loss", 40 + _ROW * len(found), draw)


def calibration(groups: Sequence[Group]) -> Markup:
    """Predicted against observed, with the diagonal of a perfect model."""
    points = [(g["predicted"], g["observed"]) for g in groups]
    top = min(1.0, math.ceil(max((max(p) for p in points), default=1.0) * 10) / 10 or 0.1)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.17, right=0.95, top=0.95, bottom=0.17)
        axes.grid()
        axes.plot([0, top], [0, top], color=ACCENT, linewidth=1, linestyle=_DASHES)
        axes.plot(*zip(*points, strict=True), "o-", color=ACCENT)
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="predicted", ylabel="came true")
        _mark(axes, top, 0, "dashed: perfect", "right")

    return _svg("Mean prediction and the share that came true", 340, draw, width=340)


def _line(axes: Axes, name: str, values: Sequence[float | None], color: str) -> None:
    """A line through the known values; it is broken where one is not known."""
    axes.plot([math.nan if v is None else v for v in values], "o-", color=color, gid=".line")
    axes.margins(y=0.2)
    _panel(axes, name)


def _panel(axes: Axes, name: str) -> None:
    axes.set_title(name)
    axes.grid(axis="y")
    axes.locator_params(axis="y", nbins=4)


def _rows(figure: Figure, names: Sequence[str], right: int) -> Axes:
    """Room for a bar per name, the first on top, with `right` pixels for what is written behind it."""
    axes, height = figure.subplots(), 40 + _ROW * len(names)
    figure.subplots_adjust(left=230 / _WIDTH, right=1 - right / _WIDTH, top=1 - 25 / height, bottom=5 / height)
    axes.set_yticks(range(len(names)), [n if len(n) <= _LONGEST_NAME else f"{n[: _LONGEST_NAME - 1]}…" for n in names])
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.xaxis.set_visible(False)
    return axes


def _mark(axes: Axes, x: float, y: float, text: str, side: Literal["left", "center", "right"]) -> None:
    """A word in the accent's colour, right above the point."""
    axes.annotate(text, (x, y), (0, 5), textcoords="offset points", color=ACCENT, weight="bold", ha=side, gid=".mark")


def _beside(axes: Axes, row: int, end: float, text: str) -> None:
    axes.annotate(text, (end, row), (6, 0), textcoords="offset points", va="center")


def _svg(title: str, height: int, draw: Callable[[Figure], None], width: int = _WIDTH) -> Markup:
    from markupsafe import Markup
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = io.BytesIO()
    with _one_at_a_time, rc_context(_STYLE):
        figure = Figure(figsize=(width / 72, height / 72))
        draw(figure)
        figure.savefig(drawn, format="svg")
    return Markup(ElementTree.tostring(_inline(drawn.getvalue(), title), encoding="unicode"))


def _inline(svg: bytes, title: str) -> ElementTree.Element:
    """matplotlib's document as an element of a page: looks as attributes, marks (`.bar`) as classes, nothing that links."""
    space = "{http://www.w3.org/2000/svg}"
    ElementTree.register_namespace("", space[1:-1])
    root = ElementTree.fromstring(svg)
    for child in [*root.findall(f"{space}metadata"), *root.findall(f"{space}defs")]:
        root.remove(child)
    for element in root.iter():
        given = element.attrib
        looks = dict(each.strip().split(": ", 1) for each in given.pop("style", "").split(";") if each)
        looks.pop("font-family", None)
        given |= {name: _VARIABLES.get(value, value) for name, value in looks.items()}
        given.pop("clip-path", None)
        if marker := given.pop("{http://www.w3.org/1999/xlink}href", None):
            given["href"] = marker
        if element.tag == f"{space}g" and (mark := given.pop("id", "")).startswith("."):
            given["class"] = mark[1:]
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title}
    return root
