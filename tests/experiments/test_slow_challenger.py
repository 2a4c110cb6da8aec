"""Guard of latency: a challenger that is slower than the experiment allows serves nothing from the next partition on."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.experiments import end, open_declared, plan_of
from pipelines.scoring import score, variants
from pipelines.serving import trial as trial_module
from pipelines.serving.champion import Served
from pipelines.serving.trial import Trial
from pipelines.workspace import Kind
from tests.conftest import World
from tests.experiments.test_experiment_rules import FIRST, all_rows, at, declared, told, world
from tests.serving.serving_world import feature_rows, served

__all__ = ["world"]  # the fixture
SECOND = "2024-03-16"


@pytest.fixture
def slow_v2(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Planted: v2 takes 300 ms for whatever it is asked, in bulk and by the API; v1 is as fast as it is."""
    load, tell = world.workspace.registry.load, Served.told

    def loaded(name: str, version: int) -> Any:
        model = load(name, version)
        predict = model.pipeline.predict_proba
        if version == 2:
            model.pipeline.predict_proba = lambda rows: time.sleep(0.3) or predict(rows)
        return model

    def answered(self: Served, rows: Any) -> Any:
        time.sleep(0.3 if self.model.version == 2 else 0)
        return tell(self, rows)

    monkeypatch.setattr(world.workspace.registry, "load", loaded)
    monkeypatch.setattr(Served, "told", answered)
    return world


@pytest.mark.parametrize("limit", [150, 10_000])
def test_a_slow_challenger_is_out_from_the_next_partition_on(slow_v2: World, limit: float) -> None:
    """What it has scored counts, and it serves its units of that partition."""
    world = declared(slow_v2, max_latency_ms=limit)
    open_declared(at(world, FIRST))
    score(at(world, FIRST))
    rows = all_rows(world, FIRST)
    assert set(rows[rows["served"]]["variant"]) == {"champion", "newer"}
    guards = told(world, Kind.EXPERIMENT_GUARD)
    score(at(world, SECOND))
    after = set(all_rows(world, SECOND)["variant"])
    if limit > 150:
        assert (guards, after) == ([], {"champion", "newer"})
    else:
        (guard,) = guards
        assert (guard.effective_from, guard.model_version, after) == (SECOND, 2, {"champion"})
        assert "newer (v2) was taken out of 'v2_worth': it took " in guard.why
        assert guard.why.endswith(" ms for up to a hundred rows of 2024-03-15, and 150 are allowed.")


@pytest.mark.parametrize(
    "seen", [{1: [50.0] * 9, 2: [50.0] * 9}, {1: [5.0] * 9, 2: [403.0, 90.0, 5.0, 90.0]}], ids=["all the time", "for a while"]
)
def test_where_the_machine_is_busy_nobody_is_taken_out(
    world: World, seen: dict[int, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The champion is as slow; or the challenger is not, once it is timed again. Else it is out."""
    timed = variants.predict_timed
    for times, guards in ((seen, 0), ({1: [5.0] * 9, 2: [50.0] * 9}, 1)):
        left = {version: list(each) for version, each in times.items()}
        with monkeypatch.context() as patched:
            patched.setattr(
                variants, "predict_timed", lambda run, v, *rest, left=left: (timed(run, v, *rest)[0], left[v].pop(0))
            )
            asked = declared(world, max_latency_ms=20)
            open_declared(at(asked, FIRST))
            score(at(asked, FIRST if guards == 0 else SECOND))
        assert len(told(world, Kind.EXPERIMENT_GUARD)) == guards


def test_a_partition_that_is_scored_once_more_takes_nobody_out_of_the_past(world: World) -> None:
    """Nor out of an experiment that has ended."""
    fast = declared(world)
    open_declared(at(fast, FIRST))
    for key in (FIRST, SECOND):
        score(at(fast, key))
    plan = plan_of(fast.workspace.ledger.decisions("parcels"), FIRST)
    assert plan
    trial_module.record_slowness(at(fast, FIRST), plan, "newer", 900.0, [FIRST])
    (guard,) = told(fast, Kind.EXPERIMENT_GUARD)
    assert guard.effective_from == "2024-03-17"
    end(fast.workspace, fast.use_case, "enough", "Bob")
    trial_module.record_failure(at(fast, FIRST), plan, "newer", "torn", [FIRST])
    assert len(told(fast, Kind.EXPERIMENT_GUARD)) == 1


def test_by_the_api_too_and_not_where_the_machine_is_slow(
    slow_v2: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_module, "_LAST", 4)
    world = declared(slow_v2, max_latency_ms=150, shares=[1.0])
    open_declared(at(world, FIRST))
    day = world.use_case.partition(FIRST)
    world.workspace.clock.set(day.starts_at("UTC"))
    body = {"instances": feature_rows(replace(world, days=[day]), 0)[:3]}
    answer = Trial.answer
    with served(world, tmp_path) as (client, parts):
        with monkeypatch.context() as patched:  # as if the champion had taken as long
            patched.setattr(Trial, "answer", lambda self, plan, key, rows, asked, _: answer(self, plan, key, rows, asked, 0.3))
            for _ in range(5):
                client.post("/invocations", json=body)
            parts.follower.look()
            assert told(world, Kind.EXPERIMENT_GUARD) == []
        asked = 0
        while not told(world, Kind.EXPERIMENT_GUARD):  # a request that the champion answers late by chance is not counted
            found = client.post("/invocations", json=body).json()["predictions"]
            assert {each["variant"] for each in found} == {"newer"}
            parts.follower.look()
            asked += 1
            assert asked < 50
        assert asked >= 4
        world.workspace.clock.set(world.use_case.partition(SECOND).starts_at("UTC"))
        found = client.post("/invocations", json=body).json()["predictions"]
        assert {each["variant"] for each in found} == {"champion"}
    (guard,) = told(world, Kind.EXPERIMENT_GUARD)
    assert (guard.effective_from, guard.model_version) == (SECOND, 2)
