"""The first page: every use case that the reader may see, with its champion and its newest figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.pages.figures import UNKNOWN, badge, figure
from pipelines.pages.markup import Html, document, el, join
from pipelines.pages.view import Lifecycle


@dataclass(frozen=True)
class Unreadable:
    """A use case whose state could not be read, and why."""

    use_case: str
    title: str
    message: str


def overview(found: Sequence[Lifecycle | Unreadable]) -> Html:
    """A card per use case; one that cannot be read does not hide the others."""
    cards = [_unreadable(each) if isinstance(each, Unreadable) else _card(each) for each in found]
    return document(
        "ML lifecycle",
        el("h1", "ML lifecycle"),
        el("p", "One card per model in production: who is champion, since when, and how it is doing.", class_="soft"),
        el("div", cards, class_="cards wide") if cards else _nothing(),
    )


def _card(view: Lifecycle) -> Html:
    return el(
        "section",
        el("h3", el("a", view.title, href=f"use-cases/{view.use_case}")),
        el("p", view.purpose, class_="soft small"),
        _facts(view),
        class_="card",
        data_use_case=view.use_case,
    )


def _facts(view: Lifecycle) -> Html:
    champion, judged = view.champion, [q for q in view.quality if q.auc is not None]
    facts = {
        "Champion": f"v{champion.version}, {champion.age} old" if champion else "none yet",
        "Monitored up to": view.last_partitions.get("monitoring") or "nothing yet",
        "AUC": f"{figure(judged[-1].auc)} in {judged[-1].partition}" if judged else UNKNOWN,
        "Newest decision": _newest(view) if view.decisions else UNKNOWN,
        "Owner": view.owner,
    }
    return el("dl", [(el("dt", name), el("dd", value)) for name, value in facts.items()], class_="facts")


def _newest(view: Lifecycle) -> Html:
    newest = view.decisions[0]
    return join([badge(newest.kind), " ", el("span", newest.partition, class_="whole")])


def _unreadable(each: Unreadable) -> Html:
    return el(
        "section",
        el("h3", each.title),
        el("p", "Its state could not be read."),
        el("p", each.message, class_="small"),
        class_="notice bad",
        data_use_case=each.use_case,
    )


def _nothing() -> Html:
    return el(
        "section",
        el("p", el("b", "There is no use case here that you may see.")),
        el("p", "A use case is a file in ", el("code", "conf/use_cases/"), "; it shows once Airflow has read its DAGs, "
           "to everybody who may see all of them."),
        class_="notice",
    )  # fmt: skip
