"""Approvals: what the one who decides is shown, and what an answer is worth. Only a signed yes of the group is a yes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.assessment import Assessed
from pipelines.gates import Evaluation
from pipelines.promotion.approvals import (
    NOBODY,
    ask,
    decline_unapproved,
    judge_answer,
    promote_approved,
    take_down,
)
from pipelines.promotion.proposal import Proposal, Registered
from pipelines.promotion.question import evidence_text, in_words, plain
from pipelines.results import Verdict
from pipelines.training import Trained, TrainingPlan, TrainingRun
from pipelines.use_case import UseCase
from pipelines.workspace import Kind, Workspace
from tests.conftest import copy_of, simple_of

GROUP = ("admin", "grace")


def said(option: str | None = "Approve v3", user: str | None = "admin", note: str | None = None, **more: Any) -> dict[str, Any]:
    """An answer as Airflow hands it on."""
    return {
        "chosen_options": [option] if option else [],
        "params_input": {"note": note} if note is not None else {},
        "responded_at": datetime(2013, 4, 1, 12, tzinfo=UTC),
        "responded_by_user": {"id": user, "name": user} if user else None,
        **more,
    }


@pytest.fixture
def strict(simple_only: UseCase) -> UseCase:
    return simple_only.model_copy(update={"approval": "required"})


def judged(use_case: UseCase, answer: Any) -> tuple[bool, str, str]:
    found = judge_answer(use_case, GROUP, 3, answer)
    return found.approved, found.actor, found.why


def test_a_signed_yes_of_the_group_is_a_yes(strict: UseCase) -> None:
    assert judged(strict, said()) == (True, "admin", "approved by admin")
    assert judged(strict, said(user="grace", note=" fine ")) == (True, "grace", "approved by grace: fine")


def test_a_no_is_told_with_its_note(strict: UseCase) -> None:
    assert judged(strict, said("Reject")) == (False, "admin", "rejected by admin")
    assert judged(strict, said("Reject", note="too early")) == (False, "admin", "rejected by admin: too early")


def test_the_default_at_the_deadline_is_nobodys_answer(strict: UseCase) -> None:
    assert judged(strict, said("Reject", user=None)) == (False, NOBODY, "nobody answered within 3 days")


@pytest.mark.parametrize("answer", [None, [], {}, "Approve v3", said(None), {"chosen_options": None}])
def test_a_question_that_was_marked_as_done_or_skipped_is_no_yes(strict: UseCase, answer: Any) -> None:
    approved, actor, why = judged(strict, answer)
    assert (approved, actor) == (False, NOBODY)
    assert "marked as done by hand" in why


@pytest.mark.parametrize("user", [None, {}, {"id": "", "name": " "}, {"id": None, "name": None}])
def test_an_unsigned_yes_is_a_no(strict: UseCase, user: Any) -> None:
    approved, actor, why = judged(strict, said(responded_by_user=user))
    assert (approved, actor) == (False, NOBODY)
    assert "does not say who gave it" in why


@pytest.mark.parametrize("user", [{"id": "mallory", "name": "mallory"}, {"id": "mallory", "name": "admin"}, {"name": "admin"}])
def test_somebody_outside_the_group_cannot_approve(strict: UseCase, user: dict[str, str]) -> None:
    approved, _, why = judged(strict, said(responded_by_user=user))
    assert not approved
    assert "not in the group model-approvers" in why


@pytest.mark.parametrize("options", [["approve v3"], ["Approve v3", "Reject"], ["Reject", "Approve v3"], ["Later"]])
def test_another_option_is_no_yes(strict: UseCase, options: list[str]) -> None:
    approved, actor, why = judged(strict, said(chosen_options=options))
    assert (approved, actor) == (False, "admin")
    assert why.startswith("answered with ")


@pytest.mark.parametrize("option", ["Approve v2", "Approve v33", "Approve", "Approve v"])
def test_a_yes_to_another_version_does_not_count(strict: UseCase, option: str) -> None:
    """What was asked was cleared with its model: the old answer is still there, or the old question is shown again."""
    assert judged(strict, said(option)) == (False, "admin", f"answered with '{option}' by admin")


@pytest.mark.parametrize(
    ("span", "words"),
    [(timedelta(days=3), "3 days"), (timedelta(days=1), "1 day"), (timedelta(hours=36), "36 hours"),
     (timedelta(seconds=90), "90 seconds"), (timedelta(minutes=5), "5 minutes"), (timedelta(seconds=0.2), "1 second")],
)  # fmt: skip
def test_a_deadline_is_told_in_words(span: timedelta, words: str) -> None:
    assert in_words(span) == words


# What the one who decides is shown


PLAN = TrainingPlan("parcels", "2013-03-31", ("2013-03-01", "2013-03-31"), {}, "2013-03-18", "2013-03-17", ("a",), 2, 12345)
VERDICTS = (
    Verdict("quality", True, "AUC 0.712 (at least 0.600 asked)."),
    Verdict("beats_champion", True, "That is a | real gain for carrier *<b>UPS</b>*."),
)
WARNED = Assessed(
    "parcels", "2013-03-31", True, (Verdict("slices", False, "One slice is small."), Verdict("rows", True, "Enough rows.")),
    ("slices",), "fit", "a.json", "a.html",
)  # fmt: skip
FOUND = Evaluation(
    Trained("boosting", "run", "uri", {}, 1, 0.5, {"auc": 0.8}), True, VERDICTS,
    {"auc": 0.71234, "log_loss": 0.47011, "calibration_error": None, "rows": 4321},
    {"auc": 0.69876, "log_loss": 0.48125, "calibration_error": 0.02, "rows": 4321}, 1234.5, "passed", (), (), WARNED,
)  # fmt: skip


@pytest.fixture
def shown(workspace: Workspace, strict: UseCase) -> Any:
    """The question's text, for the proposal above with some parts replaced."""

    def text(evaluation: Evaluation = FOUND, plan: TrainingPlan = PLAN, version: int = 3) -> str:
        return evidence_text(Proposal(TrainingRun(workspace, strict, plan), evaluation, Registered(version, "uri", True)))

    return text


def test_the_question_shows_all_that_the_gates_looked_at(shown: Any) -> None:
    text = shown()
    for wanted in (
        "**boosting**, registered as **v3**, would serve from 2013-04-01 on. v2 serves until then.",
        "Trained on 2013-03-01 to 2013-03-31 (12,345 rows), judged on rows from 2013-03-18 on.",
        "| on the same newer rows | candidate | champion v2 |",
        "| AUC | 0.7123 | 0.6988 |",
        "| calibration error | – | 0.0200 |",
        "| rows | 4,321 | 4,321 |",
        "| quality | passed | AUC 0.712 (at least 0.600 asked). |",
        "Worth on these rows, against doing nothing: **1,234 USD**.",
        "- slices: One slice is small.",
        "[models/v3](lifecycle/reports/parcels/models/v3.html)",
        "Without an answer within 3 days it is a no.",
        "Members of model-approvers may answer",
    ):
        assert wanted in text
    assert "Enough rows." not in text


def test_the_first_model_has_no_champion_beside_it(shown: Any) -> None:
    first = replace(FOUND, champion_holdout=None, worth=None, assessment=None)
    text = shown(first, replace(PLAN, champion=None), 1)
    assert "No model serves yet." in text
    assert "| candidate | no champion |" in text
    assert "| AUC | 0.7123 | – |" in text
    assert "Worth" not in text
    assert "The data was not assessed." in text


def test_a_failed_gate_would_be_seen(shown: Any) -> None:
    failed = replace(FOUND, verdicts=(Verdict("quality", False, "AUC 0.5."),))
    assert "| quality | FAILED | AUC 0.5. |" in shown(failed)


def test_values_of_the_data_are_shown_as_they_are(shown: Any) -> None:
    text = shown()
    assert r"That is a \| real gain for carrier \*\<b\>UPS\</b\>\*." in text
    assert plain("[click](x)\n| `a` | <img src=x>") == r"\[click\](x) \| \`a\` \| \<img src=x\>"


# What becomes of it


@pytest.fixture(scope="module")
def made(_one_champion: Path, tmp_path_factory: pytest.TempPathFactory, use_case: UseCase) -> tuple[Path, Proposal]:
    """A challenger of the last day, registered: once, as its training takes seconds."""
    from tests.promotion.test_promotion import judged as challenger
    from tests.promotion.test_promotion import proposed

    strict = simple_of(use_case).model_copy(update={"approval": "required"})
    newest = strict.model_copy(update={"training": strict.training.model_copy(update={"max_history": timedelta(days=6)})})
    folder = tmp_path_factory.mktemp("made")
    return folder, proposed(challenger(copy_of(_one_champion, folder, use_case), newest))


@pytest.fixture
def waiting(made: tuple[Path, Proposal], tmp_path: Path, use_case: UseCase) -> Proposal:
    """It is up for approval, in a copy of its own."""
    folder, proposal = made
    workspace = copy_of(folder, tmp_path, use_case).workspace
    environment = workspace.environment.model_copy(update={"groups": {"model-approvers": GROUP}})
    training = replace(proposal.training, workspace=replace(workspace, environment=environment))
    return replace(proposal, training=training)


def test_of_both_steps_exactly_one_concludes(waiting: Proposal) -> None:
    asked = [(said(option="Reject", note="not in winter"), "rejected by admin: not in winter", "admin"),
             (said(option="Reject", user=None), "nobody answered within 3 days", NOBODY),
             (None, "no answer stands: the question was skipped, failed, or marked as done by hand", NOBODY),
             (said("Approve v1"), "answered with 'Approve v1' by admin", "admin")]  # fmt: skip
    for answer, words, actor in asked:
        assert promote_approved(waiting, answer) is None
        kept = decline_unapproved(waiting, answer)
        assert kept
        assert (kept.decision, kept.champion) == (Kind.KEPT, 1)
        last = waiting.training.ledger.decisions("parcels")[-1]
        assert last.why.startswith(f"v1 stays. v2 was not promoted: {words}. ")
        assert (last.actor, last.model_version, last.run) == (actor, 1, waiting.training.workspace.run)
    ask(waiting)
    take_down(waiting, said("Approve v2", note="go"))
    assert decline_unapproved(waiting, said("Approve v2")) is None
    assert [d.kind for d in waiting.training.ledger.decisions("parcels")] == [
        Kind.PROMOTED, *[Kind.KEPT] * len(asked), Kind.ASKED, Kind.APPROVED
    ]  # fmt: skip
    done = promote_approved(waiting, said("Approve v2", note="go"))
    assert done
    assert (done.decision, done.champion) == (Kind.PROMOTED, 2)
    last = waiting.training.ledger.decisions("parcels")[-1]
    assert last.why.startswith("v2 approved by admin: go. ")
    assert last.actor == "admin"


def test_a_yes_that_the_task_never_wrote_down_promotes_nothing(waiting: Proposal) -> None:
    """Whoever may edit the task's result wrote a colleague's yes there."""
    ask(waiting)
    forged = said("Approve v2")
    assert promote_approved(waiting, forged) is None
    kept = decline_unapproved(waiting, forged)
    assert kept
    assert (kept.decision, kept.champion) == (Kind.KEPT, 1)
    last = waiting.training.ledger.decisions("parcels")[-1]
    assert last.actor == NOBODY
    assert "a yes of admin stands in the task's result, but the task never wrote one down: edited by hand?" in last.why


@pytest.mark.parametrize(
    "differs", [{"run": "another"}, {"partition": "2013-01-01"}, {"model_version": 9}, {"actor": "grace"}, {"kind": Kind.KEPT}]
)
def test_a_yes_to_something_else_is_no_yes_to_this(waiting: Proposal, differs: dict[str, Any]) -> None:
    ask(waiting)
    take_down(waiting, said("Approve v2"))
    made = waiting.training.ledger.decisions("parcels")[-1]
    assert made.kind == Kind.APPROVED
    workspace = replace(waiting.training.workspace, ledger=_Only(waiting.training.ledger, replace(made, **differs)))
    elsewhere = replace(waiting, training=replace(waiting.training, workspace=workspace))
    assert promote_approved(elsewhere, said("Approve v2")) is None
    assert promote_approved(waiting, said("Approve v2"))


class _Only:
    """A ledger in which one decision reads otherwise; nothing is written through it."""

    def __init__(self, ledger: Any, made: Any) -> None:
        self.ledger, self.made = ledger, made

    def decisions(self, use_case: str) -> list[Any]:
        return [self.made if d.id == self.made.id else d for d in self.ledger.decisions(use_case)]


def test_an_earlier_yes_is_none_to_a_question_that_was_asked_again(waiting: Proposal) -> None:
    """The yes came, its promotion did not; asked again, somebody said no, and the task's result was edited to the old yes."""
    ask(waiting)
    take_down(waiting, said("Approve v2"))
    ask(waiting)
    take_down(waiting, said("Reject"))
    assert promote_approved(waiting, said("Approve v2")) is None
    later = said("Approve v2", responded_at=datetime(2013, 4, 2, tzinfo=UTC))
    take_down(waiting, later)
    assert promote_approved(waiting, later)


def test_what_was_approved_is_what_was_shown(waiting: Proposal) -> None:
    """Plan and evaluation travel as results of tasks, which can be edited after the yes: against another champion, say."""
    ask(waiting)
    take_down(waiting, said("Approve v2"))
    edited = [
        replace(waiting, training=replace(waiting.training, plan=replace(waiting.training.plan, champion=None))),
        replace(waiting, evaluation=replace(waiting.evaluation, worth=1e9)),
        replace(waiting, registered=replace(waiting.registered, refitted=not waiting.registered.refitted)),
        replace(waiting, registered=replace(waiting.registered, digest="0" * 64)),
    ]
    for other in edited:
        assert promote_approved(other, said("Approve v2")) is None
        decline_unapproved(other, said("Approve v2"))
        assert "admin approved something else" in waiting.training.ledger.decisions("parcels")[-1].why
    assert promote_approved(waiting, said("Approve v2"))


def test_what_was_edited_before_the_yes_does_not_count_either(waiting: Proposal) -> None:
    """The question showed one evaluation, the answer was given to another."""
    ask(waiting)
    edited = replace(waiting, evaluation=replace(waiting.evaluation, worth=1e9))
    take_down(edited, said("Approve v2"))
    assert promote_approved(edited, said("Approve v2")) is None
    assert promote_approved(waiting, said("Approve v2")) is None


@pytest.mark.parametrize("answer", [said("Reject"), said(user="mallory"), said("Approve v1"), said(user=None), None])
def test_only_a_yes_of_the_group_is_taken_down(waiting: Proposal, answer: Any) -> None:
    before = waiting.training.ledger.decisions("parcels")
    assert not take_down(waiting, answer).approved
    assert waiting.training.ledger.decisions("parcels") == before


def test_a_yes_is_taken_down_once_with_its_note_and_evidence(waiting: Proposal) -> None:
    before = len(waiting.training.ledger.decisions("parcels"))
    for _ in range(2):  # the task was killed after it
        take_down(waiting, said("Approve v2", note="go"))
    assert len(waiting.training.ledger.decisions("parcels")) == before + 1
    made = waiting.training.ledger.decisions("parcels")[-1]
    assert (made.kind, made.actor, made.model_version, made.why) == (Kind.APPROVED, "admin", 2, "approved by admin: go")
    assert made.evidence["verdicts"]
    champion = waiting.training.ledger.champion("parcels")
    assert champion
    assert champion.version == 1, "a yes alone moves nothing"


def test_the_same_no_is_recorded_once(waiting: Proposal) -> None:
    before = len(waiting.training.ledger.decisions("parcels"))
    for _ in range(2):
        decline_unapproved(waiting, said(option="Reject", note="no"))
    assert len(waiting.training.ledger.decisions("parcels")) == before + 1


def test_a_no_after_the_promotion_says_that_it_serves_all_the_same(waiting: Proposal) -> None:
    ask(waiting)
    take_down(waiting, said("Approve v2"))
    promote_approved(waiting, said("Approve v2"))
    decline_unapproved(waiting, said("Reject", note="second thoughts"))
    last = waiting.training.ledger.decisions("parcels")[-1]
    words = "v2 stays. v2 was promoted before, only a rollback takes it back: rejected by admin: second thoughts. "
    assert last.why.startswith(words)
    assert (last.kind, last.model_version) == (Kind.KEPT, 2)
