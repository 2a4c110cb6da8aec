"""How far a replay has come: a period is done once each window that ended within it was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.commands import stages
from pipelines.local.progress import Progress
from pipelines.scoring import score
from pipelines.use_case import Grain
from pipelines.workspace import Decision, Kind, StageRun
from tests.conftest import World, changed


def test_a_period_waits_for_each_window_that_ended_within_it(one_champion: World) -> None:
    """Friday to Thursday: the days of the second week are served and labelled, and it is not over."""
    days = one_champion.days[8:14]
    world = replace(one_champion, use_case=changed(one_champion.use_case, "monitoring", window=Grain.WEEK))
    progress = Progress(world.workspace, world.use_case)
    through_sunday, through_thursday = (world.use_case.period(f"{days[0].key}--{days[n].key}") for n in (1, -1))
    world.workspace.clock.set(days[-1].ends_at("UTC"))
    for day in days:
        score(StageRun(world.workspace, world.use_case, day))
    assert not progress.is_monitored(through_sunday)
    assert not progress.is_monitored(through_thursday)
    stages.run_monitoring(StageRun(world.workspace, world.use_case, days[1]))
    assert progress.is_monitored(through_sunday)
    assert progress.is_monitored(through_thursday)
    assert progress.is_decided(through_thursday), "nobody decides about such a period"
    by_day = Progress(one_champion.workspace, one_champion.use_case)
    assert not by_day.is_monitored(through_sunday), "each day is a window"


@pytest.mark.parametrize(("decided", "waits"), [(None, False), (Grain.WEEK, True)])
def test_only_a_period_that_decisions_are_about_waits_for_one(
    one_champion: World, decided: Grain | None, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days are watched; a week is decided about where the use case says so."""
    monkeypatch.setattr(Progress, "is_monitored", lambda *_: True)
    use_case = changed(one_champion.use_case, "retraining", window=decided)
    progress, week = Progress(one_champion.workspace, use_case), use_case.period("2024-W11")
    assert progress.is_decided(week) is not waits
    no = Decision("no", use_case.name, Kind.NOT_RETRAINED, week.key, "nothing asks for it", "retraining policy", "r")
    one_champion.workspace.ledger.record(no)
    assert progress.is_decided(week)
