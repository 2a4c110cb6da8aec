"""A monthly cron over days, weeks and months: it asks about all that is undecided, and trains on the newest outcomes."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from pipelines import monitoring
from pipelines.retraining import RetrainingDecision, decide, record_start
from pipelines.use_case import Grain, Partition, UseCase
from pipelines.workspace import CommitRecord, Decision, Kind, StageRun, VersionTags, Workspace
from tests.conftest import changed
from tests.retraining.test_retraining import drift, performance

ROWS = pa.table({"a": range(200)})


def by(use_case: UseCase, grain: Grain) -> UseCase:
    return changed(use_case, "retraining", cooldown=timedelta(days=5)).model_copy(update={"grain": grain})


def between(first: date, last: date, grain: Grain) -> list[Partition]:
    found = [Partition.of(first, grain)]
    while found[-1].end < last:
        found.append(found[-1].next)
    return found


def watch(workspace: Workspace, use_case: UseCase, partitions: list[Partition], bad: Partition | None = None) -> None:
    """They have features, outcomes, and were monitored: as good as promised, but for one."""
    for partition in partitions:
        for noun in ("features", "labels"):
            staged = workspace.lake.stage(f"parcels/{noun}", partition.key, ROWS)
            workspace.lake.publish(f"parcels/{noun}", partition.key, [staged], CommitRecord())
        seen = performance(auc=0.5 if partition == bad else 0.8)
        monitoring.publish(StageRun(workspace, use_case, partition), drift(0.0), seen)


def tick(workspace: Workspace, use_case: UseCase, day: date) -> RetrainingDecision:
    """The cron comes at six o'clock: its key is the partition that holds the day."""
    inside = Partition.of(day, use_case.grain)
    workspace.clock.set(Partition.of(day, Grain.DAY).starts_at("UTC") + timedelta(hours=6))
    return decide(StageRun(workspace, use_case, inside))


@pytest.mark.parametrize("grain", list(Grain))
def test_a_monthly_cron_decides_what_came_since_the_one_before(
    grain: Grain, workspace: Workspace, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """February has a bad partition, told of on 2 March; March is good, and decided by itself on 2 April."""
    mine, trained = by(use_case, grain), Partition.of(date(2024, 1, 15), grain)
    tags: Any = SimpleNamespace(tags=VersionTags(partition=trained.key, holdout_auc=0.8))
    monkeypatch.setattr(workspace.registry, "version", lambda *_: tags)
    first = Decision("promoted/1", "parcels", Kind.PROMOTED, trained.key, "first", "gates", "r", {}, 1, trained.next.key)
    workspace.ledger.move_champion(first, None)
    february = between(trained.end, date(2024, 3, 1), grain)
    february = february[:-1] if february[-1].end > date(2024, 3, 2) else february
    bad = february[len(february) // 2]
    watch(workspace, mine, february, bad)

    found = tick(workspace, mine, date(2024, 3, 2))
    assert (found.retrain, found.cause) == (True, "loss"), found.why
    assert bad.key in found.why
    assert found.evidence["windows"] == [p.key for p in february]
    ended = Partition.of(date(2024, 3, 2), grain).previous
    assert (found.partition, found.train_on) == (ended.key, february[-1].key)
    assert found.training_run == f"retraining__{ended.key}__1"
    record_start(StageRun(workspace, mine, ended), found)
    kept = Decision("kept/1", "parcels", Kind.KEPT, ended.key, "no gain", "gates", str(found.training_run))
    workspace.ledger.record(kept)

    march = between(february[-1].end, date(2024, 4, 1), grain)
    march = march[:-1] if march[-1].end > date(2024, 4, 2) else march
    watch(workspace, mine, march)
    found = tick(workspace, mine, date(2024, 4, 2))
    assert (found.retrain, found.cause) == (False, "healthy")
    assert found.evidence["windows"] == [p.key for p in march]
