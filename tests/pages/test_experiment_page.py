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
    rule="each variant's share follows its chance of being the best",
    metric="money",
    unit="tailnum",
    partitions=tuple(f"2013-05-{day:02}" for day in range(1, 31)),
    until=10,
    variants=("champion", "newer"),
    weights=(("2013-05-01", {"champion": 0.95, "newer": 0.05}), ("2013-05-04", {"champion": 0.3, "newer": 0.7})),
    outcomes=(CHAMPION, NEWER),
    gone=(),
    decimals=2,
    worth_in="USD",
    gained=4321.0,
    gained_in="USD",
    labelled=9,
    verdict="newer (v2) is more worth.",
    answer="At this rate it is seen after about 12 labelled partitions: with the outcomes of 2013-05-12.",
    next="2013-05-11 is served next.",
    decisions=(STARTED,),
    told=1,
)
START = replace(
    MIDDLE,
    weights=MIDDLE.weights[:1],
    outcomes=(replace(CHAMPION, own=None, own_low=None, own_high=None), Outcome("newer", 2, 0, *[None] * 3, 0, *[None] * 4)),
    labelled=0,
)
ENDED = replace(MIDDLE, weights=(*MIDDLE.weights, ("2013-05-31", {})), next="It ended: all is labelled.")
WORSE = replace(NEWER, gain=-0.5, low=-0.8, high=-0.2)
STOPPED = replace(
    MIDDLE,
    weights=(MIDDLE.weights[0], ("2013-05-04", {"champion": 1.0})),
    decisions=(GUARD, STARTED),
    outcomes=(CHAMPION, WORSE),
    gone=("newer",),
)


def page(view: ExperimentView | None) -> Elements:
    return Elements(experiment_page("Late flights", "flights", view))


@pytest.mark.parametrize("view", [START, MIDDLE, ENDED, STOPPED], ids=["start", "middle", "ended", "stopped"])
def test_it_tells_the_question_the_shares_the_outcome_and_what_comes(view: ExperimentView) -> None:
    found = page(view)
    told = (view.question, view.verdict, view.next, view.answer, "4,321 USD", f"{view.labelled} of 30")
    assert all(text in found.text for text in told)
    assert [a["data-variant"] for _, a in found.tags if "data-variant" in a] == ["champion", "newer"]
    (gain,) = (a.get("data-value") for _, a in found.tags if a.get("data-figure") == "gain")
    assert gain == (None if view is START else str(view.outcomes[1].gain))
    assert [a["data-kind"] for _, a in found.tags if "data-kind" in a] == [d.kind for d in view.decisions]
    assert "nan" not in experiment_page("Late flights", "flights", view)


def test_a_verdict_is_said_only_where_the_interval_says_it() -> None:
    views = (START, MIDDLE, replace(MIDDLE, outcomes=(CHAMPION, WORSE)), STOPPED)
    for view, word in zip(views, ("not sure yet", "better", "worse", "taken out"), strict=True):
        assert re.findall(r'"badge \w*">([^<]+)</span>\s*</td>', experiment_page("", "flights", view)) == [word]
    assert "+0.50 (+0.20 to +0.80)" in re.sub(r"\s+", " ", page(MIDDLE).text)


@pytest.mark.parametrize(("view", "shares"), [(ENDED, ["30%", "70%"]), (STOPPED, ["100%", "0%"])], ids=["ended", "stopped"])
def test_each_variant_has_its_line_and_its_newest_share(view: ExperimentView, shares: list[str]) -> None:
    drawn = experiment_page("Late flights", "flights", view)
    assert drawn.count('class="line"') == 2
    assert re.findall(r">(?:champion|newer) (\d+%)</text>", drawn) == shares


def test_the_newest_decisions_are_shown_and_the_others_linked() -> None:
    links = [a.get("href") for _, a in page(replace(MIDDLE, told=40)).tags]
    assert "experiment?decisions=all" in links
    assert "experiment?decisions=all" not in [a.get("href") for _, a in page(MIDDLE).tags]


@pytest.mark.parametrize(
    ("left", "labelled", "words"),
    [([NEWER], 9, "after about 12 labelled partitions: with the outcomes of 2013-05-12."),
     ([NEWER, replace(NEWER, needed=200)], 9, "200 labelled partitions; 30 are planned: only a larger one"),
     ([NEWER, replace(NEWER, needed=None)], 9, "is not seen in any good time"),
     ([NEWER], 12, "By 12 labelled partitions it would most likely be seen: what there is, if anything, is likely smaller."),
     ([NEWER], 1, "Two partitions have to be labelled before it can be told when a gain of 0.1 USD a row would be seen"),
     ([], 9, "It is there")],
)  # fmt: skip
def test_when_an_answer_can_be_expected(left: list[Outcome], labelled: int, words: str) -> None:
    assert words in answer(left, labelled, MIDDLE.partitions, "0.1 USD a row", ended=False)
    assert ("It is over without one" in answer(left, labelled, MIDDLE.partitions, "0.1 USD a row", ended=True)) == bool(left)


def test_where_none_was_opened_it_says_how_to() -> None:
    assert "flights.experiments" in page(None).text


def test_hostile_text_is_escaped() -> None:
    hostile = dict.fromkeys(
        ("name", "question", "policy", "rule", "metric", "unit", "worth_in", "verdict", "answer", "next"), HOSTILE
    )
    view = replace(
        MIDDLE,
        **hostile,
        partitions=(HOSTILE, HOSTILE),
        variants=(HOSTILE, "newer"),
        weights=((HOSTILE, {HOSTILE: 1.0, "newer": 0.0}),),
        outcomes=(replace(CHAMPION, variant=HOSTILE), replace(NEWER, variant=HOSTILE)),
        gained_in=HOSTILE,
    )
    drawn = experiment_page(HOSTILE, HOSTILE, view)
    assert "<script" not in drawn
    assert "<img" not in drawn
