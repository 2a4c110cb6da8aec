"""The experiment's page: the figures of its view, at its start, in the middle, at its end and where a guard stopped it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from test_pages import HOSTILE, Elements

from pipelines.experiments import Outcome
from pipelines.pages import experiment_page
from pipelines.pages.experiment import ExperimentView, answer
from pipelines.workspace import Decision

CHAMPION = Outcome("champion", 1, 5000, 1.25, 1.0, 1.5, 0, None, None, None, None)
NEWER = Outcome("newer", 2, 4000, 1.75, 1.4, 2.1, 9000, 0.5, 0.2, 0.8, 12)
STARTED = Decision(
    "s", "flights", "experiment started", "2013-05-01", "'v2_worth' asks", "experiment", "r", {}, None, "2013-05-01"
)
GUARD = Decision(
    "g", "flights", "experiment guard", "2013-05-03", "newer serves nothing", "experiment", "r", {}, 2, "2013-05-04"
)
MIDDLE = ExperimentView(
    name="v2_worth",
    question="Is v2 worth more per flight than v1?",
    policy="thompson",
    metric="money",
    unit="tailnum",
    first="2013-05-01",
    last="2013-08-31",
    variants=("champion", "newer"),
    weights=(("2013-05-01", {"champion": 0.95, "newer": 0.05}), ("2013-05-04", {"champion": 0.3, "newer": 0.7})),
    outcomes=(CHAMPION, NEWER),
    gained=4321.0,
    gained_in="USD",
    labelled=9,
    planned=123,
    answer="0.1 a row is seen, in four of five experiments, after 12 labelled partitions: in time.",
    next="With each look a variant's share follows its chance of being the best.",
    decisions=(STARTED,),
)
START = replace(
    MIDDLE,
    weights=MIDDLE.weights[:1],
    outcomes=(replace(CHAMPION, own=None, own_low=None, own_high=None), Outcome("newer", 2, 0, *[None] * 3, 0, *[None] * 4)),
    labelled=0,
)
ENDED = replace(MIDDLE, weights=(*MIDDLE.weights, ("2013-09-01", {})), next="'v2_worth' ended: all is labelled.")
STOPPED = replace(ENDED, decisions=(GUARD, STARTED), outcomes=(CHAMPION, replace(NEWER, gain=-0.5, low=-0.8, high=-0.2)))


def page(view: ExperimentView | None) -> Elements:
    return Elements(experiment_page("Late flights", "flights", view))


@pytest.mark.parametrize("view", [START, MIDDLE, ENDED, STOPPED], ids=["start", "middle", "ended", "stopped"])
def test_it_tells_the_question_the_shares_the_outcome_and_what_comes(view: ExperimentView) -> None:
    found = page(view)
    assert all(text in found.text for text in (view.question, view.next, view.answer, "4,321 USD", f"{view.labelled} of 123"))
    assert [a["data-variant"] for _, a in found.tags if "data-variant" in a] == ["champion", "newer"]
    (gain,) = (a.get("data-value") for _, a in found.tags if a.get("data-figure") == "gain")
    assert gain == (None if view is START else str(view.outcomes[1].gain))
    assert [a["data-kind"] for _, a in found.tags if "data-kind" in a] == [d.kind for d in view.decisions]
    assert "nan" not in experiment_page("Late flights", "flights", view)


def test_a_verdict_is_said_only_where_the_interval_says_it() -> None:
    assert [
        page(view).text.count(word) for view, word in ((MIDDLE, "better"), (STOPPED, "worse"), (START, "not sure yet"))
    ] == [1] * 3
    assert "+0.5 (+0.2 to +0.8)" in re.sub(r"\s+", " ", page(MIDDLE).text)


def test_each_variant_has_its_line_and_its_newest_share() -> None:
    drawn = experiment_page("Late flights", "flights", ENDED)
    assert drawn.count('class="line"') == 2
    assert re.findall(r">((?:champion|newer) \d+%)</text>", drawn) == ["champion 30%", "newer 70%"]


@pytest.mark.parametrize(
    ("outcomes", "labelled", "words"),
    [((CHAMPION, NEWER), 9, "after 12 labelled partitions: in time"),
     ((CHAMPION, replace(NEWER, needed=200)), 9, "not within the 123 that are planned"),
     ((CHAMPION, replace(NEWER, needed=None)), 9, "is not seen in any good time"),
     ((CHAMPION, NEWER), 1, "Two labelled partitions are needed")],
)  # fmt: skip
def test_when_an_answer_can_be_expected(outcomes: tuple[Outcome, ...], labelled: int, words: str) -> None:
    assert words in answer(outcomes, labelled, 123, 0.1)


def test_where_none_was_opened_it_says_how_to() -> None:
    assert "flights.experiments" in page(None).text


def test_hostile_text_is_escaped() -> None:
    hostile = dict.fromkeys(("name", "question", "policy", "metric", "unit", "first", "last", "answer", "next"), HOSTILE)
    view = replace(
        MIDDLE,
        **hostile,
        variants=(HOSTILE, "newer"),
        weights=((HOSTILE, {HOSTILE: 1.0, "newer": 0.0}),),
        outcomes=(replace(CHAMPION, variant=HOSTILE), replace(NEWER, variant=HOSTILE)),
        gained_in=HOSTILE,
    )
    drawn = experiment_page(HOSTILE, HOSTILE, view)
    assert "<script" not in drawn
    assert "<img" not in drawn
