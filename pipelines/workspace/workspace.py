"""The workspace: everything outside the process that a step may touch, opened in one place and passed in."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.errors import PermanentError
from pipelines.use_case import UseCase, source_table
from pipelines.workspace.clock import Clock
from pipelines.workspace.environment import Environment, load_environment
from pipelines.workspace.lake import Lake
from pipelines.workspace.ledger import Ledger
from pipelines.workspace.registry import Registry


@dataclass(frozen=True)
class Workspace:
    """Everything outside the process that a step may touch. Made here, passed in; tests make one in `tmp_path`."""

    environment: Environment
    lake: Lake
    registry: Registry
    ledger: Ledger
    run: str
    clock: Clock = field(default_factory=Clock)

    def fill(self, uri: str, **values: str) -> str:
        return uri.format(landing=self.environment.landing, **values)


def open_workspace(run: str = "cli") -> Workspace:
    """The lake, the registry and the ledger of this environment. `run` names who is at work, in commits and decisions."""
    environment = load_environment()
    lake = Lake(environment.lake.root, environment.lake.options)
    clock = Clock(environment.clock)
    ledger = Ledger(lake, clock)
    registry = Registry(environment.registry.tracking_uri, environment.registry.artifacts, ledger.vouch)
    return Workspace(environment=environment, lake=lake, registry=registry, ledger=ledger, run=run, clock=clock)


def stop_at_other_grain(workspace: Workspace, use_case: UseCase) -> None:
    """Raises PermanentError where the lake holds partitions of another grain: they were published before it was changed."""
    table = source_table(use_case, use_case.features.entity)
    for key in workspace.lake.partitions(table):
        try:
            use_case.partition(key)
        except PermanentError:
            raise PermanentError(
                f"{table} holds the partition {key}, but {use_case.name}.yaml says grain: {use_case.grain}. Tables of another "
                "grain are not read: put the grain back, give the use case another name, or build it anew in another lake (the "
                "demo's: make demo FRESH=1, which erases its state)"
            ) from None
