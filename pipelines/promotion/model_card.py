"""The record of a registered model: what it is for, what it was made of, how good it is. Its card is drawn from it."""

from __future__ import annotations

import json
from typing import Any

from pipelines.errors import PermanentError
from pipelines.promotion.model_card_record import card_record
from pipelines.promotion.proposal import Proposal
from pipelines.workspace import Workspace, file_exists, read_bytes, write_bytes


def write(proposal: Proposal) -> None:
    """Gather a version's record while it is registered; save it below the reports and in the version's MLflow run."""
    training, record = proposal.training, card_record(proposal)
    text = json.dumps(record, indent=1, allow_nan=False)
    write_bytes(_address(training.workspace, training.use_case.name, proposal.version), text.encode())
    training.registry.client.log_text(record["reproduction"]["run"], text, "model_card.json")


def load_record(workspace: Workspace, use_case: str, version: int) -> dict[str, Any]:
    """What `write` gathered of a version.

    Raises:
        PermanentError: there is no such version, or it was registered before there were cards.
    """
    address = _address(workspace, use_case, version)
    if not file_exists(address):
        workspace.registry.version(use_case, version)
        raise PermanentError(
            f"{use_case} v{version}: has no model card; it was registered before cards were written, or its record was "
            f"deleted. The decisions still tell of it: python -m pipelines decisions {use_case}"
        )
    found: dict[str, Any] = json.loads(read_bytes(address))
    return found


def _address(workspace: Workspace, use_case: str, version: int) -> str:
    return f"{workspace.environment.reports}/{use_case}/models/v{version}.json"
