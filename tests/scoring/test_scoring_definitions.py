"""The name agrees, the meaning does not: rows of another definition are scored, compared and trained on by nobody."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.commands import stages
from pipelines.errors import PermanentError
from pipelines.gates import evaluate_candidates
from pipelines.maintenance import drill_rollback
from pipelines.monitoring import latest, measure_drift
from pipelines.promotion import retire, rollback
from pipelines.scoring import score
from pipelines.training import plan_training, reproduce, train_candidate
from pipelines.use_case import Partition, UseCase, feature_definitions, features_table
from pipelines.workspace import CommitRecord, Kind, Registry, StageRun, write_bytes
from tests import synthetic
from tests.conftest import AFTER, World, changed


def miles(use_case: UseCase) -> UseCase:
    """The same name, another meaning."""
    return changed(use_case, "features", expressions={**use_case.features.expressions, "distance": "distance * 0.621"})


def without(use_case: UseCase, name: str) -> UseCase:
    kept = {n: e for n, e in use_case.features.expressions.items() if n != name}
    return changed(use_case, "features", expressions=kept)


def with_more(use_case: UseCase) -> UseCase:
    return changed(use_case, "features", expressions={**use_case.features.expressions, "heavy": "weight * pieces"})


def publish(world: World, use_case: UseCase, day: Partition, **how: Any) -> None:
    """The day's features as this use case declares them."""
    shipments, _ = synthetic.parcels(day, **how)
    rows = synthetic.features(day, shipments, **how)
    if "0.621" in use_case.features.expressions.get("distance", ""):
        rows = rows.assign(distance=rows["distance"] * 0.621)
    synthetic.publish_features(world.workspace, use_case, day, rows.assign(heavy=rows["weight"] * rows["pieces"]))


def next_day(world: World) -> Partition:
    return world.days[13].next


def test_rows_by_another_definition_are_not_scored(one_champion: World) -> None:
    world, day = one_champion, next_day(one_champion)
    publish(world, miles(world.use_case), day)
    with pytest.raises(PermanentError, match=rf"v1: the rows of {day.key} have distance by another definition"):
        score(StageRun(world.workspace, miles(world.use_case), day))
    assert day.key not in world.workspace.lake.partitions("parcels/predictions")
    publish(world, world.use_case, day)
    assert score(StageRun(world.workspace, world.use_case, day)).rows == synthetic.ROWS


def test_a_feature_that_was_taken_out_is_lacking_though_the_table_has_its_column(one_champion: World) -> None:
    world, day = one_champion, next_day(one_champion)
    publish(world, without(world.use_case, "distance"), day)
    assert "distance" in world.workspace.lake.read(features_table(world.use_case), [day.key]).column_names
    with pytest.raises(PermanentError, match=f"the rows of {day.key} lack distance"):
        score(StageRun(world.workspace, without(world.use_case, "distance"), day))


def test_old_and_new_definition_are_not_mixed_in_one_training(published: World) -> None:
    world = published
    publish(world, miles(world.use_case), world.days[5])
    with pytest.raises(PermanentError, match=rf"features of {world.days[5].key} have distance by another definition"):
        world.training(7)
    with pytest.raises(PermanentError, match=f"run features parcels {world.days[0].key}"):
        plan_training(StageRun(world.workspace, miles(world.use_case), world.days[7]))
    for day in world.days[:8]:
        publish(world, miles(world.use_case), day)
    plan = plan_training(StageRun(world.workspace, miles(world.use_case), world.days[7]))
    assert plan.definitions["distance"] != ""


def test_an_as_of_backfill_asks_the_same(two_champions: World) -> None:
    """A day of v1's time, built anew after the definition changed."""
    world, day = two_champions, two_champions.days[9]
    publish(world, miles(world.use_case), day)
    with pytest.raises(PermanentError, match=r"v1: the rows of .* have distance by another definition"):
        score(StageRun(world.workspace, world.use_case, day))


def test_a_rollback_and_its_drill_ask_the_same(two_champions: World) -> None:
    world = two_champions
    publish(world, miles(world.use_case), next_day(world))
    before = world.workspace.ledger.decisions("parcels")
    with pytest.raises(PermanentError, match=r"a rollback from v2 to v1 would fail now.*another definition"):
        drill_rollback(world.workspace, world.use_case)
    with pytest.raises(PermanentError, match=r"v1: the rows of .* have distance by another definition"):
        rollback(world.workspace, world.use_case, None, "reason", "ada")
    assert world.workspace.ledger.decisions("parcels") == before


@pytest.mark.long
def test_a_challenger_of_another_definition_is_not_compared_until_the_champion_is_retired(
    one_champion: World, simple_only: UseCase
) -> None:
    world, other = one_champion, miles(changed(simple_only, "training", max_history=timedelta(days=6)))
    for day in world.days[8:]:
        publish(world, other, day, flip=True)
    training = world.training(13, other)
    found = evaluate_candidates(training, [train_candidate(training, "logistic")], AFTER)
    assert [v.gate for v in found.verdicts if not v.passed] == ["beats_champion"]
    assert "have distance by another definition" in found.why
    retire(world.workspace, other, "distance is in miles from now on", "ada")
    assert stages.run_training(StageRun(world.at("after"), other, world.days[13])).decision == Kind.PROMOTED  # type: ignore[attr-defined]


def test_a_version_is_reproduced_though_the_definition_changed_since(one_champion: World) -> None:
    world = one_champion
    for day in world.days[:8]:
        publish(world, miles(world.use_case), day)
    assert reproduce(world.workspace, "parcels", 1).identical


@pytest.mark.long
def test_a_feature_may_come_after_the_champion(one_champion: World, simple_only: UseCase) -> None:
    """It goes on scoring and being watched on its own features; the new one is named, and the next model has it."""
    world, more, day = one_champion, with_more(one_champion.use_case), next_day(one_champion)
    for each in (*world.days, day):
        publish(world, more, each, flip=each.key > world.days[7].key)
    assert score(StageRun(world.workspace, more, day)).model_version == 1
    drift = measure_drift(StageRun(world.workspace, more, day))
    assert drift
    assert drift.not_compared == ("heavy",)
    assert "heavy" not in drift.distances
    stages.run_monitoring(StageRun(world.workspace, more, day))
    found = latest(world.workspace, more)[day.key].drift
    assert found == drift
    newest = with_more(changed(simple_only, "training", max_history=timedelta(days=6)))
    assert stages.run_training(StageRun(world.at("next"), newest, world.days[13])).decision == Kind.PROMOTED  # type: ignore[attr-defined]
    publish(world, more, day.next, flip=True)
    again = StageRun(world.at("later"), newest, day.next)
    assert score(again).model_version == 2
    drift = measure_drift(again)
    assert drift
    assert drift.not_compared == ()


def test_the_new_feature_is_named_in_the_decision_on_retraining(one_champion: World) -> None:
    from pipelines.monitoring import Drift, Monitored, Performance
    from pipelines.retraining.policy import State, judge

    world = one_champion
    drift = Drift(1, 0.0, (), 0.0, {"distance": 0.1}, "r", ("heavy",))
    good = Performance(1, 100, 100, 0.8, 0.5, 0.3, 0.3, 0.01, 1.0)
    champion = world.workspace.ledger.champion("parcels")
    monitored = Monitored(world.days[8].key, 1, drift, good)
    state = State(champion, 0.8, windows=(monitored,), served=timedelta(days=5), new_labels=500)
    assert "The champion does not know heavy: not compared." in judge(world.use_case, world.days[8], state).why


# From before there were digests


def undefined(world: World, day: Partition, plan: str | None = None) -> None:
    """The day published as it was before: the commit says nothing of definitions, at most which plan was worked by."""
    table = features_table(world.use_case)
    (file,) = world.workspace.lake.files(table, [day.key])
    path = file.uri.removeprefix(f"{world.workspace.lake.uri(table)}/")
    staged = world.workspace.lake.stage(table, day.key, world.workspace.lake.read_staged(table, [path]))
    world.workspace.lake.publish(table, day.key, [staged], CommitRecord(run="old", plan=plan))


def test_rows_that_do_not_say_are_refused_with_the_command(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[9]
    undefined(world, day)
    with pytest.raises(PermanentError, match=f"do not say by which definitions.*run features parcels {day.key}"):
        score(StageRun(world.workspace, world.use_case, day))
    with pytest.raises(PermanentError, match=f"nobody knows by which definitions the features of {day.key} were made"):
        world.training(13)


def test_rows_from_before_are_told_by_the_plan_that_they_were_made_by(one_champion: World) -> None:
    world, uri = one_champion, f"{one_champion.workspace.lake.uri('parcels/features')}/plans/old.json"
    write_bytes(uri, json.dumps(synthetic.job_plan(world.use_case)).encode())
    for day in world.days:
        undefined(world, day, uri)
    assert score(StageRun(world.workspace, world.use_case, world.days[9])).rows == synthetic.ROWS
    assert world.training(13).plan.definitions == feature_definitions(world.use_case)
    write_bytes(uri, json.dumps(synthetic.job_plan(miles(world.use_case))).encode())
    with pytest.raises(PermanentError, match="have distance by another definition"):
        score(StageRun(world.workspace, world.use_case, world.days[9]))


def test_monitoring_looks_at_the_rows_that_were_served_though_they_were_built_anew(one_champion: World) -> None:
    world, day = one_champion, one_champion.days[9]
    score(StageRun(world.workspace, world.use_case, day))
    before = measure_drift(StageRun(world.workspace, world.use_case, day))
    publish(world, miles(world.use_case), day)
    assert measure_drift(StageRun(world.workspace, world.use_case, day)) == before


def test_another_source_type_and_another_join_are_other_definitions_too(one_champion: World) -> None:
    """The expression is the same word for word: what it reads is not."""
    world, day = one_champion, next_day(one_champion)
    (join,) = world.use_case.features.joins
    halved = changed(world.use_case, "features", joins=(join.model_copy(update={"columns": {"rating": "rating / 2"}}),))
    contract = world.use_case.contract["shipments"]
    columns = {**contract.columns, "weight": contract.columns["weight"].model_copy(update={"default": 1.0})}
    filled = {**world.use_case.contract, "shipments": contract.model_copy(update={"columns": columns})}
    for other, name in ((halved, "rating"), (world.use_case.model_copy(update={"contract": filled}), "weight")):
        publish(world, other, day)
        with pytest.raises(PermanentError, match=f"have {name} by another definition"):
            score(StageRun(world.workspace, other, day))


def test_a_model_from_before_is_known_by_the_configuration_of_its_run(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, load = one_champion, Registry.load

    def old(self: Registry, use_case: str, version: int) -> Any:
        model = load(self, use_case, version)
        return replace(model, meta={k: v for k, v in model.meta.items() if k != "definitions"})

    monkeypatch.setattr(Registry, "load", old)
    day = next_day(world)
    publish(world, world.use_case, day)
    assert score(StageRun(world.workspace, world.use_case, day)).model_version == 1
    publish(world, miles(world.use_case), day)
    with pytest.raises(PermanentError, match="have distance by another definition"):
        score(StageRun(world.workspace, world.use_case, day))
    run = world.workspace.registry.version("parcels", 1).run_id
    kept = world.workspace.registry.client.get_run(run).info.artifact_uri.removeprefix("file://")
    (Path(kept) / "use_case.json").unlink()
    with pytest.raises(PermanentError, match=r"nobody knows by which definitions its features were made.*Train a new model"):
        score(StageRun(world.workspace, world.use_case, day))


def test_frames_of_the_same_rows_are_equal(one_champion: World) -> None:
    """What `feature_rows` gives is what is published."""
    from pipelines.workspace import feature_rows

    world, day = one_champion, one_champion.days[3]
    model = world.workspace.registry.load("parcels", 1)
    rows = world.workspace.lake.read(features_table(world.use_case), [day.key]).to_pandas()
    pd.testing.assert_frame_equal(feature_rows(world.workspace, world.use_case, model, [day.key]), rows)
