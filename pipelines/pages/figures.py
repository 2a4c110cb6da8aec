"""Figures and decisions in words, as the command line has them too."""

from __future__ import annotations

import json

from pipelines.pages.markup import Html, el
from pipelines.workspace import Decision, Kind

_TONES = {
    Kind.APPROVED: "cool",
    Kind.PROMOTED: "good",
    Kind.RETRAINED: "cool",
    Kind.RESTORED: "cool",
    Kind.REPLAYED: "cool",
    Kind.ROLLED_BACK: "warn",
    Kind.NOT_SCORED: "warn",
    Kind.QUARANTINED: "bad",
}
_LONGEST = 6000
UNKNOWN = "–"


def figure(value: float | None) -> str:
    """Four decimals, as in `python -m pipelines status`."""
    return UNKNOWN if value is None else f"{value:.4f}"


def money(value: float | None, unit: str | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f} {unit or ''}".strip()


def count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def moment(at: str) -> str:
    """`2013-04-08 12:00 UTC` of an ISO time in UTC."""
    return f"{at[:10]} {at[11:16]} UTC"


def badge(kind: str) -> Html:
    tone = {str(k): v for k, v in _TONES.items()}.get(kind, "")
    return el("span", kind, class_=f"badge {tone}".strip())


def decision(made: Decision) -> Html:
    """One decision: what, about which partition, why, by whom and when, and what it was based on."""
    line = el(
        "div",
        badge(made.kind),
        el("b", made.partition),
        el("span", f"v{made.model_version}", class_="soft") if made.model_version is not None else None,
        el("span", f"{money(made.effect, made.effect_unit)}") if made.effect is not None else None,
        el("span", f"by {made.actor}, {moment(made.at)}", class_="soft small"),
        class_="line1",
    )
    return el("li", line, el("p", made.why), _evidence(made), data_decision=made.id, data_kind=made.kind)


def _evidence(made: Decision) -> Html | None:
    if not made.evidence:
        return None
    text = json.dumps(made.evidence, indent=1, sort_keys=True, default=str)
    rest = f"\n… all of it: python -m pipelines decisions {made.use_case} --json" if len(text) > _LONGEST else None
    return el("details", el("summary", "Evidence"), el("pre", text[:_LONGEST], rest))
