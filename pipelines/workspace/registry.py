"""The registry: models in MLflow, saved as skops and loaded only after their types and digest were checked.

MLflow is not taken to be whole: what is gone from it is said with the way on (PermanentError), and a registry that does
not answer is asked again (TransientError).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, cast

from pipelines.errors import PermanentError
from pipelines.workspace.mlflow_errors import GONE, Classified, classified
from pipelines.workspace.model import (
    Model,
    ModelMeta,
    check_types,
    digest_of_model,
    load_model,
    requirements,
    tried,
    with_nulls,
)
from pipelines.workspace.registry_database import RegistryDatabase
from pipelines.workspace.tags import DIGEST_TAG, ModelVersion, RunTags, VersionTags, named

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from sklearn.pipeline import Pipeline

CHAMPION = "champion"
CHALLENGER = "challenger"
_PAGE = 1000
CONFIGURATION_FILE = "use_case.json"  # what a training run keeps of its use case


class Registry:
    """MLflow behind a few verbs. One registered model per use case, of the same name; `vouch` is `Ledger.vouch`."""

    def __init__(self, tracking_uri: str, artifacts: str, vouch: Callable[[str, int, str], None] = lambda *_: None) -> None:
        self.tracking_uri, self.artifacts, self.vouch = tracking_uri, artifacts, vouch
        self._opened = False

    @property
    def mlflow(self) -> ModuleType:
        """The `mlflow` module, pointed at this registry each time: its address is global to the process."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each model in every log
        import mlflow

        self._open()
        mlflow.set_tracking_uri(self.tracking_uri)
        mlflow.set_registry_uri(self.tracking_uri)
        return mlflow

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client; its errors are ours."""
        return cast("MlflowClient", Classified(self.mlflow.MlflowClient(self.tracking_uri, self.tracking_uri), "MLflow"))

    @cached_property
    def database(self) -> RegistryDatabase | None:
        """The file that this process opens itself; None where a server has the database."""
        return RegistryDatabase.at(self.tracking_uri, self.artifacts)

    def _open(self) -> None:
        """Made once, under a lock; and no other place's record is written to."""
        if self.database and not self._opened:
            self.database.prepare()
            self.database.refuse_other_place()
            self._opened = True

    @contextmanager
    def run(self, use_case: str, name: str, tags: RunTags | None = None) -> Iterator[str]:
        """An MLflow run in the use case's experiment; yields its id."""
        if self.client.get_experiment_by_name(use_case) is None:
            self._create_experiment(use_case)
        experiment = self.client.get_experiment_by_name(use_case)
        if experiment.lifecycle_stage == "deleted":
            raise PermanentError(
                f"{use_case}: its experiment is deleted in MLflow, so nothing can be logged; put it back: "
                f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
            )
        said = tags.tags() if tags else None
        start = self.mlflow.start_run
        with classified("MLflow"), start(experiment_id=experiment.experiment_id, run_name=name, tags=said) as run:
            yield run.info.run_id

    def _create_experiment(self, use_case: str) -> None:
        place = self.artifacts if self.artifacts.startswith("mlflow-artifacts:") else f"{self.artifacts}/{use_case}"
        try:
            self.client.create_experiment(use_case, artifact_location=place)
        except PermanentError:
            # Another candidate's task made it a moment ago.
            if self.client.get_experiment_by_name(use_case) is None:
                raise

    def log_model(self, pipeline: Pipeline, example: pd.DataFrame, meta: ModelMeta) -> str:
        """Log the pipeline and `meta` in the active run; return the model's address.

        The signature says double for every number, and the example has a null: a whole number that is missing is a float.

        Its digest is kept in MLflow's database at once, away from the store that holds the files.
        """
        import skops.io
        from mlflow.models import infer_signature

        shown = with_nulls(example)
        untrusted = check_types(skops.io.get_untrusted_types(data=skops.io.dumps(pipeline)), "the trained pipeline")
        info = self.mlflow.sklearn.log_model(
            pipeline,
            name="model",
            serialization_format="skops",
            skops_trusted_types=untrusted,
            signature=infer_signature(shown, pipeline.predict_proba(example)[:, 1]),
            input_example=shown,
            pip_requirements=requirements(),
            pyfunc_predict_fn="predict_proba",
            metadata={"trainyard": json.dumps({**meta, "example": tried(pipeline, shown)}, sort_keys=True)},
        )
        with self._downloaded(info.model_uri, "the trained pipeline") as folder:
            digest = digest_of_model(folder)
        self.client.set_logged_model_tags(info.model_id, {DIGEST_TAG: digest})
        return str(info.model_uri)

    def register(self, use_case: str, model_uri: str, tags: VersionTags) -> int:
        """A version of the use case's model; the same model registers once."""
        for version in self.versions(use_case):
            if version.tags.model_uri == model_uri:
                return version.version
        # The digest of when it was logged: what was changed since does not become right by being registered.
        tags = replace(tags, model_uri=model_uri, digest=self._logged_digest(use_case, model_uri))
        with classified("MLflow"):
            return int(self.mlflow.register_model(model_uri, use_case, tags=tags.tags()).version)

    def versions(self, use_case: str) -> list[ModelVersion]:
        """All versions, oldest first."""
        found: list[MlflowVersion] = []
        token: str | None = None
        while token != "":
            page = self.client.search_model_versions(f"name='{use_case}'", max_results=_PAGE, page_token=token)
            found, token = [*found, *page], page.token or ""
        return sorted(map(ModelVersion.of, found), key=lambda v: v.version)

    def tables_read(self, use_case: str) -> dict[str, set[int]]:
        """Table to those of its versions that some registered model was trained on, as its run, or its own record, says.

        Raises:
            PermanentError: neither does; nobody knows what may be removed.
        """
        found: dict[str, set[int]] = {}
        for version in self.versions(use_case):
            for table, number in self._tables_of(use_case, version).items():
                found.setdefault(table, set()).add(number)
        return found

    def _tables_of(self, use_case: str, version: ModelVersion) -> dict[str, int]:
        try:
            run = self.client.get_run(version.run_id) if version.run_id else None
        except PermanentError:  # deleted for good; the model's files say the same
            run = None
        known = RunTags.of(run.data.tags).versions if run else {}
        return known or dict(self.load(use_case, version.version).meta["versions"])

    def version(self, use_case: str, version: int) -> ModelVersion:
        """The record of one version.

        Raises:
            PermanentError: there is no such version.
        """
        try:
            return ModelVersion.of(self.client.get_model_version(use_case, str(version)))
        except PermanentError:
            known = named([v.version for v in self.versions(use_case)])
            raise PermanentError(f"{use_case}: no model v{version} in the registry; there are {known}") from None

    def alias(self, use_case: str, alias: str) -> int | None:
        """The version that an alias names, or None."""
        try:
            found = self.client.get_registered_model(use_case).aliases.get(alias)
        except PermanentError:  # no model of this name
            return None
        return int(found) if found is not None else None

    def delete_alias(self, use_case: str, alias: str) -> None:
        if self.alias(use_case, alias) is not None:
            self.client.delete_registered_model_alias(use_case, alias)

    def set_alias(self, use_case: str, alias: str, version: int) -> None:
        self.client.set_registered_model_alias(use_case, alias, str(self.version(use_case, version).version))

    def load(self, use_case: str, version: int) -> Model:
        """Load a version, once its digest and the types inside it are known to be good.

        Raises:
            PermanentError: the file is not the one that was registered, or promoted, or holds a type outside the allow-list.
        """
        digest = self.version(use_case, version).tags.digest
        if digest is None:
            raise PermanentError(
                f"{use_case} v{version}: has no tag {DIGEST_TAG}, so its file cannot be checked; it was not registered "
                "by the training, or the tag was taken away: train a new model, or roll back to another version"
            )
        self.vouch(use_case, version, digest)
        with self._downloaded(f"models:/{use_case}/{version}", f"{use_case} v{version}") as folder:
            return load_model(folder, use_case, version, digest)

    def load_uri(self, use_case: str, model_uri: str) -> Model:
        """Load a logged model that is not registered yet, or `models:/<use case>/<version>`; checked like `load`."""
        name, _, version = model_uri.removeprefix("models:/").partition("/")
        if version.isdigit():
            return self.load(name, int(version))
        with self._downloaded(model_uri, f"{use_case}: {model_uri}") as folder:
            return load_model(folder, use_case, 0, self._logged_digest(use_case, model_uri))

    def configuration(self, run_id: str | None) -> str | None:
        """The use case's configuration as a run kept it, as JSON; None where it kept none, or is gone."""
        try:
            kept = {f.path for f in self.client.list_artifacts(run_id)} if run_id else set()
        except PermanentError:  # the run was deleted for good
            return None
        if CONFIGURATION_FILE not in kept:
            return None
        address = f"{self.client.get_run(run_id).info.artifact_uri}/{CONFIGURATION_FILE}"
        with classified("MLflow"):
            return str(self.mlflow.artifacts.load_text(address))

    def run_is_gone(self, run_id: str) -> bool:
        """Whether the run was deleted, for good or not."""
        try:
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "deleted")
        except PermanentError:
            return True

    def _logged_digest(self, use_case: str, model_uri: str) -> str:
        model = self.client.get_logged_model(model_uri.removeprefix("models:/"))
        digest: str | None = model.tags.get(DIGEST_TAG)
        if digest is None:
            raise PermanentError(f"{use_case}: {model_uri} has no tag {DIGEST_TAG}: the training did not log it; train again")
        return digest

    @contextmanager
    def _downloaded(self, uri: str, where: str) -> Iterator[Path]:
        """A model's folder while it is read. Of a store elsewhere MLflow by itself leaves one behind each time."""
        with TemporaryDirectory() as place:
            try:
                with classified(uri):
                    folder = Path(self.mlflow.artifacts.download_artifacts(uri, dst_path=place))
            except PermanentError as error:
                raise PermanentError(f"{where}: {GONE} ({error})") from None
            if not (folder / "MLmodel").is_file():
                raise PermanentError(f"{where}: {GONE}")
            yield folder
