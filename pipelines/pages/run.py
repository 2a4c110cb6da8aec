"""The page of one DAG run: what it decided, why, and what every gate said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.pages.figures import UNKNOWN, decision, figure, moment, money
from pipelines.pages.markup import Html, document, el
from pipelines.workspace import Decision, Kind

_FIGURES = {"auc": "AUC", "log_loss": "Log loss", "calibration_error": "Calibration error"}
_DECIDING = ("training", "retraining", "rollback")
_WRAPPED = "white-space: normal; min-width: 24em"


def run_page(title: str, stage: str, run: str, decisions: Sequence[Decision]) -> Html:
    """The newest decision in full, the earlier ones of a run that was asked again below it."""
    earlier = el("ul", [decision(made) for made in decisions[1:]], class_="decisions")
    return document(
        f"Decision · {title}",
        el("p", f"{title} / {stage.replace('_', ' ')} / {run}", class_="crumb soft"),
        _decision(decisions[0]) if decisions else _nothing(stage),
        [el("h2", "Before that, in the same run"), earlier] if decisions[1:] else None,
    )


def headline(made: Decision) -> str:
    """`Promoted v3`, `Kept v2`, `Retrained: no`: the outcome in a word or two."""
    version = f"v{made.model_version}" if made.model_version is not None else None
    words = {
        Kind.ASKED: f"Waiting for an answer: promote {version}?",
        Kind.APPROVED: f"Approved {version}, not promoted yet",
        Kind.PROMOTED: f"Promoted {version}",
        Kind.KEPT: f"Kept {version}" if version else "Kept: still no champion",
        Kind.ROLLED_BACK: f"Rolled back to {version}",
        Kind.RETRAINED: "Retrained: yes",
        Kind.NOT_RETRAINED: "Retrained: no",
    }
    return {str(kind): text for kind, text in words.items()}.get(made.kind, made.kind.capitalize())


def _decision(made: Decision) -> Html:
    return el(
        "article",
        el("h1", headline(made)),
        el("p", f"{made.partition}, by {made.actor}, {moment(made.at)}", class_="soft"),
        el("section", el("p", made.why), class_="notice"),
        _facts(made),
        _figures(made.evidence),
        _gates(verdicts_of(made.evidence)),
        data_decision=made.id,
        data_kind=made.kind,
    )


def verdicts_of(evidence: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The gates' verdicts; of a training that was stopped before them, the assessment's."""
    return list(evidence.get("verdicts") or (evidence.get("assessment") or {}).get("verdicts") or ())


def _facts(made: Decision) -> Html | None:
    facts = [("Serves from", made.effective_from), ("Candidate", made.evidence.get("candidate"))]
    facts += [("Worth on the holdout", money(made.effect, made.effect_unit))] if made.effect is not None else []
    shown = [[el("dt", name), el("dd", value)] for name, value in facts if value]
    return el("dl", shown, class_="facts") if shown else None


def _figures(evidence: Mapping[str, Any]) -> Html | None:
    mine, champion = evidence.get("holdout"), evidence.get("champion_holdout") or {}
    if not mine:
        return None
    beside = f"Champion v{evidence['champion']}" if evidence.get("champion") else "No champion"
    rows = [
        el("tr", el("td", n), el("td", figure(mine.get(k))), el("td", figure(champion.get(k)))) for k, n in _FIGURES.items()
    ]
    head = el("tr", el("th", "On the same newer rows"), el("th", "Candidate"), el("th", beside))
    return el("div", el("h2", "Figures"), el("div", el("table", el("thead", head), el("tbody", rows)), class_="scroll"))


def _gates(verdicts: Sequence[Mapping[str, Any]]) -> Html | None:
    if not verdicts:
        return None
    head = el("tr", el("th", "Gate"), el("th", "Verdict", class_="left"), el("th", "What it says", class_="left"))
    table = el("table", el("thead", head), el("tbody", [_gate(v) for v in verdicts]))
    return el("div", el("h2", "Gates"), el("div", table, class_="scroll"))


def _gate(verdict: Mapping[str, Any]) -> Html:
    name, passed = str(verdict.get("gate", UNKNOWN)), verdict.get("passed") is True
    word = el("span", "passed" if passed else "failed", class_=f"badge {'good' if passed else 'bad'}")
    cells = el("td", name.replace("_", " ")), el("td", word, class_="left")
    said = el("td", verdict.get("sentence", UNKNOWN), class_="left", style=_WRAPPED)
    return el("tr", cells, said, data_gate=name, data_outcome="passed" if passed else "failed")


def _nothing(stage: str) -> Html:
    waiting = (
        "It may still be at work or wait for an approval, it may have failed before there was anything to decide, or the very "
        "same decision was recorded by an earlier run."
    )
    other = "Runs of this DAG decide nothing about the model: its tasks and their reports tell what it did."
    return el(
        "section",
        el("h1", "No decision"),
        el("p", "This run has recorded no decision. ", waiting if stage in _DECIDING else other),
        class_="notice",
    )
