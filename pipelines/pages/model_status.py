"""What became of a model version, by the ledger's decisions: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipelines.pages.rendering import moment
from pipelines.results import from_json
from pipelines.workspace import Decision, Kind

_ANSWERS = (Kind.ASKED, Kind.APPROVED)
_MOVES = (Kind.PROMOTED, Kind.ROLLED_BACK, Kind.RETIRED, Kind.ALIAS_ACCEPTED)


@dataclass(frozen=True)
class Registration:
    """What the record of a version says of how it was registered."""

    version: int
    made_at: str
    approval: str
    approvers: str
    moves_then: int | None = None  # how often the champion had moved; not with versions from before it was written


@dataclass(frozen=True)
class VersionStatus:
    """In a word, in a sentence, and decision by decision, in the ledger's order. `approved`: who and when, or why nobody."""

    word: str
    sentence: str
    approved: str
    decisions: tuple[Decision, ...]


def version_status(record: Mapping[str, object], decisions: Sequence[Decision]) -> VersionStatus:
    registered = from_json(Registration, record)
    moves = sorted((d for d in decisions if d.kind in _MOVES), key=lambda d: str(d.effective_from))
    word, sentence = _now(registered, moves, decisions)
    return VersionStatus(
        word=word,
        sentence=sentence,
        approved=_approved(registered, decisions),
        decisions=tuple(_about(registered.version, moves, decisions)),
    )


def _now(registered: Registration, moves: Sequence[Decision], decisions: Sequence[Decision]) -> tuple[str, str]:
    mine = [i for i, d in enumerate(moves) if d.model_version == registered.version]
    if not mine:
        return _never(registered, moves, decisions)
    last = moves[mine[-1]]
    if mine[-1] == len(moves) - 1:
        again = " again" if last.kind == Kind.ROLLED_BACK else ""
        return "champion", f"It is the champion{again}: it serves from {last.effective_from} on, since {moment(last.at)}."
    after = next(d for d in moves[mine[-1] + 1 :] if d.model_version != registered.version)
    if after.kind == Kind.ROLLED_BACK:
        return "rolled back", f"It was rolled back on {moment(after.at)} by {after.actor}. {_ended(after.why)}"
    if after.kind == Kind.RETIRED:
        return "retired", f"It was retired on {moment(after.at)} by {after.actor}. {_ended(after.why)}"
    return "replaced", f"It was replaced by v{after.model_version}, which serves from {after.effective_from} on."


def _never(registered: Registration, moves: Sequence[Decision], decisions: Sequence[Decision]) -> tuple[str, str]:
    last = _last_answer(registered.version, decisions)
    if last and last.kind == Kind.KEPT:
        return "not promoted", f"It was not promoted; decided on {moment(last.at)} by {last.actor}."
    if last and last.kind == Kind.APPROVED:
        return "approved", f"It was approved on {moment(last.at)} by {last.actor}, and is not promoted yet."
    if moves and _moved_since(registered, moves):
        serves = "no model" if moves[-1].model_version is None else f"v{moves[-1].model_version}"
        return "never promoted", f"It was never promoted; {serves} serves."
    if registered.approval == "required":
        waits = f"It waits for an approval by the group {registered.approvers}; until then it does not serve."
        return "awaiting approval", waits
    return "registered", "It is registered and not promoted yet."


def _moved_since(registered: Registration, moves: Sequence[Decision]) -> bool:
    if registered.moves_then is None:
        return moves[-1].at > registered.made_at
    return len(moves) > registered.moves_then


def _approved(registered: Registration, decisions: Sequence[Decision]) -> str:
    promoted = [d for d in decisions if d.kind == Kind.PROMOTED and d.model_version == registered.version]
    last = _last_answer(registered.version, decisions)
    if promoted and registered.approval == "automatic":
        return f"automatic, by the setting of the use case, {moment(promoted[-1].at)}"
    if promoted:
        return f"by {promoted[-1].actor}, {moment(promoted[-1].at)}"
    if last and last.kind != Kind.ASKED:
        return f"{'refused: ' if last.kind == Kind.KEPT else 'by '}{last.actor}, {moment(last.at)}"
    return "awaiting approval" if registered.approval == "required" else "automatic, by the setting of the use case"


def _last_answer(version: int, decisions: Sequence[Decision]) -> Decision | None:
    """The newest of its questions, approvals and refusals."""
    asked = [d for d in decisions if d.kind in _ANSWERS and d.model_version == version]
    answers = {d.id for d in [*asked, *_refusals(version, decisions)]}
    return next((d for d in reversed(decisions) if d.id in answers), None)


def _refusals(version: int, decisions: Sequence[Decision]) -> list[Decision]:
    """Decisions that this very version is not to be promoted; their id names it, as they are about the champion that stays."""
    return [d for d in decisions if d.kind == Kind.KEPT and f"/v{version}/" in d.id]


def _about(version: int, moves: Sequence[Decision], decisions: Sequence[Decision]) -> list[Decision]:
    """What concerns the version: it was asked for, came to serve or was refused, and by what it was replaced."""
    replaced = [after.id for before, after in pairwise(moves) if before.model_version == version]
    mine = [d.id for d in decisions if d.kind in (*_MOVES, *_ANSWERS) and d.model_version == version]
    wanted = {*mine, *(d.id for d in _refusals(version, decisions)), *replaced}
    return [d for d in decisions if d.id in wanted]


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
