"""Verbs for a state that does not agree with itself: a look at it, and the way on."""

from __future__ import annotations

import getpass
from typing import Annotated

from typer import Exit, Option

from pipelines.commands.program import UseCaseName, new_run_name, opened, progress, verb


@verb("Look", "doctor", "")
def doctor() -> None:
    """Compare environment, registry, ledger and lake, and say what is wrong, since when, and the mend. Writes nothing."""
    from pipelines.maintenance import examine
    from pipelines.use_case import load_use_cases
    from pipelines.workspace import open_workspace

    use_cases, broken = load_use_cases()
    with progress("looking at environment, registry, ledger and lake"):
        found = examine(open_workspace("doctor"), use_cases)
    for file, why in broken.items():
        print(f"{file}: {why}\n  since: now\n  mend:  as the message says")
    print("\n".join(map(str, found)) or f"all in order: {', '.join(u.name for u in use_cases)}")
    if found or broken:
        raise Exit(1)


@verb("Look", "skew", "flight_delay")
def skew(use_case: UseCaseName) -> None:
    """Compute the newest served partition, and an older one, again from the sources' tables, and compare row by row."""
    from pipelines.features import build
    from pipelines.maintenance import compare, plan_again

    workspace, found = opened(use_case, new_run_name())
    for which in ("newest", "older"):
        again = plan_again(workspace, found, which)
        if again.plan is None:
            print(again.why)
            continue
        with progress(f"computing {found.name} {again.partition} again"):
            build(workspace, again.plan)
            compared = compare(workspace, found, again)
        print(compared)


@verb("Models", "retire", 'flight_delay --reason "v2 was deleted in MLflow"')
def retire(use_case: UseCaseName, reason: Annotated[str, Option(help="Why; it is kept in the ledger.")]) -> None:
    """Let the champion serve no longer, and no other until one is promoted."""
    from pipelines import promotion
    from pipelines.use_case import load_use_case
    from pipelines.workspace import open_workspace

    print(promotion.retire(open_workspace("cli"), load_use_case(use_case), reason, getpass.getuser()).why)


@verb("Mend", "relocate", "--from file:///srv/production/mlflow/artifacts")
def relocate(
    before: Annotated[str, Option("--from", metavar="PLACE", help="Where MLflow's record says the models lie.")],
) -> None:
    """In a copied state, let MLflow's record name the models that were copied with it."""
    from pipelines.errors import PermanentError
    from pipelines.workspace import open_workspace

    registry = open_workspace("cli").registry
    if registry.database is None:
        raise PermanentError(
            f"{registry.tracking_uri}: a server has this registry; let it keep its models where it can see them"
        )
    print(f"{registry.database.relocate(before)} addresses name {registry.artifacts} now")
