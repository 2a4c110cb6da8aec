"""The page of one use case: champion, stages, quality per partition, decisions."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.pages.chart import changes, chart
from pipelines.pages.figures import UNKNOWN, count, decision, figure, money
from pipelines.pages.markup import Html, document, el
from pipelines.pages.reports import Report
from pipelines.pages.view import Lifecycle, Quality

STAGES = ("ingestion", "features", "scoring", "labels", "monitoring")
_COLUMNS = ("Partition", "Model", "Labels", "AUC", "Log loss", "Drifted share", "Worth", "")


def use_case_page(view: Lifecycle, model_page: str, cards: Sequence[int] = ()) -> Html:
    """`model_page` is the registry's page of this use case's models; `cards` the versions with a model card, newest first."""
    return document(
        f"{view.title} · ML lifecycle",
        el("p", el("a", "ML lifecycle", href="../"), " / ", view.use_case, class_="crumb soft"),
        el("h1", view.title),
        el("p", view.purpose, class_="soft"),
        _cards(view),
        _why(view),
        _model_cards(view, cards),
        el("h2", "Last partition per stage"),
        _stages(view),
        el("h2", "Quality per partition"),
        _quality(view),
        el("h2", "Latest decisions"),
        _decisions(view),
        _elsewhere(view, model_page),
    )


def reports_page(title: str, use_case: str, reports: Sequence[Report], partition: str | None) -> Html:
    """The list of a use case's reports, of one partition or of all."""
    rows = [_report(r) for r in reports]
    head = el("thead", el("tr", el("th", "Partition"), el("th", "Report", class_="left"), el("th", "Page", class_="left")))
    empty = el("p", "No report has been written for it yet.", class_="notice")
    crumb = el("a", "ML lifecycle", href="../../"), " / ", el("a", use_case, href=f"../{use_case}"), " / reports"
    return document(
        f"Reports · {title}",
        el("p", crumb, class_="crumb soft"),
        el("h1", f"Reports{f' of {partition}' if partition else ''}"),
        el("div", el("table", head, el("tbody", rows)), class_="scroll") if rows else empty,
    )


def _report(report: Report) -> Html:
    page = el("a", report.name, href=f"../../reports/{report.path}")
    return el(
        "tr", el("td", report.partition or UNKNOWN), el("td", _kind(report), class_="left"), el("td", page, class_="left")
    )


def _kind(report: Report) -> str:
    names = {"contracts": f"contract of {report.subject}", "assessment": "assessment before training"}
    names |= {"models": f"model card of {report.subject}"}
    return names.get(report.kind, f"drift against {report.subject}")


def _cards(view: Lifecycle) -> Html:
    champion = view.champion
    judged = [q for q in view.quality if q.auc is not None]
    since = f"serves from {champion.effective_from} on" if champion else None
    cards = [
        _card("Champion", f"v{champion.version}" if champion else "none yet", since),
        _card("Age", champion.age if champion else UNKNOWN, "since it was decided" if champion else None),
        _card("Newest AUC", figure(judged[-1].auc) if judged else UNKNOWN, judged[-1].partition if judged else None),
        _card("Owner", view.owner, None, "value text"),
    ]
    return el("div", cards, class_="cards")


def _card(name: str, value: str, note: str | None, style: str = "value") -> Html:
    data = name.lower().replace(" ", "-")
    return el(
        "section",
        el("div", name, class_="name"),
        el("div", value, class_=style, data_figure=data),
        el("div", note, class_="soft small") if note else None,
        class_="card",
    )


def _why(view: Lifecycle) -> Html:
    if view.champion:
        return el("p", el("b", "Why it is champion: "), view.champion.why, class_="why")
    return el(
        "section",
        el("p", el("b", "No model serves yet.")),
        el("p", "The first training that passes its gates makes the first champion: trigger the DAG ",
           el("code", f"{view.use_case}.training"), " for a partition whose labels are there."),
        class_="notice",
    )  # fmt: skip


def _model_cards(view: Lifecycle, cards: Sequence[int]) -> Html | None:
    """The champion's card first, then those of the other versions."""
    if not cards:
        return None
    now = view.champion.version if view.champion else None
    links = [_card_link(view, v, v == now) for v in sorted(cards, key=lambda v: (v != now, -v))]
    return el("p", el("b", "Model cards: "), [[" · ", link] if i else link for i, link in enumerate(links)])


def _card_link(view: Lifecycle, version: int, champion: bool) -> Html:
    return el("a", f"v{version}{' (champion)' if champion else ''}", href=f"../reports/{view.use_case}/models/v{version}.html")


def _stages(view: Lifecycle) -> Html:
    steps = [*STAGES, *(s for s in view.last_partitions if s not in STAGES)]
    return el("ol", [_stage(stage, view.last_partitions.get(stage)) for stage in steps], class_="stages")


def _stage(stage: str, partition: str | None) -> Html:
    known = el("span", partition, class_="key") if partition else el("span", "nothing yet", class_="soft")
    return el("li", el("b", stage), known, data_stage=stage, data_partition=partition or "")


def _quality(view: Lifecycle) -> Html:
    if not view.quality:
        return el("p", "Nothing is monitored yet: figures come once a champion has scored a partition.", class_="notice")
    caption = el(
        "figcaption",
        "A dashed line: from this partition on another model version served. Without outcomes there is no AUC and no log loss.",
        class_="soft small",
    )
    head = el("tr", [el("th", name) for name in _COLUMNS])
    changed = changes(view.quality)
    rows = [_row(q, view.unit, i in changed[1:]) for i, q in enumerate(view.quality)]
    return el(
        "div",
        el("figure", chart(view.quality), caption, class_="card"),
        el("p"),
        el("div", el("table", el("thead", head), el("tbody", rows[::-1])), class_="scroll"),
    )


def _row(q: Quality, unit: str, changed: bool) -> Html:
    version = None if q.model_version is None else f"v{q.model_version}"
    report = el("a", "drift report", href=f"../reports/{q.report}") if q.report else None
    cells = (
        ("partition", q.partition, q.partition), ("version", q.model_version, version or UNKNOWN),
        ("labels", q.labels, count(q.labels)), ("auc", q.auc, figure(q.auc)), ("log-loss", q.log_loss, figure(q.log_loss)),
        ("drifted-share", q.drifted_share, figure(q.drifted_share)), ("worth", q.worth, money(q.worth, unit)),
    )  # fmt: skip
    shown = [el("td", text, data_figure=name, data_value=value) for name, value, text in cells]
    return el("tr", shown, el("td", report), class_="changed" if changed else None, data_partition=q.partition)


def _decisions(view: Lifecycle) -> Html:
    if not view.decisions:
        return el("p", "No decision has been made yet. Each one will be here, with its reasons.", class_="notice")
    return el("ul", [decision(made) for made in view.decisions], class_="decisions")


def _elsewhere(view: Lifecycle, model_page: str) -> Html:
    """No link to the registry: Airflow shows this page in a frame that may not open windows."""
    return el(
        "p",
        el("a", "All decisions", href=f"{view.use_case}?decisions=all"),
        " · ",
        el("a", "All reports", href=f"{view.use_case}/reports"),
        " · models in MLflow: ",
        el("code", model_page, class_="pick"),
        class_="soft small why",
    )
