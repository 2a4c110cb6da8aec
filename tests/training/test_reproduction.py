"""Reproduction: identical to the last bit, or a plain no; planted defects are found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.__main__ import main
from pipelines.commands import stages
from pipelines.errors import PermanentError
from pipelines.pages.model_card import read_card
from pipelines.training.reproduction import CONFIGURATION_FILE, reproduce
from pipelines.use_case import UseCase
from pipelines.workspace import Model, Registry, StageRun
from tests.conftest import FIRST_TRAINING, USE_CASES, World, changed


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Change what is recorded with the model: `recorded(params={...})`."""
    load = Registry.load

    def change(**values: Any) -> None:
        def changed_load(self: Registry, use_case: str, version: int) -> Model:
            model = load(self, use_case, version)
            return replace(model, meta={**model.meta, **values})

        monkeypatch.setattr(Registry, "load", changed_load)

    return change


@pytest.fixture
def cli(one_champion: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The command line on a workspace with one champion."""
    folder = one_champion.workspace.environment.reports.removesuffix("/reports")
    monkeypatch.setenv("TRAINYARD_STATE", folder)
    monkeypatch.setenv("TRAINYARD_USE_CASES", str(USE_CASES))
    monkeypatch.delenv("TRAINYARD_ENVIRONMENT", raising=False)
    return one_champion


def test_a_version_comes_out_again_to_the_last_bit(two_champions: World) -> None:
    for version in (1, 2):
        done = reproduce(two_champions.workspace, "parcels", version)
        assert done.identical
        assert done.difference == 0.0
        assert {m.metric for m in done.metrics} >= {"rows", "auc", "log_loss", "calibration_error", "positive_share"}
        assert all(m.recorded == m.reproduced for m in done.metrics)
        assert done.refitted
        assert not [w for w in done.warnings if "configuration" in w or CONFIGURATION_FILE in w]
        assert str(done).splitlines()[-1].endswith("reproduced, identical to the last bit")


def test_the_configuration_is_the_one_of_then_though_the_file_changed(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(name: str) -> UseCase:
        raise AssertionError("today's file was read")

    monkeypatch.setattr("pipelines.training.reproduction.load_use_case", other)
    assert reproduce(one_champion.workspace, "parcels", 1).identical


def test_without_the_configuration_of_then_todays_is_used_with_a_warning(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_USE_CASES", str(USE_CASES))
    monkeypatch.setattr("pipelines.workspace.registry.CONFIGURATION_FILE", "another.json")
    done = reproduce(one_champion.workspace, "parcels", 1)
    assert done.identical
    assert any("its run kept no use_case.json, or is gone: today's parcels.yaml was used" in w for w in done.warnings)


def test_what_is_not_as_it_was_is_named_and_fails_nothing(one_champion: World, recorded: Any) -> None:
    recorded(code="f00", lock="beef", configuration="cafe")
    done = reproduce(one_champion.workspace, "parcels", 1)
    assert done.identical
    said = "; ".join(done.warnings)
    assert "code commit: was f00, is" in said
    assert "requirements.lock: was beef, is" in said
    assert "the configuration is another one" in said


def _other(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value * 1.001 for name, value in params.items()}


def test_changed_parameters_are_found(cli: World, recorded: Any, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(params=_other(cli.workspace.registry.load("parcels", 1).meta["params"]))
    assert main(["reproduce", "parcels", "1"]) == 1
    said = capsys.readouterr().out
    assert "NOT reproduced" in said
    assert "log_loss" in said.splitlines()[-1]


def test_one_changed_recorded_score_is_found(one_champion: World, recorded: Any) -> None:
    holdout = one_champion.workspace.registry.load("parcels", 1).meta["holdout"]
    recorded(holdout={**holdout, "auc": holdout["auc"] + 1e-16 + holdout["auc"] * 3e-16})
    done = reproduce(one_champion.workspace, "parcels", 1)
    assert [m.metric for m in done.metrics if not m.same] == ["auc"]
    assert not done.identical


def test_a_version_that_was_not_refitted_is_the_judged_one(published: World, simple_only: UseCase) -> None:
    plain = changed(simple_only, "training", refit=False)
    assert stages.run_training(StageRun(published.workspace, plain, published.days[FIRST_TRAINING])).decision == "promoted"
    done = reproduce(published.workspace, "parcels", 1)
    assert done.identical
    assert not done.refitted
    assert {m.metric for m in done.metrics} >= {"auc", "log_loss", "calibration_error"}
    assert "fitted once more" not in read_card(published.workspace, "parcels", 1).markdown


def test_a_changed_seed_is_found(published: World, simple_only: UseCase, recorded: Any) -> None:
    forest = {
        "estimator": "sklearn.ensemble.RandomForestClassifier",
        "params": {"n_estimators": 10, "max_depth": 4},
        "encoding": "ordinal",
        "simple": True,
        "search": {},
    }
    kind = type(next(iter(simple_only.training.candidates.values())))
    wooden = changed(simple_only, "training", candidates={"forest": kind.model_validate(forest)})
    wooden = wooden.model_copy(update={"gates": wooden.gates.model_copy(update={"max_latency_ms": 5000})})
    assert stages.run_training(StageRun(published.workspace, wooden, published.days[FIRST_TRAINING])).decision == "promoted"
    assert reproduce(published.workspace, "parcels", 1).identical
    recorded(seed=wooden.training.seed + 1)
    done = reproduce(published.workspace, "parcels", 1)
    assert not done.identical
    assert done.difference > 0


def _turn_one_label(world: World, day: str) -> None:
    """Write the partition's file anew with one label turned around, below the version that was read."""
    (file,) = world.workspace.lake.files("parcels/labels", [day])
    rows = pd.read_parquet(file.uri)
    rows.loc[0, "label"] = 1 - rows.loc[0, "label"]
    pa.parquet.write_table(pa.Table.from_pandas(rows, preserve_index=False), file.uri)


@pytest.mark.parametrize("day", [0, FIRST_TRAINING], ids=["fitted on", "judged on"])
def test_one_changed_label_is_found(cli: World, day: int, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow.parquet  # noqa: F401

    _turn_one_label(cli, cli.days[day].key)
    assert main(["reproduce", "parcels", "v1"]) == 1
    assert "NOT reproduced" in capsys.readouterr().out


def test_rows_that_are_published_anew_do_not_matter(one_champion: World) -> None:
    from tests import synthetic

    synthetic.publish(one_champion.workspace, one_champion.use_case, one_champion.days[2], rows=50, drift=300)
    assert reproduce(one_champion.workspace, "parcels", 1).identical


def test_rows_that_were_swept_away_are_said_to_be_gone(cli: World, capsys: pytest.CaptureFixture[str]) -> None:
    from pathlib import Path

    (file,) = cli.workspace.lake.files("parcels/labels", [cli.days[0].key])
    Path(file.uri).unlink()
    assert main(["reproduce", "parcels", "1"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("PermanentError: ")
    assert str(cli.days[0].key) in said or "parcels/labels version" in said


def test_a_candidate_that_the_file_no_longer_has_is_said(one_champion: World, recorded: Any) -> None:
    recorded(candidate="forest")
    with pytest.raises(PermanentError, match=r"has no candidate 'forest' any more; check out the file of then"):
        reproduce(one_champion.workspace, "parcels", 1)


def test_no_such_version_is_said(cli: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "parcels", "7"]) == 1
    assert "no model v7 in the registry; there are v1" in capsys.readouterr().err
    assert main(["reproduce", "parcels", "first"]) == 2
    assert "'first' is no version; say it as 3 or v3" in capsys.readouterr().err


def test_the_command_line_prints_the_table(cli: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "parcels", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["metric", "recorded", "reproduced", "same"]
    assert sum(line.endswith("  yes") for line in said) == 6
    assert said[-1].endswith("identical to the last bit")
