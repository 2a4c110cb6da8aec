"""The doctor: silent where all is well, writes nothing, and names each planted fault with its mend."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.maintenance import examine
from pipelines.use_case import features_table
from pipelines.workspace import CHAMPION, Registry
from tests import synthetic
from tests.conftest import USE_CASES, World, changed, make_workspace


def state(world: World) -> Path:
    return Path(world.workspace.environment.reports).parent


def said(world: World) -> str:
    return "\n".join(map(str, examine(world.workspace, [world.use_case])))


def content(folder: Path) -> dict[str, bytes]:
    return {str(f): f.read_bytes() for f in folder.rglob("*") if f.is_file() and f.suffix not in (".lock", ".db-journal")}


def test_a_sound_state_has_no_findings_and_nothing_is_written(two_champions: World) -> None:
    before = content(state(two_champions))
    assert said(two_champions) == ""
    assert content(state(two_champions)) == before


def test_a_state_without_anything_is_in_order_and_stays_empty(tmp_path: Path, one_champion: World) -> None:
    empty = World(make_workspace(tmp_path / "empty"), one_champion.use_case, one_champion.days)
    assert said(empty) == ""
    assert content(tmp_path / "empty") == {}


def version_deleted(world: World) -> None:
    world.workspace.registry.client.delete_model_version("parcels", "2")


def alias_moved(world: World) -> None:
    world.workspace.registry.set_alias("parcels", CHAMPION, 1)


def alias_deleted(world: World) -> None:
    world.workspace.registry.delete_alias("parcels", CHAMPION)


def file_changed(world: World) -> None:
    world.workspace.registry.client.set_model_version_tag("parcels", "2", "trainyard.sha256", "0" * 64)


def models_gone(world: World) -> None:
    shutil.rmtree(state(world) / "mlflow" / "artifacts" / "parcels" / "models")


def database_gone(world: World) -> None:
    (state(world) / "mlflow" / "mlflow.db").unlink()


def earlier_gone(world: World) -> None:
    world.workspace.registry.client.set_model_version_tag("parcels", "1", "trainyard.sha256", "0" * 64)


def run_deleted(world: World) -> None:
    world.workspace.registry.client.delete_run(world.workspace.registry.version("parcels", 1).run_id)


def experiment_deleted(world: World) -> None:
    client = world.workspace.registry.client
    client.delete_experiment(client.get_experiment_by_name("parcels").experiment_id)


def experiment_renamed(world: World) -> None:
    client = world.workspace.registry.client
    client.rename_experiment(client.get_experiment_by_name("parcels").experiment_id, "packets")


def rows_gone(world: World) -> None:
    (file,) = world.workspace.lake.files(features_table(world.use_case), [world.days[3].key])
    Path(file.uri).unlink()


def definition_changed(world: World) -> None:
    day = world.days[13].next
    other = changed(world.use_case, "features", expressions={**world.use_case.features.expressions, "weight": "weight * 2"})
    synthetic.publish(world.workspace, other, day)


FAULTS: dict[Callable[[World], None], tuple[str, str]] = {
    version_deleted: ("champion v2: parcels: no model v2", "retire parcels"),
    alias_moved: ("the alias 'champion' names v1", "alias_moved says"),
    alias_deleted: ("the alias 'champion' names nothing", "alias_moved says"),
    file_changed: ("parcels v2: is not the model that was promoted", "rollback parcels"),
    models_gone: ("its files are gone from the artifact store", "retire parcels"),
    database_gone: ("mlflow.db is gone, with all models", "restore it from a backup"),
    earlier_gone: ("parcels v1: parcels v1: is not the model that was promoted", "roll back to another"),
    run_deleted: ("is deleted: its configuration and report are lost", "restore the run in MLflow"),
    experiment_deleted: ("no experiment 'parcels'", "mlflow experiments restore"),
    experiment_renamed: ("no experiment 'parcels'", "rename it back to parcels"),
    rows_gone: ("1 published files are gone, first of 2024-03-04", "publish 2024-03-04 again"),
    definition_changed: ("have weight by another definition", "as the message says"),
}


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found_with_its_mend(plant: Callable[[World], None], two_champions: World) -> None:
    plant(two_champions)
    before, (wrong, mend) = content(state(two_champions)), FAULTS[plant]
    found = examine(two_champions.workspace, [two_champions.use_case])
    assert any(wrong in f.where + ": " + f.wrong and mend in f.mend for f in found), "\n".join(map(str, found))
    assert all(f.since for f in found)
    assert content(state(two_champions)) == before


def test_a_copied_state_is_found(one_champion: World, tmp_path: Path) -> None:
    shutil.copytree(state(one_champion), tmp_path / "copy")
    copy = World(make_workspace(tmp_path / "copy"), one_champion.use_case, one_champion.days)
    (finding,) = examine(copy.workspace, [copy.use_case])
    assert "a copy of another state?" in finding.wrong
    assert "python -m pipelines relocate --from" in finding.wrong


def test_a_registry_that_does_not_answer_is_found_and_the_lake_is_looked_at_all_the_same(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    rows_gone(one_champion)
    away = replace(one_champion.workspace, registry=Registry("http://ada:s3cr3t-word@127.0.0.1:9", "mlflow-artifacts:/"))
    found = examine(away, [one_champion.use_case])
    assert {f.where for f in found} == {"registry", "parcels/features"}
    assert "s3cr3t-word" not in str(found)


@pytest.mark.parametrize(("fault", "status"), [(None, 0), (alias_moved, 1)])
def test_the_command_line(
    fault: Any, status: int, two_champions: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.__main__ import main

    monkeypatch.setenv("TRAINYARD_STATE", str(state(two_champions)))
    monkeypatch.setenv("TRAINYARD_USE_CASES", str(USE_CASES))
    monkeypatch.delenv("TRAINYARD_ENVIRONMENT", raising=False)
    if fault:
        fault(two_champions)
    assert main(["doctor"]) == status
    printed = capsys.readouterr().out
    assert ("all in order: parcels" in printed) == (status == 0)
    assert ("mend:" in printed) == (status == 1)
