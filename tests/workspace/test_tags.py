"""Tags come back as they were, and lie in MLflow under the names that older versions have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.errors import PermanentError
from pipelines.retraining.decision import read_state
from pipelines.workspace import StageRun
from pipelines.workspace.tags import RunTags, VersionTags
from tests.conftest import World

RUN = RunTags(partition="2024-03-08", partitions=("a", "b"), versions={"parcels/features": 7}, code="abc", seed=2013)
VERSION = VersionTags(
    partition="2024-03-08", candidate="boosting", holdout_auc=0.75, run="r", model_uri="models:/m", digest="d"
)


def test_the_tags_of_a_run_are_those_of_older_runs() -> None:
    written = RUN.tags()
    assert written == {
        "partition": "2024-03-08", "partitions": "a,b", "table.parcels/features": "7", "code": "abc", "seed": "2013"
    }  # fmt: skip
    assert RunTags.of({**written, "mlflow.user": "ada", "gates": "passed"}) == RUN


def test_the_tags_of_a_version_are_those_of_older_versions() -> None:
    written = VERSION.tags()
    assert written == {
        "partition": "2024-03-08", "candidate": "boosting", "holdout_auc": "0.75", "run": "r",
        "trainyard.model_uri": "models:/m", "trainyard.sha256": "d",
    }  # fmt: skip
    # An older version's log loss that is not defined.
    assert VersionTags.of({**written, "holdout_log_loss": "None"}) == VERSION
    assert VersionTags.of(written) == VERSION


def test_a_score_keeps_its_last_digit() -> None:
    exact = replace(VERSION, holdout_auc=0.1 + 0.2)
    assert VersionTags.of(exact.tags()) == exact


def test_what_a_training_was_made_of_is_read_back(one_champion: World) -> None:
    registry = one_champion.workspace.registry
    version = registry.version("parcels", 1)
    tags = RunTags.of(registry.client.get_run(version.run_id).data.tags)
    assert tags.partition == version.tags.partition == one_champion.days[7].key
    assert tags.versions == registry.load("parcels", 1).meta["versions"]
    assert version.tags.holdout_auc == registry.load("parcels", 1).meta["holdout"]["auc"]


def test_a_champion_of_unknown_age_stops_the_retraining_with_what_to_do(one_champion: World) -> None:
    world = one_champion
    world.workspace.registry.client.delete_model_version_tag("parcels", "1", "partition")
    champion = world.workspace.ledger.champion("parcels")
    with pytest.raises(PermanentError, match=r"parcels v1: has no tag 'partition'.*train a new model"):
        read_state(StageRun(world.workspace, world.use_case, world.days[9]), champion, [])
