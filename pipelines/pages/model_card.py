"""The card of a model version, as Markdown and as a page: one text, `templates/model_card.md`, and plots beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.pages.model_status import version_status
from pipelines.pages.rendering import render
from pipelines.promotion import load_record
from pipelines.workspace import Decision, Workspace

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Card:
    """What was recorded of a version, and what the ledger says of its use case now."""

    record: Mapping[str, object]
    decisions: Sequence[Decision]

    @property
    def title(self) -> str:
        return f"Model card: {self.record['title']}, v{self.record['version']}"

    @property
    def address(self) -> str:
        """Where Airflow shows the page."""
        return card_address(str(self.record["use_case"]), str(self.record["version"]))

    @cached_property
    def markdown(self) -> str:
        return render("model_card.md", record=self.record, status=version_status(self.record, self.decisions)).strip() + "\n"

    @property
    def page(self) -> str:
        """The Markdown as HTML, section by section, with plots."""
        top, *sections = self.markdown.split("\n## ")
        parts = [("", top.partition("\n")[2]), *((name, text) for name, _, text in (s.partition("\n") for s in sections))]
        parsed = [(name, _html(text)) for name, text in parts]
        return render("model_card.html", title=self.title, record=self.record, sections=parsed)


def card_address(use_case: str, version: str) -> str:
    return f"lifecycle/reports/{use_case}/models/v{version}.html"


def read_card(workspace: Workspace, use_case: str, version: int | None = None) -> Card:
    """The card of a version, the champion's by default.

    Raises:
        PermanentError: as in `load_record`, or there is no champion.
    """
    champion = workspace.ledger.champion(use_case)
    wanted = version if version is not None else champion.version if champion else None
    if wanted is None:
        raise PermanentError(f"{use_case}: there is no champion yet, so no card of it; say which version")
    return Card(record=load_record(workspace, use_case, wanted), decisions=workspace.ledger.decisions(use_case))


def _html(markdown: str) -> Markup:
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    parsed = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    # Only a table of the Markdown becomes a tag: HTML in it is text.
    return Markup(parsed.replace("<table>", '<div class="scroll"><table class="wrap">').replace("</table>", "</table></div>"))
