"""The state of a use case as the command line and the page show it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest

from pipelines import monitoring, retraining, scoring
from pipelines.pages.view import _age, lifecycle
from pipelines.workspace import StageRun, Workspace
from tests.conftest import World, changed

NOW = datetime(2024, 3, 4, tzinfo=UTC)


def test_an_empty_yard_is_shown_as_such(workspace: Workspace, one_champion: World) -> None:
    found = lifecycle(workspace, one_champion.use_case.model_copy(update={"name": "nothing_yet"}))
    assert found.champion is None
    assert set(found.last_partitions.values()) == {None}
    assert (found.quality, found.decisions) == ((), ())


def test_the_view_says_what_the_file_says_of_itself(published: World) -> None:
    said = published.use_case.model_copy(update={"title": "A title", "owner": "somebody", "purpose": "to know"})
    found = lifecycle(published.workspace, changed(said, "value", unit="EUR"))
    assert (found.title, found.owner, found.purpose, found.unit) == ("A title", "somebody", "to know", "EUR")


def test_champion_partitions_quality_and_decisions_are_shown(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[8]
    scoring.score(StageRun(world.workspace, world.use_case, day))
    seen = monitoring.measure_performance(StageRun(world.workspace, world.use_case, day))
    assert seen is not None
    monitoring.publish(StageRun(world.workspace, world.use_case, day), None, seen)
    decision = retraining.decide(StageRun(world.workspace, world.use_case, day))
    found = lifecycle(world.workspace, world.use_case)
    assert found.champion is not None
    assert (found.champion.version, found.champion.effective_from) == (1, day.key)
    assert found.champion.why.startswith("v1: ")
    assert found.last_partitions == {
        "ingestion": None,
        "features": world.days[13].key,
        "labels": world.days[13].key,
        "scoring": day.key,
        "monitoring": day.key,
    }
    (quality,) = found.quality
    assert (quality.partition, quality.model_version, quality.labels) == (day.key, 1, seen.labels)
    assert (quality.auc, quality.worth, quality.report) == (seen.auc, seen.worth, None)
    assert found.decisions[0].why == decision.why
    assert found.unit == "USD"
    assert found.forecast
    assert found.forecast.lacking == "not enough history: 1 window of at least 8"
    asdict(found)


def test_a_page_judges_the_newest_windows_whatever_the_history(one_champion: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is judged by all before it: of all of them, a page would cost the square of the years."""
    world = one_champion
    for day in world.days[8:11]:
        scoring.score(StageRun(world.workspace, world.use_case, day))
        seen = monitoring.measure_performance(StageRun(world.workspace, world.use_case, day))
        monitoring.publish(StageRun(world.workspace, world.use_case, day), None, seen)
    assert all(q.verdict for q in lifecycle(world.workspace, world.use_case).quality)
    monkeypatch.setattr("pipelines.pages.view._JUDGED", 1)
    found = lifecycle(world.workspace, world.use_case).quality
    assert [bool(q.verdict) for q in found] == [False, False, True]
    assert all(q.auc is not None for q in found)


def test_the_newest_decisions_come_first_and_no_more_than_asked(two_champions: World) -> None:
    found = lifecycle(two_champions.workspace, two_champions.use_case, decisions=1)
    assert [d.model_version for d in found.decisions] == [2]


@pytest.mark.parametrize(("seconds", "words"), [(90, "2 minutes"), (3 * 3600, "3 hours"), (5 * 86400, "5 days")])
def test_ages_are_told_in_plain_units(seconds: int, words: str) -> None:
    assert _age(NOW, (NOW - timedelta(seconds=seconds)).isoformat()) == words
