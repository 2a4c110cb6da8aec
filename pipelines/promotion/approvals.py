"""Approval by a person: what an answer to the question is worth.

Nothing but an answer counts: a question that was skipped or marked as done by hand, or left until its deadline, is a no.
The task that asks writes the question into the ledger, and a yes when Airflow hands it one, both with the digest of what was
up for promotion. What Airflow keeps as the results of tasks can be edited by hand: without these rows it is no yes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pipelines.promotion.moves import promote
from pipelines.promotion.outcome import Promotion, decision_on, keep_because
from pipelines.promotion.proposal import Proposal
from pipelines.promotion.question import in_words
from pipelines.results import to_json
from pipelines.use_case import UseCase
from pipelines.workspace import Kind, approvers_of

REJECT, NOBODY = "Reject", "nobody"


@dataclass(frozen=True)
class Answer:
    """What came of the question: yes or no, who said so, and the sentence for the ledger."""

    approved: bool
    actor: str
    why: str


def ask(proposal: Proposal) -> None:
    """Write the question into the ledger: from now on no earlier yes of this run counts."""
    use_case = proposal.training.use_case
    why = f"v{proposal.version} waits for an answer of {use_case.approvers}, for {in_words(use_case.approval_deadline)}"
    _record(proposal, kind=Kind.ASKED, actor="training", why=why, at=datetime.now(UTC).isoformat())


def take_down(proposal: Proposal, said: Any) -> Answer:
    """Write a yes of the group into the ledger; a no is written down by `decline_unapproved`, with what became of it."""
    answer = _judge(proposal, said)
    if answer.approved:
        _record(proposal, kind=Kind.APPROVED, actor=answer.actor, why=answer.why, at=str(said.get("responded_at")))
    return answer


def promote_approved(proposal: Proposal, said: Any) -> Promotion | None:
    """Promote what a member of the group approved; None when nobody did."""
    answer = answer_of(proposal, said)
    return promote(proposal, answer.actor, answer.why) if answer.approved else None


def decline_unapproved(proposal: Proposal, said: Any) -> Promotion | None:
    """Record that the champion stays, and who said no or that nobody said anything; None when it was approved.

    Asked again in the same run, another answer is another decision.
    """
    answer, training, version = answer_of(proposal, said), proposal.training, proposal.version
    if answer.approved:
        return None
    now = training.ledger.champion(training.use_case.name)
    serves = now is not None and now.version == version
    done = "was promoted before, only a rollback takes it back" if serves else "was not promoted"
    why = f"v{version} {done}: {answer.why}. {proposal.evaluation.why}"
    return keep_because(proposal, why, answer.actor, version)


def answer_of(proposal: Proposal, said: Any) -> Answer:
    """What the question's result says; a yes only as the ledger has it: given after the last question, to this very thing."""
    answer, training = _judge(proposal, said), proposal.training
    if not answer.approved:
        return answer
    about = training.key, training.workspace.run, proposal.version
    decisions = training.ledger.decisions(training.use_case.name)
    rows = [d for d in decisions if (d.partition, d.run, d.model_version) == about]
    asked, taken = ([None, None] + [d for d in rows if d.kind in (Kind.ASKED, Kind.APPROVED)])[-2:]
    if not asked or not taken or (asked.kind, taken.kind, taken.actor) != (Kind.ASKED, Kind.APPROVED, answer.actor):
        why = f"a yes of {answer.actor} stands in the task's result, but the task never wrote one down: edited by hand?"
        return Answer(False, NOBODY, why)
    if {asked.evidence["shown"], taken.evidence["shown"]} != {_digest(proposal)}:
        why = f"{answer.actor} approved something else: plan, evaluation or version are not those of the question"
        return Answer(False, NOBODY, why)
    return Answer(True, taken.actor, taken.why)


def _judge(proposal: Proposal, said: Any) -> Answer:
    use_case = proposal.training.use_case
    return judge_answer(use_case, approvers_of(use_case, proposal.training.workspace.environment), proposal.version, said)


def _record(proposal: Proposal, *, kind: Kind, actor: str, why: str, at: str) -> None:
    """The question about a version, or a person's yes to it; `at` tells it from others in the same run.

    The promotion is another row, with its own outcome.
    """
    version = proposal.version
    made = decision_on(proposal, kind=kind, why=why, actor=actor, version=version, suffix=f"/v{version}/{at}")
    shown = made.evidence | {"shown": _digest(proposal)}
    proposal.training.ledger.record(replace(made, evidence=shown, effect=None))


def _digest(proposal: Proposal) -> str:
    parts = proposal.training.plan, proposal.evaluation, proposal.registered
    text = json.dumps([to_json(part) for part in parts], sort_keys=True)
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
