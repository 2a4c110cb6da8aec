"""The reports that steps have written, or whose record they have, and the headers under which such a page may be served.

Evidently's and Great Expectations' pages carry raw data values, also inside scripts: they are somebody else's code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.errors import PermanentError
from pipelines.monitoring import whole_page
from pipelines.pages.model_card import read_card
from pipelines.pages.rendering import render
from pipelines.pages.site import assessment_page
from pipelines.use_case import SNAPSHOT
from pipelines.workspace import Workspace, list_files, read_bytes

# A page of its own origin, which reads nothing of Airflow's and calls nobody.
REPORT_HEADERS = {
    "Content-Security-Policy": (
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' data: blob:; "
        "style-src 'unsafe-inline' data:; img-src data: blob:; font-src data:; worker-src blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# Of a JSON file the page is drawn when somebody looks.
_NAMES = {
    "contracts": re.compile(rf"(?P<subject>\w+)-(?P<partition>\d[\w-]*|{SNAPSHOT})\.html"),
    "assessment": re.compile(r"(?P<partition>\d[\w-]*)(?P<subject>)\.json"),
    "drift": re.compile(r"(?P<partition>\d[\w-]*)-(?P<subject>v\d+)\.html"),
    "models": re.compile(r"(?P<subject>v\d+)(?P<partition>)\.json"),
}


@dataclass(frozen=True, order=True)
class Report:
    """`<use case>/<kind>/<name>` below the reports folder; `subject` is the source, the model version, or nothing.

    A model's card is of no partition: it tells of all that the model was made of.
    """

    partition: str
    kind: str
    subject: str
    use_case: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.use_case}/{self.kind}/{self.name}"

    @property
    def about(self) -> str:
        if self.kind == "assessment":
            return "assessment before training"
        names = {"contracts": "contract of", "models": "model card of", "drift": "drift against"}
        return f"{names[self.kind]} {self.subject}"


def known_reports(workspace: Workspace, use_case: str, kinds: Iterable[str] = _NAMES) -> list[Report]:
    """Every report of the use case, newest partition first."""
    found = [_parsed(use_case, kind, name) for kind in kinds for name in _names(workspace, f"{use_case}/{kind}")]
    return sorted((r for r in found if r), reverse=True)


def reports_of(workspace: Workspace, use_case: str, kind: str, partition: str) -> list[Report]:
    return [r for r in known_reports(workspace, use_case, [kind]) if r.partition == partition]


def cards(workspace: Workspace, use_case: str) -> list[int]:
    """The model versions that have a card, newest first."""
    return sorted((int(r.subject[1:]) for r in known_reports(workspace, use_case, ["models"])), reverse=True)


def read_report(workspace: Workspace, use_case: str, kind: str, name: str) -> bytes:
    """The page of a known report; its address comes from the list, never from what was asked for.

    Raises:
        PermanentError: no such report.
    """
    known = known_reports(workspace, use_case, [kind] if kind in _NAMES else [])
    found = next((r for r in known if r.name == name), None)
    if found is None:
        raise PermanentError(f"{use_case}: there is no such report; open one from the list of reports")
    if kind == "models":
        return read_card(workspace, use_case, int(found.subject[1:])).page.encode()
    place = f"{workspace.environment.reports}/{found.path}"
    if kind == "assessment":
        return assessment_page(json.loads(read_bytes(f"{place.removesuffix('.html')}.json"))).encode()
    if kind == "drift":
        return whole_page(place, read_bytes(place))
    return read_bytes(place) + (render("great_expectations.html").encode() if kind == "contracts" else b"")


def reports_page(title: str, use_case: str, reports: Sequence[Report], partition: str | None) -> str:
    """The list of a use case's reports, of one partition or of all."""
    return render("reports.html", title=title, use_case=use_case, reports=reports, partition=partition)


def _names(workspace: Workspace, folder: str) -> list[str]:
    place = f"{workspace.environment.reports}/{folder}"
    return [uri.removeprefix(f"{place}/") for uri, _ in list_files(place)]


def _parsed(use_case: str, kind: str, name: str) -> Report | None:
    match = _NAMES[kind].fullmatch(name)
    page = f"{name.rpartition('.')[0]}.html"
    return (
        Report(partition=match["partition"], kind=kind, subject=match["subject"], use_case=use_case, name=page)
        if match
        else None
    )
