"""Who is champion: the ledger says so, and the registry's alias follows it."""

from __future__ import annotations

from pipelines.config import UseCase
from pipelines.environment import Yard
from pipelines.ledger import Decision, Kind
from pipelines.registry import CHAMPION


def check_alias(yard: Yard, use_case: UseCase) -> bool:
    """Put the alias back where the ledger has it; True if somebody, or a crash, had left it elsewhere.

    The ledger row comes first in a promotion and the alias second, so a crash between the two ends here as well.
    """
    champion = yard.ledger.champion(use_case.name)
    alias = yard.registry.alias(use_case.name, CHAMPION)
    if champion is None or alias == champion.version:
        return False
    found = "nothing" if alias is None else f"v{alias}"
    why = (
        f"The alias '{CHAMPION}' named {found}, but the ledger has v{champion.version} ({champion.decision}): it was put back."
    )
    yard.ledger.record(
        Decision(
            id=f"{Kind.ALIAS_MOVED}/{champion.decision}/{alias}/{yard.run}",
            use_case=use_case.name,
            kind=Kind.ALIAS_MOVED,
            partition=champion.effective_from,
            why=why,
            actor="alias check",
            run=yard.run,
            evidence={"alias": alias, "ledger": champion.version},
            model_version=champion.version,
        )
    )
    yard.registry.set_alias(use_case.name, CHAMPION, champion.version)
    return True
