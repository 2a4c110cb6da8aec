"""Maintenance: the drill finds what would stop a rollback, and the sweep takes only what nobody needs."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.errors import PermanentError, TransientError
from pipelines.maintenance.maintenance import drill_rollback, sweep
from pipelines.monitoring import Drift, latest, publish
from pipelines.pages import known_reports, lifecycle
from pipelines.use_case import features_table, labels_table
from pipelines.workspace import CommitRecord, Lake, Registry, StageRun, read_bytes, write_bytes
from tests import synthetic
from tests.conftest import World, make_workspace

_OLD = time.time() - 200 * 86400


def test_a_rehearsed_rollback_scores_and_moves_nothing(two_champions: World) -> None:
    world = two_champions
    before = len(world.workspace.ledger.decisions("parcels"))
    drill = drill_rollback(world.workspace, world.use_case)
    assert (drill.champion, drill.to, drill.rows) == (2, 1, synthetic.ROWS)
    assert "would work" in drill.why
    champion = world.workspace.ledger.champion("parcels")
    assert champion is not None
    assert champion.version == 2
    assert len(world.workspace.ledger.decisions("parcels")) == before


def test_with_one_champion_there_is_nothing_to_rehearse(one_champion: World) -> None:
    assert drill_rollback(one_champion.workspace, one_champion.use_case).to is None


def test_a_rollback_that_would_fail_is_red_before_it_is_needed(two_champions: World) -> None:
    """Planted: the older model's recorded digest is not that of its file, as after somebody wrote to the store."""
    world = two_champions
    world.workspace.registry.client.set_model_version_tag("parcels", "1", "trainyard.sha256", "0" * 64)
    with pytest.raises(PermanentError, match=r"a rollback from v2 to v1 would fail now.*SHA-256"):
        drill_rollback(world.workspace, world.use_case)


def test_a_registry_that_does_not_answer_is_no_failed_drill(two_champions: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: Registry, use_case: str, version: int) -> None:
        raise TransientError("MLflow: connection refused")

    monkeypatch.setattr(Registry, "load", away)
    with pytest.raises(TransientError, match="connection refused"):
        drill_rollback(two_champions.workspace, two_champions.use_case)


def _age(folder: Path) -> None:
    for file in folder.rglob("*.parquet"):
        os.utime(file, (_OLD, _OLD))


def test_the_sweep_takes_old_unpublished_files_and_no_published_one(one_champion: World) -> None:
    world, table = one_champion, features_table(one_champion.use_case)
    workspace, folder = world.workspace, Path(one_champion.workspace.lake.root) / features_table(one_champion.use_case)
    rows = workspace.lake.read(table)
    _age(folder)
    workspace.lake.stage(table, "2024-03-01", pa.table({"a": [1]}))
    orphan = folder / workspace.lake.stage(table, "2024-03-01", pa.table({"a": [1]}))
    os.utime(orphan, (_OLD, _OLD))
    found = sweep(workspace, world.use_case)
    assert found.files[table] == 1
    assert not orphan.exists()
    assert workspace.lake.read(table).equals(rows)
    assert sum(sweep(workspace, world.use_case).files.values()) == 0


def test_pages_of_drift_go_with_the_retention_and_what_was_measured_stays(one_champion: World) -> None:
    world, workspace = one_champion, one_champion.workspace
    measured = datetime(2024, 3, 10, tzinfo=UTC)
    for number, when in ((8, measured), (9, measured + timedelta(days=2))):
        workspace.clock.set(when)
        report = f"parcels/drift/{world.days[number].key}-v1.html"
        write_bytes(f"{workspace.environment.reports}/{report}", b"page")
        publish(StageRun(workspace, world.use_case, world.days[number]), Drift(1, 0.0, (), 0.0, {}, report), None)
    write_bytes(f"{workspace.environment.reports}/parcels/drift/shared/abc", b"library")
    workspace.clock.set(measured + world.use_case.keep_versions_for)
    assert sweep(workspace, world.use_case).pages == 0
    workspace.clock.set(measured + world.use_case.keep_versions_for + timedelta(days=1))
    assert sweep(workspace, world.use_case).pages == 1
    assert [r.partition for r in known_reports(workspace, "parcels", ["drift"])] == [world.days[9].key]
    assert len(latest(workspace, world.use_case)) == 2
    assert [q.report is None for q in lifecycle(workspace, world.use_case).quality] == [True, False]
    assert read_bytes(f"{workspace.environment.reports}/parcels/drift/shared/abc") == b"library"


def test_versions_are_kept_for_as_long_as_the_use_case_says(one_champion: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    monkeypatch.setattr(Lake, "sweep", lambda self, table, retention, versions=(): kept.append(retention) or 0)
    sweep(one_champion.workspace, one_champion.use_case.model_copy(update={"keep_versions_for": timedelta(days=8)}))
    assert set(kept) == {timedelta(days=8)}


def test_versions_that_a_model_was_trained_on_survive_the_sweep(one_champion: World) -> None:
    """Planted: everything is published anew, and the old files look half a year old."""
    world, table = one_champion, labels_table(one_champion.use_case)
    read = world.workspace.registry.tables_read("parcels")[table]
    before = world.workspace.lake.read(table, version=max(read))
    for day in world.days:
        synthetic.publish(world.workspace, world.use_case, day)
    sweep(world.workspace, world.use_case.model_copy(update={"keep_versions_for": timedelta(0)}))
    assert world.workspace.lake.read(table, version=max(read)).equals(before)
    assert world.workspace.lake.delta(table).vacuum(0, dry_run=True, enforce_retention_duration=False, full=True)


def test_every_version_of_reference_data_survives_the_sweep(published: World) -> None:
    """Else features of a past partition could not be built again with what was known then."""
    lake, table = published.workspace.lake, "parcels/carriers"
    for rating in (1.0, 2.0):
        staged = lake.stage(table, "snapshot", pa.table({"carrier": ["AA"], "rating": [rating]}))
        lake.publish(table, "snapshot", [staged], CommitRecord(run="test"))
    sweep(published.workspace, published.use_case.model_copy(update={"keep_versions_for": timedelta(0)}))
    assert lake.read(table, version=1)["rating"].to_pylist() == [1.0]
    assert lake.delta(table).vacuum(0, dry_run=True, enforce_retention_duration=False, full=True)


def test_a_table_that_was_never_written_is_no_reason_to_stop(tmp_path: Path, one_champion: World) -> None:
    assert sweep(make_workspace(tmp_path / "empty"), one_champion.use_case).files == {}


def test_what_was_replaced_within_the_retention_survives_a_sweep_after_a_checkpoint(published: World) -> None:
    """Planted: replaced ten days ago, files half a year old, and a checkpoint since, which may forget removed files."""
    world, table = published, labels_table(published.use_case)
    folder = Path(world.workspace.lake.root) / table
    version = world.workspace.lake.version(table)
    before = world.workspace.lake.read(table)
    for day in world.days:
        synthetic.publish(world.workspace, world.use_case, day)
    _age(folder)
    ten_days_ago = int((time.time() - 10 * 86400) * 1000)
    for log in (folder / "_delta_log").glob("*.json"):
        log.write_text(re.sub(r'"deletionTimestamp":\d+', f'"deletionTimestamp":{ten_days_ago}', log.read_text()))
    world.workspace.lake.delta(table).create_checkpoint()
    assert world.workspace.lake.sweep(table, timedelta(days=90)) == 0
    assert world.workspace.lake.read(table, version=version).equals(before)
