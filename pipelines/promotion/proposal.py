"""What is up for promotion."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.gates import Judged


@dataclass(frozen=True)
class Registered:
    """A version of the model that passed its gates."""

    version: int
    model_uri: str
    refitted: bool
    digest: str | None = None  # of the model when it was registered: the ledger gets it with the promotion


@dataclass(frozen=True)
class Proposal(Judged):
    """A registered version that is up for promotion, with the training and the evaluation that it came from."""

    registered: Registered

    @property
    def version(self) -> int:
        return self.registered.version
