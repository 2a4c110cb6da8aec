"""The registry gives back what was put in, and nothing that somebody else put there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pipelines.errors import PermanentError
from pipelines.training import make_pipeline as candidate_pipeline
from pipelines.use_case import Candidate, UseCase
from pipelines.workspace.model import MODEL_FILE, digest_of_model, load_model
from pipelines.workspace.registry import CHAMPION, Registry
from pipelines.workspace.tags import DIGEST_TAG, VersionTags
from tests import synthetic
from tests.conftest import World

META = {"features": ["a", "b"], "candidate": "test"}
CANDIDATES = {
    "logistic": Candidate(estimator="sklearn.linear_model.LogisticRegression"),
    "boosting": Candidate(
        estimator="sklearn.ensemble.HistGradientBoostingClassifier", encoding="ordinal", params={"max_iter": 5}
    ),
    "forest": Candidate(estimator="sklearn.ensemble.RandomForestClassifier", encoding="ordinal", params={"n_estimators": 3}),
    "sigmoid": Candidate(estimator="sklearn.linear_model.LogisticRegression", calibrate="sigmoid"),
    "isotonic": Candidate(
        estimator="sklearn.ensemble.RandomForestClassifier",
        encoding="ordinal",
        params={"n_estimators": 3},
        calibrate="isotonic",
    ),
}


def rows(count: int = 80) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).random((count, 2)), columns=["a", "b"])


def fitted(estimator: Any) -> Any:
    return estimator.fit(rows(), (rows()["a"] > 0.5).astype(int))


def innocent(x: Any) -> Any:
    """Stands for code that somebody wants run where the model is loaded."""
    return x


def hostile() -> Any:
    return fitted(make_pipeline(FunctionTransformer(innocent), LogisticRegression()))


def logged(registry: Registry, pipeline: Any) -> str:
    with registry.run("models", "test"):
        return registry.log_model(pipeline, rows().head(), META)


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_loaded_candidate_predicts_what_it_predicted_before(name: str, tmp_path: Path, use_case: UseCase) -> None:
    """Every kind of candidate is saved and loaded within the allow-list of types."""
    day = synthetic.days(use_case, 1)[0]
    shipments, deliveries = synthetic.parcels(day)
    frame, label = synthetic.features(day, shipments), (deliveries.delay >= 15).astype(int)
    names = list(use_case.features.names)
    pipeline = candidate_pipeline(use_case, CANDIDATES[name], {}, 1).fit(frame[names], label)
    skops.io.dump(pipeline, tmp_path / MODEL_FILE)
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"metadata": {"trainyard": f'{{"features": {names}}}'.replace("'", '"')}}))
    model = load_model(tmp_path, "x", 1, digest_of_model(tmp_path))
    assert (model.predict(frame) == pipeline.predict_proba(frame[names])[:, 1]).all()


def test_a_registered_model_predicts_what_it_predicted_before(one_champion: World) -> None:
    workspace, pipeline = one_champion.workspace, fitted(make_pipeline(SimpleImputer(), LogisticRegression()))
    version = workspace.registry.register("models", logged(workspace.registry, pipeline), VersionTags(partition="p"))
    model = workspace.registry.load("models", version)
    assert (model.predict(rows()) == pipeline.predict_proba(rows())[:, 1]).all()
    assert (model.version, model.meta) == (1, {**META, "example": model.meta["example"]})
    assert workspace.registry.version("models", 1).tags.partition == "p"


def test_columns_are_taken_by_name_and_missing_ones_named(one_champion: World) -> None:
    model = one_champion.workspace.registry.load("parcels", 1)
    frame = one_champion.workspace.lake.read("parcels/features", [one_champion.days[8].key]).to_pandas()
    assert (model.predict(frame[[*reversed(frame.columns)]]) == model.predict(frame)).all()
    with pytest.raises(PermanentError, match="parcels v1: the rows lack weight"):
        model.predict(frame.drop(columns="weight"))


def test_the_same_model_registers_once(one_champion: World) -> None:
    registry = one_champion.workspace.registry
    uri = registry.version("parcels", 1).tags.model_uri
    assert registry.register("parcels", uri, VersionTags()) == 1
    assert len(registry.versions("parcels")) == 1


def test_an_untrusted_type_is_refused_at_logging(one_champion: World) -> None:
    with pytest.raises(PermanentError, match=r"holds types outside the allow-list: .*innocent"):
        logged(one_champion.workspace.registry, hostile())


def test_an_untrusted_type_is_refused_at_loading_whatever_the_folder_says_of_itself(tmp_path: Path) -> None:
    skops.io.dump(hostile(), tmp_path / MODEL_FILE)
    trusted = skops.io.get_untrusted_types(file=tmp_path / MODEL_FILE)
    about = {"metadata": {"trainyard": "{}"}, "flavors": {"sklearn": {"skops_trusted_types": trusted}}}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(about))
    with pytest.raises(PermanentError, match=r"models v3: holds types outside the allow-list: .*innocent"):
        load_model(tmp_path, "models", 3, digest_of_model(tmp_path))


def _forge(file: Path, how: str) -> None:
    """What the model says of itself: trained before the holdout, or on other columns."""
    about = yaml.safe_load(file.read_text())
    if how == "older data":
        meta = json.loads(about["metadata"]["trainyard"]) | {"trained_through": "2001-01-01"}
        about["metadata"]["trainyard"] = json.dumps(meta)
    else:
        about["signature"]["inputs"] = about["signature"]["inputs"].replace("distance", "bribe")
    file.write_text(yaml.safe_dump(about))


def test_a_challenger_changed_between_training_and_judgement_is_refused(one_champion: World) -> None:
    """Neither judged nor registered: the digest is that of when it was logged."""
    registry = one_champion.workspace.registry
    with registry.run("parcels", "test"):
        uri = registry.log_model(fitted(make_pipeline(SimpleImputer(), LogisticRegression())), rows().head(), META)
    assert (registry.load_uri("parcels", uri).predict(rows()) >= 0).all()
    skops.io.dump(fitted(LogisticRegression(C=1e-3)), Path(registry.mlflow.artifacts.download_artifacts(uri)) / MODEL_FILE)
    with pytest.raises(PermanentError, match="SHA-256 differs"):
        registry.load_uri("parcels", uri)
    version = registry.register("parcels", uri, VersionTags())
    with pytest.raises(PermanentError, match="not the one that was registered"):
        registry.load("parcels", version)


@pytest.fixture
def file(one_champion: World) -> Iterator[Path]:
    """The model file of v1; put back after the test, as all copies of the workspace share it."""
    registry = one_champion.workspace.registry
    path = Path(registry.mlflow.artifacts.download_artifacts("models:/parcels/1")) / MODEL_FILE
    both = (path, path.with_name("MLmodel"))
    for each in both:
        shutil.copy(each, each.with_name(f"{each.name}.kept"))
    yield path
    for each in both:
        each.with_name(f"{each.name}.kept").replace(each)


@pytest.mark.parametrize("how", ["another model", "one byte more", "older data", "another signature"])
def test_a_file_that_is_not_the_registered_one_is_refused(how: str, file: Path, one_champion: World) -> None:
    registry = one_champion.workspace.registry
    assert registry.load("parcels", 1).version == 1
    if how == "another model":
        skops.io.dump(fitted(LogisticRegression()), file)
    elif how == "one byte more":
        file.write_bytes(file.read_bytes() + b"\0")
    else:
        _forge(file.with_name("MLmodel"), how)
    with pytest.raises(PermanentError, match="not the one that was registered"):
        registry.load("parcels", 1)


def test_a_version_without_a_digest_is_refused(one_champion: World) -> None:
    registry = one_champion.workspace.registry
    registry.client.delete_model_version_tag("parcels", "1", DIGEST_TAG)
    with pytest.raises(PermanentError, match=r"parcels v1: has no tag trainyard\.sha256"):
        registry.load("parcels", 1)


def test_a_version_that_is_not_there_is_said(one_champion: World) -> None:
    with pytest.raises(PermanentError, match="no model v99 in the registry; there are v1"):
        one_champion.workspace.registry.load("parcels", 99)


def test_an_alias_names_a_version_or_nothing(one_champion: World) -> None:
    registry = one_champion.workspace.registry
    assert registry.alias("parcels", CHAMPION) == 1
    assert registry.alias("parcels", "nobody") is None
    assert registry.alias("never_trained", CHAMPION) is None


def test_two_registries_in_one_process_do_not_mix(one_champion: World, tmp_path: Path) -> None:
    """MLflow's address is global to the process: each registry has to set its own."""
    ours, other = one_champion.workspace.registry, Registry(f"sqlite:///{tmp_path}/other.db", f"file://{tmp_path}/other")
    model = ours.load("parcels", 1)
    uri = logged(other, fitted(RandomForestClassifier(n_estimators=2)))
    assert ours.load("parcels", 1).meta == model.meta
    assert other.register("models", uri, VersionTags()) == 1
    assert ours.versions("models") == []


def test_types_of_a_plain_boosting_are_on_the_allow_list(tmp_path: Path) -> None:
    skops.io.dump(fitted(HistGradientBoostingClassifier(max_iter=3)), tmp_path / MODEL_FILE)
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"metadata": {"trainyard": '{"features": ["a", "b"]}'}}))
    assert np.isfinite(load_model(tmp_path, "x", 1, digest_of_model(tmp_path)).predict(rows())).all()
