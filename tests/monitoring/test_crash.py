"""A measure that crashed reads as crashed, never as not monitored yet, and keeps the other from nothing."""

from __future__ import annotations

import pytest

from pipelines.commands import stages
from pipelines.monitoring import judge_window, latest, measure_performance, per_window, publish_windows, watching
from pipelines.pages import lifecycle
from pipelines.results import to_json
from pipelines.scoring import score
from pipelines.workspace import StageRun
from tests.conftest import World


def test_what_drift_trips_over_is_told_and_performance_is_measured_all_the_same(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, run = one_champion, StageRun(one_champion.workspace, one_champion.use_case, one_champion.days[8])
    score(run)

    def crash(run: StageRun) -> None:
        raise ValueError("no such column")

    with monkeypatch.context() as planted:
        planted.setattr(watching, "measure_drifts", crash)
        with pytest.raises(ValueError, match="no such column"):
            stages.run_monitoring(run)
    (seen,) = latest(world.workspace, world.use_case).values()
    assert seen.performance
    assert seen.drift is None
    assert seen.failure == "Measuring drift crashed: ValueError: no such column."
    (shown,) = lifecycle(world.workspace, world.use_case).quality
    assert str(shown.verdict).startswith("crashed; ")
    assert "no such column" in str(shown.why)
    assert seen.failure in judge_window(world.use_case.monitoring, seen, []).why
    stages.run_monitoring(run)
    (mended,) = latest(world.workspace, world.use_case).values()
    assert (mended.failure, mended.performance) == (None, seen.performance)


def test_a_task_that_ended_without_a_word_is_told_too(one_champion: World) -> None:
    """As one that was killed; the other measure came."""
    run = StageRun(one_champion.workspace, one_champion.use_case, one_champion.days[8])
    score(run)
    (seen,) = publish_windows(run, None, to_json(per_window(measure_performance)(run)))  # type: ignore[arg-type]
    assert seen.performance
    assert seen.failure == "Measuring drift crashed: ended without a result; the log of its task says why."
    (nothing,) = publish_windows(run, None, None, {"drift": "ValueError: s3://user:secret@host"})
    assert "secret" not in str(nothing.failure)
    assert nothing.performance == seen.performance
