"""How far a replay has come: a period is done once each window that ended within it was measured."""

from __future__ import annotations

from dataclasses import replace

from pipelines.commands import stages
from pipelines.local.progress import Progress
from pipelines.scoring import score
from pipelines.use_case import Grain
from pipelines.workspace import StageRun
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
    by_day = Progress(one_champion.workspace, one_champion.use_case)
    assert not by_day.is_monitored(through_sunday), "each day is a window"
