"""The question to those who may approve: the evidence that they are shown, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from pipelines.gates import Evaluation
from pipelines.promotion.proposal import Proposal
from pipelines.results import Verdict
from pipelines.use_case import UseCase

_FIGURES = {"auc": "AUC", "log_loss": "log loss", "calibration_error": "calibration error", "rows": "rows"}
_UNITS = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))


def in_words(span: timedelta) -> str:
    """`3 days`, in the largest unit that needs no fraction."""
    seconds = max(1, round(span.total_seconds()))
    unit, size = next((u, s) for u, s in _UNITS if seconds % s == 0)
    count = seconds // size
    return f"{count} {unit if count != 1 else unit[:-1]}"


def evidence_text(proposal: Proposal) -> str:
    """The question's text, in Markdown: everything that the gates looked at, before the one who decides."""
    use_case, card = proposal.training.use_case, f"models/v{proposal.version}"
    parts = [
        _candidate(proposal),
        _figures(proposal),
        _gates(proposal.evaluation.verdicts),
        _worth(use_case, proposal.evaluation),
        _warnings(proposal.evaluation),
        f"Model card: [{card}](lifecycle/reports/{use_case.name}/{card}.html)",
        f"Without an answer within {in_words(use_case.approval_deadline)} it is a no. "
        f"Members of {plain(use_case.approvers)} may answer; a note is kept in the ledger.",
    ]
    return "\n\n".join(part for part in parts if part)


def _candidate(proposal: Proposal) -> str:
    training, plan = proposal.training, proposal.training.plan
    serves = training.use_case.partition_after(plan.partition)
    now = f"v{plan.champion} serves until then." if plan.champion else "No model serves yet."
    return (
        f"**{plain(proposal.evaluation.chosen.candidate)}**, registered as **v{proposal.version}**, would serve from {serves} "
        f"on. {now} Trained on {plan.partitions[0]} to {plan.partitions[-1]} ({plan.rows:,} rows), judged on rows from "
        f"{plan.holdout_from} on."
    )


def _figures(proposal: Proposal) -> str:
    evaluation, version = proposal.evaluation, proposal.training.plan.champion
    before, champion = evaluation.champion_holdout or {}, f"champion v{version}" if version else "no champion"
    rows = [(name, _figure(evaluation.holdout.get(key)), _figure(before.get(key))) for key, name in _FIGURES.items()]
    return _table(("on the same newer rows", "candidate", champion), rows)


def _gates(verdicts: Sequence[Verdict]) -> str:
    rows = [(v.gate.replace("_", " "), "passed" if v.passed else "FAILED", v.sentence) for v in verdicts]
    return _table(("gate", "verdict", "why"), rows)


def _worth(use_case: UseCase, evaluation: Evaluation) -> str:
    if evaluation.worth is None or use_case.value is None:
        return ""
    return f"Worth on these rows, against doing nothing: **{evaluation.worth:,.0f} {plain(use_case.value.unit)}**."


def _warnings(evaluation: Evaluation) -> str:
    assessed = evaluation.assessment
    if assessed is None:
        return "The data was not assessed."
    warned = [v for v in assessed.verdicts if v.gate in assessed.warned]
    if not warned:
        return "The assessment of the data has no warnings."
    said = "\n".join(f"- {plain(v.gate.replace('_', ' '))}: {plain(v.sentence)}" for v in warned)
    return f"Warnings of the data's assessment:\n\n{said}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def plain(text: str) -> str:
    """Text that Markdown shows as it is: values of the data stand in the gates' sentences."""
    return re.sub(r"([\\`*_\[\]<>|#~!])", r"\\\1", " ".join(text.split()))
