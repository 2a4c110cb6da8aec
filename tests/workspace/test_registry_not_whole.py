"""MLflow is not taken to be whole: versions gone, too many of them, a copied state, first openers, a server that is down."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.commands import stages
from pipelines.errors import PermanentError, TransientError
from pipelines.gates import evaluate_candidates
from pipelines.maintenance import alias, drill_rollback, examine, sweep
from pipelines.pages import cards, lifecycle, read_card, read_report
from pipelines.promotion import retire, rollback
from pipelines.scoring import score
from pipelines.training import reproduce, train_candidate
from pipelines.use_case import UseCase
from pipelines.workspace import CHAMPION, Kind, Registry, StageRun, check_alias
from tests import synthetic
from tests.conftest import AFTER, USE_CASES, World, changed, make_workspace

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.long  # each stands on a registry of its own


def delete_version(world: World, version: int) -> None:
    """As somebody does in MLflow's pages."""
    world.workspace.registry.client.delete_model_version("parcels", str(version))


# A version is deleted


def test_the_only_champion_deleted_there_is_a_way_on(one_champion: World, simple_only: UseCase) -> None:
    world, newest = one_champion, changed(simple_only, "training", max_history=timedelta(days=6))
    delete_version(world, 1)
    with pytest.raises(PermanentError, match=r"v1, is not in the registry any more.*python -m pipelines retire parcels"):
        score(StageRun(world.workspace, world.use_case, world.days[9]))
    with pytest.raises(PermanentError, match="needs a reason"):
        retire(world.workspace, newest, " ", "ada")
    done = retire(world.workspace, newest, "v1 was deleted by mistake", "ada")
    assert (done.decision, done.champion) == (Kind.RETIRED, None)
    last = world.workspace.ledger.decisions("parcels")[-1]
    assert (last.kind, last.actor, last.model_version) == (Kind.RETIRED, "ada", None)
    assert "v1 serves no longer" in last.why
    assert "v1 was deleted by mistake" in last.why
    assert score(StageRun(world.workspace, world.use_case, world.days[9])).model_version is None
    assert "the last one was retired" in world.workspace.ledger.decisions("parcels")[-1].why
    trained = stages.run_training(StageRun(world.at("after"), newest, world.days[13]))
    assert (trained.decision, trained.champion) == (Kind.PROMOTED, 2)  # type: ignore[attr-defined]


def test_a_retirement_that_came_half_way_is_finished_by_the_next_look(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry went away between the ledger's row and the alias: the doctor sees it, maintenance mends it, once."""
    world = one_champion

    def away(*_: Any) -> None:
        raise TransientError("MLflow: connection refused")

    with monkeypatch.context() as down:
        down.setattr(Registry, "delete_alias", away)
        with pytest.raises(TransientError):
            retire(world.workspace, world.use_case, "it is wrong", "ada")
    assert world.workspace.registry.alias("parcels", CHAMPION) == 1
    (finding,) = examine(world.workspace, [world.use_case])
    assert "names v1, but nobody is champion" in finding.wrong
    assert check_alias(world.workspace, world.use_case)
    assert world.workspace.registry.alias("parcels", CHAMPION) is None
    assert "it was taken away" in world.workspace.ledger.decisions("parcels")[-1].why
    assert not check_alias(world.workspace, world.use_case)


def test_what_could_not_be_put_back_is_not_said_to_be(one_champion: World) -> None:
    world = one_champion
    before = world.workspace.ledger.decisions("parcels")
    delete_version(world, 1)
    for _ in range(2):
        with pytest.raises(PermanentError, match="is not in the registry any more"):
            check_alias(world.workspace, world.use_case)
    assert world.workspace.ledger.decisions("parcels") == before


def test_a_deleted_champion_gives_way_to_the_one_before(two_champions: World) -> None:
    world = two_champions
    delete_version(world, 2)
    assert rollback(world.workspace, world.use_case, None, "v2 was deleted", "ada").champion == 1
    assert world.workspace.registry.alias("parcels", CHAMPION) == 1


def test_a_registry_without_the_model_at_all_has_no_alias(one_champion: World) -> None:
    one_champion.workspace.registry.client.delete_registered_model("parcels")
    assert one_champion.workspace.registry.alias("parcels", CHAMPION) is None
    assert one_champion.workspace.registry.versions("parcels") == []
    retire(one_champion.workspace, one_champion.use_case, "all is gone", "ada")


# Many versions


@pytest.fixture
def many(one_champion: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Pages of three, and eight versions: as 1,006 are with pages of 1,000."""
    registry = one_champion.workspace.registry
    for _ in range(7):
        registry.client.create_model_version("parcels", "file:///nowhere")
    monkeypatch.setattr("pipelines.workspace.registry._PAGE", 3)
    return one_champion


def test_every_page_is_read(many: World) -> None:
    registry = many.workspace.registry
    assert [v.version for v in registry.versions("parcels")] == list(range(1, 9))
    assert registry.version("parcels", 1).version == 1
    assert registry.load("parcels", 1).version == 1
    registry.set_alias("parcels", "seventh", 7)
    assert registry.alias("parcels", "seventh") == 7


def test_an_unknown_version_is_said_with_a_few_names(many: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.workspace.tags._NAMED", 2)
    with pytest.raises(PermanentError, match=r"no model v99 in the registry; there are 8, the newest of them v7, v8$"):
        many.workspace.registry.version("parcels", 99)


# A copy of the state


def copied(world: World, folder: Path) -> World:
    """All of it, as `cp -r` makes it."""
    shutil.copytree(Path(world.workspace.environment.reports).parent, folder / "copy")
    return World(make_workspace(folder / "copy", "copy"), world.use_case, world.days)


def addresses(world: World) -> set[str]:
    """The states that MLflow's database names, in whichever column; the experiment that MLflow makes is left out."""
    with world.workspace.registry.database._connected() as database:  # type: ignore[union-attr]
        lines = [line for line in database.iterdump() if not line.startswith('INSERT INTO "experiments" VALUES(0,')]
        return set(re.findall(r"(file://[^']*?)/mlflow/artifacts", "\n".join(lines)))


def files_below(folder: Path) -> set[Path]:
    return {f for f in folder.rglob("*") if f.is_file()}


def test_a_copy_neither_writes_into_the_original_nor_reads_from_it(one_champion: World, tmp_path: Path) -> None:
    original = Path(one_champion.workspace.environment.reports).parent / "mlflow" / "artifacts"
    copy, before = copied(one_champion, tmp_path / "elsewhere"), files_below(original)
    for act in (
        lambda: copy.workspace.registry.load("parcels", 1),
        lambda: train_candidate(copy.training(7), "logistic"),
        lambda: copy.workspace.registry.versions("parcels"),
    ):
        with pytest.raises(PermanentError, match=rf"made for models in file://{original}, but .* keeps them in file://.*copy"):
            act()
    assert files_below(original) == before


def test_the_record_is_moved_by_command_and_the_copy_is_whole_then(
    one_champion: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.__main__ import main

    original = Path(one_champion.workspace.environment.reports).parent / "mlflow" / "artifacts"
    one_champion.workspace.registry.client.create_model_version("parcels", f"file://{original}/parcels/by-its-folder")
    copy = copied(one_champion, tmp_path / "elsewhere")
    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path / "elsewhere" / "copy"))
    monkeypatch.setenv("TRAINYARD_USE_CASES", str(USE_CASES))
    assert main(["relocate", "--from", "file:///srv/nowhere"]) == 1
    assert "names nothing below file:///srv/nowhere" in capsys.readouterr().err
    assert main(["relocate", "--from", f"file://{original}"]) == 0
    assert addresses(copy) == {f"file://{tmp_path}/elsewhere/copy"}
    shutil.rmtree(original)
    assert copy.workspace.registry.load("parcels", 1).version == 1
    assert reproduce(copy.workspace, "parcels", 1).identical
    assert train_candidate(copy.training(7), "logistic").run_id


def test_a_record_is_not_moved_to_where_no_models_are(one_champion: World, tmp_path: Path) -> None:
    copy = copied(one_champion, tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere" / "copy" / "mlflow" / "artifacts")
    database = copy.workspace.registry.database
    assert database
    before = database.recorded_places()
    with pytest.raises(PermanentError, match="copy the models from"):
        database.relocate(before[0].removesuffix("/parcels"))
    assert database.recorded_places() == before


# First openers


def test_several_openers_of_a_new_registry_make_it_once(tmp_path: Path) -> None:
    code = (
        "import sys, logging\n"
        "from pathlib import Path\n"
        "from tests.conftest import make_workspace\n"
        "workspace = make_workspace(Path(sys.argv[1]))\n"
        "workspace.registry.client.search_experiments()\n"
        "print('opened')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "fresh")]
    openers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ended = [opener.communicate() for opener in openers]
    assert [out.strip() for out, _ in ended] == ["opened"] * 4, ended


# It does not answer


def down(world: World) -> World:
    """The same, with the registry at an address where nobody listens."""
    away = Registry("http://ada:s3cr3t-word@127.0.0.1:9", world.workspace.registry.artifacts)
    return replace(world, workspace=replace(world.workspace, registry=away))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


@pytest.mark.usefixtures("impatient")
def test_a_registry_that_does_not_answer_is_asked_again_and_its_password_is_not_told(one_champion: World) -> None:
    away = down(one_champion).workspace.registry
    for act in (lambda: away.load("parcels", 1), lambda: away.versions("parcels"), lambda: away.alias("parcels", CHAMPION)):
        with pytest.raises(TransientError) as caught:
            act()
        assert "s3cr3t-word" not in str(caught.value)
        assert "127.0.0.1" in str(caught.value)


def test_a_registry_that_is_down_for_a_minute_is_no_verdict(
    one_champion: World, simple_only: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers while the candidate is trained, and not when the champion is asked for."""
    world, load = one_champion, Registry.load
    training = world.training(13, changed(simple_only, "training", max_history=timedelta(days=6)))
    one = train_candidate(training, "logistic")

    def away(self: Registry, use_case: str, version: int) -> Any:
        raise TransientError("MLflow: connection refused")

    monkeypatch.setattr(Registry, "load", away)
    before = world.workspace.ledger.decisions("parcels")
    with pytest.raises(TransientError):
        evaluate_candidates(training, [one], AFTER)
    assert world.workspace.ledger.decisions("parcels") == before
    monkeypatch.setattr(Registry, "load", load)
    assert evaluate_candidates(training, [one], AFTER).passed


# Runs and files gone


def test_a_run_deleted_for_good_keeps_no_version_from_the_sweep(one_champion: World) -> None:
    """The tables that it was trained on are in the model's own record as well."""
    registry = one_champion.workspace.registry
    said = registry.tables_read("parcels")
    with registry.database._connected() as database, database:  # type: ignore[union-attr]
        database.execute("DELETE FROM tags")
        database.execute("DELETE FROM runs WHERE run_uuid = ?", (registry.version("parcels", 1).run_id,))
    assert registry.run_is_gone(str(registry.version("parcels", 1).run_id))
    assert registry.tables_read("parcels") == said
    assert sweep(one_champion.workspace, one_champion.use_case).skipped == {}


def test_where_nobody_knows_what_a_model_was_trained_on_its_tables_are_left_alone(one_champion: World) -> None:
    registry = one_champion.workspace.registry
    remove_files(one_champion)
    with registry.database._connected() as database, database:  # type: ignore[union-attr]
        database.execute("DELETE FROM tags")
    found = sweep(one_champion.workspace, one_champion.use_case)
    assert set(found.skipped) == {"parcels/features", "parcels/labels"}
    assert not set(found.skipped) & set(found.files)


def purge_run(world: World, version: int) -> None:
    """Its run is deleted for good, as `mlflow gc` does."""
    registry = world.workspace.registry
    run = registry.version("parcels", version).run_id
    with registry.database._connected() as database, database:  # type: ignore[union-attr]
        for table in ("tags", "metrics", "latest_metrics", "params", "runs"):
            database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run,))


def test_a_version_whose_run_is_gone_serves_and_is_reproduced_from_its_own_record(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = one_champion
    monkeypatch.setenv("TRAINYARD_USE_CASES", str(USE_CASES))
    purge_run(world, 1)
    assert score(StageRun(world.workspace, world.use_case, world.days[9])).rows == synthetic.ROWS
    done = reproduce(world.workspace, "parcels", 1)
    assert done.identical
    assert any("kept no use_case.json, or is gone: today's parcels.yaml was used" in warning for warning in done.warnings)


def test_an_experiment_that_is_deleted_is_said_with_the_way_back(one_champion: World) -> None:
    world, client = one_champion, one_champion.workspace.registry.client
    number = client.get_experiment_by_name("parcels").experiment_id
    client.delete_experiment(number)
    with pytest.raises(PermanentError, match=rf"is deleted in MLflow.*mlflow experiments restore --experiment-id {number}"):
        train_candidate(world.training(7), "logistic")
    assert score(StageRun(world.workspace, world.use_case, world.days[9])).model_version == 1
    client.restore_experiment(number)
    assert train_candidate(world.training(7), "logistic").run_id


def test_after_an_experiment_was_renamed_trainings_go_on_in_a_new_one(one_champion: World) -> None:
    world, client = one_champion, one_champion.workspace.registry.client
    old = client.get_experiment_by_name("parcels").experiment_id
    client.rename_experiment(old, "packets")
    trained = train_candidate(world.training(7), "logistic")
    assert client.get_run(trained.run_id).info.experiment_id == client.get_experiment_by_name("parcels").experiment_id != old
    assert reproduce(world.workspace, "parcels", 1).identical


def versions_gone(world: World) -> None:
    for version in (1, 2):
        delete_version(world, version)


def runs_gone(world: World) -> None:
    for version in (1, 2):
        purge_run(world, version)


def model_gone(world: World) -> None:
    world.workspace.registry.client.delete_registered_model("parcels")


def database_gone(world: World) -> None:
    (Path(world.workspace.environment.reports).parent / "mlflow" / "mlflow.db").unlink()


# What is gone -> what each step of maintenance says of it; None where it does its work all the same.
STEPS = {"alias": alias, "drill_rollback": drill_rollback, "sweep": sweep}
NO_CHAMPION = "is not in the registry any more.*python -m pipelines retire"
LOST: dict[Any, dict[str, str | None]] = {
    versions_gone: {
        "alias": NO_CHAMPION,
        "drill_rollback": "would fail now.*no model v1 in the registry; there are none",
        "sweep": None,
    },
    model_gone: {"alias": NO_CHAMPION, "drill_rollback": "would fail now.*no model v1", "sweep": None},
    database_gone: {"alias": NO_CHAMPION, "drill_rollback": "would fail now.*no model v1", "sweep": None},
    runs_gone: {"alias": None, "drill_rollback": None, "sweep": None},
}


@pytest.mark.parametrize("lose", LOST, ids=lambda lose: lose.__name__)
@pytest.mark.parametrize("step", STEPS)
def test_each_step_of_maintenance_says_what_is_missing_and_the_others_go_on(step: str, lose: Any, two_champions: World) -> None:
    world, says = two_champions, LOST[lose][step]
    lose(world)
    if says is None:
        done = STEPS[step](world.workspace, world.use_case)  # type: ignore[operator]
        assert not getattr(done, "skipped", {})
        return
    with pytest.raises(PermanentError, match=says):
        STEPS[step](world.workspace, world.use_case)  # type: ignore[operator]


@pytest.mark.parametrize("lose", LOST, ids=lambda lose: lose.__name__)
def test_every_page_is_drawn_whatever_is_gone_from_mlflow(lose: Any, two_champions: World) -> None:
    """They stand on ledger, lake and reports."""
    world = two_champions
    lose(world)
    view = lifecycle(world.workspace, world.use_case)
    assert view.champion
    assert view.champion.version == 2
    assert cards(world.workspace, "parcels") == [2, 1]
    assert "v1" in read_card(world.workspace, "parcels", 1).markdown
    assert b"Model card" in read_report(world.workspace, "parcels", "models", "v2.html")


def test_the_server_goes_down_in_the_middle_and_the_training_is_run_again(
    one_champion: World, simple_only: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the registration, after all gates: nothing is decided, and the second attempt promotes."""
    from mlflow.exceptions import MlflowException

    world, newest = one_champion, changed(simple_only, "training", max_history=timedelta(days=6))

    def away(*_: Any, **__: Any) -> None:
        raise MlflowException("API request failed: connection refused")

    before = world.workspace.ledger.decisions("parcels")
    with monkeypatch.context() as down:
        down.setattr(world.workspace.registry.mlflow, "register_model", away)
        with pytest.raises(TransientError, match="connection refused"):
            stages.run_training(StageRun(world.workspace, newest, world.days[13]))
    assert world.workspace.ledger.decisions("parcels") == before
    assert world.workspace.registry.alias("parcels", CHAMPION) == 1
    assert stages.run_training(StageRun(world.workspace, newest, world.days[13])).decision == Kind.PROMOTED  # type: ignore[attr-defined]


def remove_files(world: World) -> None:
    shutil.rmtree(Path(world.workspace.environment.reports).parent / "mlflow" / "artifacts" / "parcels" / "models")


def test_files_that_are_gone_are_said_with_the_way_on(one_champion: World) -> None:
    remove_files(one_champion)
    with pytest.raises(PermanentError, match=r"v1: its files are gone from the artifact store: put them back from a backup"):
        one_champion.workspace.registry.load("parcels", 1)


# Loaded by MLflow itself


def test_whole_numbers_that_are_missing_are_taken_by_mlflows_own_loader(one_champion: World) -> None:
    registry = one_champion.workspace.registry
    rows = one_champion.workspace.lake.read("parcels/features", [one_champion.days[3].key]).to_pandas()
    model = registry.load("parcels", 1)
    assert rows["pieces"].dtype.kind == "i"
    assert set(model.signature.values()) == {"double", "string"}  # type: ignore[union-attr]
    gaps = rows.assign(pieces=rows["pieces"].mask(rows.index % 5 == 0))[model.meta["features"]]
    loaded = registry.mlflow.pyfunc.load_model("models:/parcels/1")
    found = np.asarray(loaded.predict(gaps))[:, 1]
    assert found == pytest.approx(model.predict(gaps))
    numbers = rows[model.meta["features"]].select_dtypes("number")
    with pytest.raises(registry.mlflow.exceptions.MlflowException, match="int64 to float64"):
        loaded.predict(rows[model.meta["features"]])
    cast = rows.assign(**numbers.astype(float))[model.meta["features"]]  # what whole numbers without gaps ask of the caller
    assert np.asarray(loaded.predict(cast))[:, 1] == pytest.approx(model.predict(rows))
    served = registry.mlflow.models.Model.load(
        registry.mlflow.artifacts.download_artifacts("models:/parcels/1")
    ).load_input_example()
    assert pd.DataFrame(served).isna().any().any()
