"""The assessment's report as a page: every verdict with its numbers, and plots of what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipelines.assessment import noise_level
from pipelines.pages.markup import Html, document, el

_QUESTIONS = {
    "Enough?": ("rows", "slices", "learning_curve"),
    "Fast enough?": ("fresh",),
    "Predictive at all?": ("predictive", "more_than_one_feature"),
    "Leakage?": ("leaked_label", "rewritten", "duplicates"),
    "Related?": ("related",),
    "Balanced and stable?": ("balanced", "missing", "unseen"),
}
_WIDTH, _LEFT, _RIGHT, _ROW, _HEIGHT = 1040, 230, 70, 19, 190


def assessment_page(record: dict[str, Any]) -> Html:
    """A section per question, then the plots of whatever was measured. `record` is what `assess` has saved."""
    found, warned = {v["gate"]: v for v in record["verdicts"]}, record["warned"]
    subject = f"{record.get('title', record['use_case'])}, {record['partition']}"  # older records have no title
    return document(
        f"Assessment of {subject}",
        el("h1", f"Is the data fit for a model? {subject}"),
        el("section", el("b", "Yes" if record["passed"] else "No, it stopped the training"), el("p", record["why"]),
           class_="notice" if record["passed"] else "notice bad"),
        [_question(title, [found[n] for n in names if n in found], warned) for title, names in _QUESTIONS.items()],
        _plots(record["evidence"]),
        _problems(record["evidence"]["problems"]),
    )  # fmt: skip


def _question(title: str, verdicts: Sequence[dict[str, Any]], warned: Sequence[str]) -> Html | None:
    if not verdicts:
        return None
    return el("section", el("h2", title), el("ul", [_verdict(v, v["gate"] in warned) for v in verdicts], class_="decisions"))


def _verdict(verdict: dict[str, Any], warns: bool) -> Html:
    tone, word = ("good", "passed") if verdict["passed"] else ("warn", "warning") if warns else ("bad", "failed")
    line = el("div", el("span", word, class_=f"badge {tone}"), el("b", verdict["gate"].replace("_", " ")), class_="line1")
    return el("li", line, el("p", verdict["sentence"]), data_verdict=verdict["gate"], data_outcome=word)


def _plots(evidence: dict[str, Any]) -> list[Html | None]:
    curve, alone, used = evidence["curve"], evidence["alone"], evidence["importances"]
    counts, gaps = evidence["counts"], (evidence["missing"] or {}).get("gaps")
    limit = noise_level(alone["probes"]) if alone else 0.5
    return [
        _curve(curve["sizes"], curve["losses"]) if curve and len(curve["sizes"]) > 1 else None,
        _bars("Each feature alone: AUC on newer rows", alone["aucs"], 0.5, limit) if alone else None,
        _bars(
            "Each feature in the model: what shuffling it costs in log loss", used["features"], 0.0, noise_level(used["probes"])
        )
        if used
        else None,
        _bars("Missing values: widest gaps between a slice and all rows", gaps, 0.0) if gaps else None,
        _slices(counts["slices"], counts["rows"]) if counts and counts["slices"] else None,
    ]


def _curve(sizes: Sequence[int], losses: Sequence[float]) -> Html:
    """Log loss over the number of rows, on a logarithmic scale."""
    low, high = min(losses), max(losses)
    span = (high - low) or 0.01
    first, last = math.log(sizes[0]), math.log(sizes[-1])
    points = [
        (70 + (_WIDTH - 120) * (math.log(s) - first) / (last - first), 30 + (_HEIGHT - 70) * (high - x) / span)
        for s, x in zip(sizes, losses, strict=True)
    ]
    drawn = [el("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_="line loss")]
    for (x, y), size, loss in zip(points, sizes, losses, strict=True):
        drawn.append(el("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, class_="dot loss"))
        drawn.append(el("text", f"{loss:.4f}", x=f"{x:.1f}", y=f"{y - 10:.1f}", text_anchor="middle"))
        drawn.append(el("text", f"{size:,}", x=f"{x:.1f}", y=_HEIGHT - 14, text_anchor="middle"))
    floor = el("line", x1=50, x2=_WIDTH - 30, y1=_HEIGHT - 32, y2=_HEIGHT - 32, class_="grid")
    title = "Learning curve: log loss on the newest rows by the number of rows before them"
    return _figure(title, [floor, *drawn], _HEIGHT)


def _bars(title: str, values: dict[str, float], base: float, noise: float | None = None) -> Html:
    """A bar per name from `base`, largest first; a dashed line where noise ends."""
    ranked = sorted(values.items(), key=lambda item: -item[1])
    low, high = min(base, *values.values()), max(base, noise or base, *values.values())
    height = 30 + _ROW * len(ranked)

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - low) / ((high - low) or 1.0)

    drawn = [_bar(name, value, x(base), x(value), 22 + _ROW * i) for i, (name, value) in enumerate(ranked)]
    edge = [] if noise is None else [
        el("line", x1=f"{x(noise):.1f}", x2=f"{x(noise):.1f}", y1=16, y2=height, class_="change"),
        el("text", "noise ends here", x=f"{x(noise) + 5:.1f}", y=13, class_="mark"),
    ]  # fmt: skip
    return _figure(title, [*drawn, *edge], height)


def _bar(name: str, value: float, base: float, end: float, top: float) -> list[Html]:
    left, width = min(base, end), max(abs(end - base), 1.0)
    return [
        el("text", name if len(name) <= 36 else f"{name[:35]}…", x=_LEFT - 10, y=top + 11, text_anchor="end"),
        el("rect", el("title", f"{name}: {value:.4f}"), x=f"{left:.1f}", y=top, width=f"{width:.1f}", height=_ROW - 6,
           rx=2, class_="bar"),
        el("text", f"{value:.4f}", x=f"{max(base, end) + 6:.1f}", y=top + 11),
    ]  # fmt: skip


def _slices(slices: dict[str, int], count: int) -> Html:
    """Rows per slice, most first."""
    ranked = sorted(slices.items(), key=lambda item: -item[1])
    body = [el("tr", el("td", name), el("td", f"{rows:,}"), el("td", f"{rows / count:.1%}")) for name, rows in ranked]
    head = el("thead", el("tr", el("th", "Slice"), el("th", "Rows"), el("th", "Share")))
    return el("section", el("h2", "Rows per slice"), el("div", el("table", head, el("tbody", body)), class_="scroll"))


def _figure(title: str, drawn: Sequence[object], height: float) -> Html:
    image = el("svg", drawn, viewBox=f"0 0 {_WIDTH} {height:.0f}", role="img", aria_label=title)
    return el("section", el("h2", title), el("figure", image, class_="card"))


def _problems(problems: dict[str, str]) -> Html | None:
    if not problems:
        return None
    listed = [el("li", el("b", name), ": ", text) for name, text in problems.items()]
    return el("section", el("h2", "Could not be measured"), el("ul", listed))
