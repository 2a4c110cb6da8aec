"""The registry's alias `champion`: it follows the ledger, which says who is champion."""

from __future__ import annotations

import time

from pipelines.errors import PermanentError
from pipelines.use_case import Partition, UseCase, predictions_table
from pipelines.workspace.ledger import Champion, Decision, Kind
from pipelines.workspace.registry import CHAMPION
from pipelines.workspace.workspace import Workspace

_ACTOR = "alias check"
_LOOKS, _PAUSE = 5, 0.3  # how long a move may take between its row and its alias, before it counts as broken off


def check_alias(workspace: Workspace, use_case: UseCase) -> bool:
    """Notice an alias that somebody, or a crash, left elsewhere; True if so. `alias_moved` says what becomes of it.

    The ledger row comes first in a promotion and the alias second, so a crash between the two ends here as well, and is
    put back under either policy: the alias still names the champion before.
    """
    champion, alias, left_behind = _view(workspace, use_case)
    if champion is None:
        return _taken_away(workspace, use_case, alias)
    if alias == champion.version:
        return False
    named = "nothing" if alias is None else f"v{alias}"
    found = f"The alias '{CHAMPION}' named {named}, but the ledger has v{champion.version}"
    if use_case.alias_moved == "accept" and alias is not None and not left_behind:
        return _accept(workspace, use_case, champion, alias, found)
    _put_back(workspace, use_case, champion, alias, f"{found} ({champion.decision}): it was put back.")
    return True


def _view(workspace: Workspace, use_case: UseCase) -> tuple[Champion | None, int | None, bool]:
    """Champion and alias of one moment, and whether the alias is where the last move of the champion found it.

    A move between the two reads shows in the ledger, which is read again; one that has its row and not its alias yet gets
    the time to set it.
    """
    for look in range(_LOOKS):
        champion = workspace.ledger.champion(use_case.name)
        alias = workspace.registry.alias(use_case.name, CHAMPION)
        if alias == (champion.version if champion else None):
            return champion, alias, False
        moves = workspace.ledger.champion_moves(use_case.name)
        moved = workspace.ledger.champion(use_case.name) != champion
        left_behind = bool(moves) and alias == (moves[-2].model_version if moves[1:] else None)
        if not moved and not left_behind:
            break
        if look < _LOOKS - 1:
            time.sleep(_PAUSE)
    return champion, alias, left_behind


def _put_back(workspace: Workspace, use_case: UseCase, champion: Champion, alias: int | None, why: str) -> None:
    """Raises PermanentError where the champion is gone from the registry: nothing was done, so nothing is written down."""
    try:
        workspace.registry.set_alias(use_case.name, CHAMPION, champion.version)
        now = workspace.ledger.champion(use_case.name)
        if now and now.version != champion.version:  # moved meanwhile: its alias may have been set just before ours
            workspace.registry.set_alias(use_case.name, CHAMPION, now.version)
    except PermanentError as error:
        raise PermanentError(
            f"{use_case.name}: the champion, v{champion.version}, is not in the registry any more ({error}). Restore it from "
            f'a backup of MLflow, go back: python -m pipelines rollback {use_case.name} --reason "...", or let it go, so that '
            f'the next training needs to beat nobody: python -m pipelines retire {use_case.name} --reason "..."'
        ) from None
    _record(workspace, use_case, why, (champion.decision, champion.effective_from), alias, champion.version)


def _taken_away(workspace: Workspace, use_case: UseCase, alias: int | None) -> bool:
    """After a retirement nobody has the alias, however far its command came."""
    moves = workspace.ledger.champion_moves(use_case.name)
    if alias is None or not moves:
        return False
    workspace.registry.delete_alias(use_case.name, CHAMPION)
    why = f"The alias '{CHAMPION}' named v{alias}, but in the ledger nobody is champion ({moves[-1].id}): it was taken away."
    _record(workspace, use_case, why, (moves[-1].id, str(moves[-1].effective_from)), alias, None)
    return True


def _record(
    workspace: Workspace, use_case: UseCase, why: str, move: tuple[str, str], alias: int | None, ledger: int | None
) -> None:
    """`move` is the decision that the alias did not follow, and its partition."""
    workspace.ledger.record(
        Decision(
            id=f"{Kind.ALIAS_MOVED}/{move[0]}/{alias}/{workspace.run}",
            use_case=use_case.name,
            kind=Kind.ALIAS_MOVED,
            partition=move[1],
            why=why,
            actor=_ACTOR,
            run=workspace.run,
            evidence={"alias": alias, "ledger": ledger},
            model_version=ledger,
        )
    )


def _accept(workspace: Workspace, use_case: UseCase, champion: Champion, alias: int, found: str) -> bool:
    """Let the version that the alias names serve from the first partition that was not scored yet, if it loads."""
    try:
        digest = workspace.registry.version(use_case.name, alias).tags.digest
        workspace.registry.load(use_case.name, alias)
    except PermanentError as error:
        _put_back(workspace, use_case, champion, alias, f"{found}, and v{alias} cannot serve ({error}): it was put back.")
        return True
    effective = max(champion.effective_from, first_unscored(workspace, use_case, champion.effective_from))
    decision = Decision(
        id=f"{Kind.ALIAS_ACCEPTED}/{champion.decision}/{alias}",
        use_case=use_case.name,
        kind=Kind.ALIAS_ACCEPTED,
        partition=effective,
        why=f"{found}: accepted, as the use case's setting alias_moved says. No gate has judged this move.",
        actor=_ACTOR,
        run=workspace.run,
        evidence={"alias": alias, "ledger": champion.version, "digest": digest},
        model_version=alias,
        effective_from=effective,
    )
    workspace.ledger.move_champion(decision, champion.version)
    return True


def first_unscored(workspace: Workspace, use_case: UseCase, otherwise: str) -> str:
    """The partition after the newest scored one."""
    scored = list(workspace.lake.partitions(predictions_table(use_case)))
    return Partition.parse(scored[-1], use_case.grain).next.key if scored else otherwise
