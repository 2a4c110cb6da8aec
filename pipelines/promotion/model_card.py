"""The card of a registered model: what it is for, what it was made of, how good it is, and what became of it.

write     gathers the record while the model is registered; saves it below the reports and in the version's MLflow run
refresh   draws every card of a use case anew, after the ledger got a decision
"""

from __future__ import annotations

import json
import logging
from typing import Any

from pipelines.errors import PermanentError
from pipelines.promotion.model_card_record import card_record
from pipelines.promotion.proposal import Proposal
from pipelines.workspace import Workspace, file_exists, list_files, read_bytes, write_bytes

_log = logging.getLogger(__name__)


def write(proposal: Proposal) -> None:
    """The first card of a version: record, page and Markdown; the record goes to its MLflow run as well."""
    training = proposal.training
    record = card_record(proposal)
    text = json.dumps(record, indent=1, allow_nan=False)
    write_bytes(_address(training.workspace, training.use_case.name, proposal.version, "json"), text.encode())
    page, _ = _draw(training.workspace, record)
    for name, content in (("model_card.json", text), ("model_card.html", page)):
        training.registry.client.log_text(record["reproduction"]["run"], content, name)


def refresh(workspace: Workspace, use_case: str) -> None:
    """Draw every card anew. A card that cannot be drawn stops nobody: what was decided stands in the ledger."""
    try:
        for version in known_versions(workspace, use_case):
            _draw(workspace, load_record(workspace, use_case, version))
    except Exception:  # whatever it is, the decision is made, and the next one draws them again
        _log.exception("%s: the model cards could not be drawn anew", use_case)


def known_versions(workspace: Workspace, use_case: str) -> list[int]:
    """The versions that have a card, oldest first."""
    folder = f"{workspace.environment.reports}/{use_case}/models/"
    names = [uri.removeprefix(folder) for uri, _ in list_files(folder.rstrip("/"))]
    return sorted(int(n[1:-5]) for n in names if n.startswith("v") and n.endswith(".json") and n[1:-5].isdigit())


def load_record(workspace: Workspace, use_case: str, version: int) -> dict[str, Any]:
    """What `write` gathered of a version.

    Raises:
        PermanentError: there is no such version, or it was registered before there were cards.
    """
    address = _address(workspace, use_case, version, "json")
    if not file_exists(address):
        workspace.registry.version(use_case, version)
        raise PermanentError(
            f"{use_case} v{version}: has no model card; it was registered before cards were written, or its record was "
            f"deleted. The decisions still tell of it: python -m pipelines decisions {use_case}"
        )
    found: dict[str, Any] = json.loads(read_bytes(address))
    return found


def card(workspace: Workspace, use_case: str, version: int | None = None) -> tuple[str, str, str]:
    """Markdown and page of a version, the champion's by default, drawn from the ledger of now; and the page's address.

    Raises:
        PermanentError: as in `load_record`, or there is no champion.
    """
    champion = workspace.ledger.champion(use_case)
    wanted = version if version is not None else champion.version if champion else None
    if wanted is None:
        raise PermanentError(f"{use_case}: there is no champion yet, so no card of it; say which version")
    page, markdown = _draw(workspace, load_record(workspace, use_case, wanted))
    return markdown, page, _address(workspace, use_case, wanted, "html")


def _draw(workspace: Workspace, record: dict[str, Any]) -> tuple[str, str]:
    """Page and Markdown from the record and the decisions of now, saved beside it."""
    from pipelines.pages import blocks, card_markdown, card_page, heading

    content = blocks(record, workspace.ledger.decisions(record["use_case"]))
    page, markdown = card_page(heading(record), content), card_markdown(heading(record), content)
    for suffix, text in (("html", page), ("md", markdown)):
        write_bytes(_address(workspace, record["use_case"], record["version"], suffix), text.encode())
    return page, markdown


def _address(workspace: Workspace, use_case: str, version: int, suffix: str) -> str:
    return f"{workspace.environment.reports}/{use_case}/models/v{version}.{suffix}"
