"""Approval by a person: the evidence that they are shown, and what their answer is worth.

Nothing but an answer counts: a question that was skipped or marked as done by hand, or left until its deadline, is a no.
The task that asks writes the question into the ledger, and a yes when Airflow hands it one, both with the digest of what was
up for promotion. What Airflow keeps as the results of tasks can be edited by hand: without these rows it is no yes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.gates import Evaluation
from pipelines.promotion.promotion import Promotion, Registered, decline, promote, record_approval
from pipelines.results import Verdict, to_json
from pipelines.training import TrainingPlan
from pipelines.use_case import UseCase
from pipelines.workspace import Kind, Workspace, approvers_of

REJECT, NOBODY = "Reject", "nobody"
_FIGURES = {"auc": "AUC", "log_loss": "log loss", "calibration_error": "calibration error", "rows": "rows"}
_UNITS = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))


@dataclass(frozen=True)
class Answer:
    """What came of the question: yes or no, who said so, and the sentence for the ledger."""

    approved: bool
    actor: str
    why: str


def ask(workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation, registered: Registered) -> None:
    """Write the question into the ledger: from now on no earlier yes of this run counts."""
    why = f"v{registered.version} waits for an answer of {use_case.approvers}, for {in_words(use_case.approval_deadline)}"
    up = plan, evaluation, registered
    record_approval(workspace, use_case, *up, Kind.ASKED, "training", why, datetime.now(UTC).isoformat(), _digest(*up))


def take_down(
    workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation, registered: Registered, said: Any
) -> Answer:
    """Write a yes of the group into the ledger; a no is written down by `decline_unapproved`, with what became of it."""
    answer = judge_answer(use_case, approvers_of(use_case, workspace.environment), registered.version, said)
    if answer.approved:
        up = plan, evaluation, registered
        at = str(said.get("responded_at"))
        record_approval(workspace, use_case, *up, Kind.APPROVED, answer.actor, answer.why, at, _digest(*up))
    return answer


def promote_approved(
    workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation, registered: Registered, said: Any
) -> Promotion | None:
    """Promote what a member of the group approved; None when nobody did."""
    answer = answer_of(workspace, use_case, plan, evaluation, registered, said)
    if not answer.approved:
        return None
    return promote(workspace, use_case, plan, evaluation, registered, answer.actor, answer.why)


def decline_unapproved(
    workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation, registered: Registered, said: Any
) -> Promotion | None:
    """Record that the champion stays, and who said no or that nobody said anything; None when it was approved."""
    answer = answer_of(workspace, use_case, plan, evaluation, registered, said)
    if answer.approved:
        return None
    return decline(workspace, use_case, plan, evaluation, registered, answer.why, answer.actor)


def answer_of(
    workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation, registered: Registered, said: Any
) -> Answer:
    """What the question's result says; a yes only as the ledger has it: given after the last question, to this very thing."""
    answer = judge_answer(use_case, approvers_of(use_case, workspace.environment), registered.version, said)
    if not answer.approved:
        return answer
    about = plan.partition, workspace.run, registered.version
    rows = [d for d in workspace.ledger.decisions(use_case.name) if (d.partition, d.run, d.model_version) == about]
    asked, taken = ([None, None] + [d for d in rows if d.kind in (Kind.ASKED, Kind.APPROVED)])[-2:]
    if not asked or not taken or (asked.kind, taken.kind, taken.actor) != (Kind.ASKED, Kind.APPROVED, answer.actor):
        why = f"a yes of {answer.actor} stands in the task's result, but the task never wrote one down: edited by hand?"
        return Answer(False, NOBODY, why)
    if {asked.evidence["shown"], taken.evidence["shown"]} != {_digest(plan, evaluation, registered)}:
        why = f"{answer.actor} approved something else: plan, evaluation or version are not those of the question"
        return Answer(False, NOBODY, why)
    return Answer(True, taken.actor, taken.why)


def _digest(plan: TrainingPlan, evaluation: Evaluation, registered: Registered) -> str:
    text = json.dumps([to_json(part) for part in (plan, evaluation, registered)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def judge_answer(use_case: UseCase, members: Sequence[str], version: int, said: Any) -> Answer:
    """What Airflow's answer is worth, as a yes to this very version: an old answer, or an old question, names another one."""
    if not isinstance(said, Mapping) or not said.get("chosen_options"):
        return Answer(False, NOBODY, "no answer stands: the question was skipped, failed, or marked as done by hand")
    given, user = ", ".join(map(str, said["chosen_options"])), said.get("responded_by_user") or {}
    name = str(user.get("name") or user.get("id") or "").strip()
    if not name:
        return Answer(False, NOBODY, _unsigned(use_case, given))
    if user.get("id") not in members:
        return Answer(False, name, f"{name} answered, who is not in the group {use_case.approvers}")
    note = str((said.get("params_input") or {}).get("note") or "").strip()
    word = {f"Approve v{version}": "approved", REJECT: "rejected"}.get(given, f"answered with '{given}'")
    return Answer(word == "approved", name, f"{word} by {name}" + (f": {note}" if note else ""))


def _unsigned(use_case: UseCase, given: str) -> str:
    if given == REJECT:  # the default, taken at the deadline
        return f"nobody answered within {in_words(use_case.approval_deadline)}"
    return f"the answer '{given}' does not say who gave it"


def in_words(span: timedelta) -> str:
    """`3 days`, in the largest unit that needs no fraction."""
    seconds = max(1, round(span.total_seconds()))
    unit, size = next((u, s) for u, s in _UNITS if seconds % s == 0)
    count = seconds // size
    return f"{count} {unit if count != 1 else unit[:-1]}"


def evidence_text(use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation, registered: Registered) -> str:
    """The question's text, in Markdown: everything that the gates looked at, before the one who decides."""
    parts = [
        _candidate(use_case, plan, evaluation, registered),
        _figures(plan, evaluation),
        _gates(evaluation.verdicts),
        _worth(use_case, evaluation),
        _warnings(evaluation),
        f"Model card: [models/v{registered.version}](lifecycle/reports/{use_case.name}/models/v{registered.version}.html)",
        f"Without an answer within {in_words(use_case.approval_deadline)} it is a no. "
        f"Members of {plain(use_case.approvers)} may answer; a note is kept in the ledger.",
    ]
    return "\n\n".join(part for part in parts if part)


def _candidate(use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation, registered: Registered) -> str:
    serves = use_case.partition(plan.partition).next.key
    now = f"v{plan.champion} serves until then." if plan.champion else "No model serves yet."
    return (
        f"**{plain(evaluation.chosen.candidate)}**, registered as **v{registered.version}**, would serve from {serves} on. "
        f"{now} Trained on {plan.partitions[0]} to {plan.partitions[-1]} ({plan.rows:,} rows), judged on rows from "
        f"{plan.holdout_from} on."
    )


def _figures(plan: TrainingPlan, evaluation: Evaluation) -> str:
    before, champion = evaluation.champion_holdout or {}, f"champion v{plan.champion}" if plan.champion else "no champion"
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


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def plain(text: str) -> str:
    """Text that Markdown shows as it is: values of the data stand in the gates' sentences."""
    return re.sub(r"([\\`*_\[\]<>|#~!])", r"\\\1", " ".join(text.split()))
