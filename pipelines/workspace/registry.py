"""The registry: runs, registered models and their aliases in MLflow, behind a few verbs."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.workspace.model import Model, ModelMeta, check_types, digest_of_model, load_model
from pipelines.workspace.tags import DIGEST_TAG, ModelVersion, RunTags, VersionTags

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from sklearn.pipeline import Pipeline

CHAMPION = "champion"
CHALLENGER = "challenger"


class Registry:
    """MLflow behind a few verbs. One registered model per use case, of the same name."""

    def __init__(self, tracking_uri: str, artifacts: str) -> None:
        self.tracking_uri = tracking_uri
        self.artifacts = artifacts

    @property
    def mlflow(self) -> ModuleType:
        """The `mlflow` module, pointed at this registry each time: its address is global to the process."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        if self.tracking_uri.startswith("sqlite:///"):
            Path(self.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        import mlflow

        mlflow.set_tracking_uri(self.tracking_uri)
        mlflow.set_registry_uri(self.tracking_uri)
        return mlflow

    @cached_property
    def client(self) -> MlflowClient:
        return self.mlflow.MlflowClient(self.tracking_uri, self.tracking_uri)

    @contextmanager
    def run(self, use_case: str, name: str, tags: RunTags | None = None) -> Iterator[str]:
        """An MLflow run in the use case's experiment; yields its id."""
        if self.client.get_experiment_by_name(use_case) is None:
            self._create_experiment(use_case)
        experiment = self.client.get_experiment_by_name(use_case)
        said = tags.tags() if tags else None
        with self.mlflow.start_run(experiment_id=experiment.experiment_id, run_name=name, tags=said) as run:
            yield run.info.run_id

    def _create_experiment(self, use_case: str) -> None:
        from mlflow.exceptions import MlflowException

        place = self.artifacts if self.artifacts.startswith("mlflow-artifacts:") else f"{self.artifacts}/{use_case}"
        try:
            self.client.create_experiment(use_case, artifact_location=place)
        except MlflowException:
            # Another candidate's task made it a moment ago.
            if self.client.get_experiment_by_name(use_case) is None:
                raise

    def log_model(self, pipeline: Pipeline, example: pd.DataFrame, meta: ModelMeta) -> str:
        """Log the pipeline and `meta` in the active run; return the model's address.

        Its digest is kept in MLflow's database at once, away from the store that holds the files.
        """
        import skops.io
        from mlflow.models import infer_signature

        # Whole numbers are logged as such on purpose: nulls among them are read as floats, which the pipeline takes too.
        warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer column")
        untrusted = check_types(skops.io.get_untrusted_types(data=skops.io.dumps(pipeline)), "the trained pipeline")
        info = self.mlflow.sklearn.log_model(
            pipeline,
            name="model",
            serialization_format="skops",
            skops_trusted_types=untrusted,
            signature=infer_signature(example, pipeline.predict_proba(example)[:, 1]),
            input_example=example,
            pip_requirements=_requirements(),
            pyfunc_predict_fn="predict_proba",
            metadata={"trainyard": json.dumps(meta, sort_keys=True)},
        )
        digest = digest_of_model(self._download(info.model_uri))
        self.client.set_logged_model_tags(info.model_id, {DIGEST_TAG: digest})
        return str(info.model_uri)

    def register(self, use_case: str, model_uri: str, tags: VersionTags) -> int:
        """A version of the use case's model; the same model registers once."""
        for version in self.versions(use_case):
            if version.tags.model_uri == model_uri:
                return version.version
        # The digest of when it was logged: what was changed since does not become right by being registered.
        tags = replace(tags, model_uri=model_uri, digest=self._logged_digest(use_case, model_uri))
        return int(self.mlflow.register_model(model_uri, use_case, tags=tags.tags()).version)

    def versions(self, use_case: str) -> list[ModelVersion]:
        """All versions, oldest first."""
        found = self.client.search_model_versions(f"name='{use_case}'", max_results=1000)
        versions = [
            ModelVersion(version=int(v.version), run_id=v.run_id, source=v.source, tags=VersionTags.of(v.tags)) for v in found
        ]
        return sorted(versions, key=lambda v: v.version)

    def tables_read(self, use_case: str) -> dict[str, set[int]]:
        """Table to those of its versions that some registered model was trained on, as its run says."""
        found: dict[str, set[int]] = {}
        for run in {v.run_id for v in self.versions(use_case) if v.run_id}:
            for table, version in RunTags.of(self.client.get_run(run).data.tags).versions.items():
                found.setdefault(table, set()).add(version)
        return found

    def version(self, use_case: str, version: int) -> ModelVersion:
        """The record of one version.

        Raises:
            PermanentError: there is no such version.
        """
        found = {v.version: v for v in self.versions(use_case)}
        if version not in found:
            known = ", ".join(f"v{number}" for number in found) or "none"
            raise PermanentError(f"{use_case}: no model v{version} in the registry; there are {known}")
        return found[version]

    def alias(self, use_case: str, alias: str) -> int | None:
        """The version that an alias names, or None."""
        if not self.versions(use_case):
            return None
        found = self.client.get_registered_model(use_case).aliases.get(alias)
        return int(found) if found is not None else None

    def set_alias(self, use_case: str, alias: str, version: int) -> None:
        self.client.set_registered_model_alias(use_case, alias, str(self.version(use_case, version).version))

    def load(self, use_case: str, version: int) -> Model:
        """Load a version, once its digest and the types inside it are known to be good.

        Raises:
            PermanentError: the file is not the one that was registered, or holds a type outside the allow-list.
        """
        digest = self.version(use_case, version).tags.digest
        if digest is None:
            raise PermanentError(
                f"{use_case} v{version}: has no tag {DIGEST_TAG}, so its file cannot be checked; it was not registered "
                "by the training, or the tag was taken away: train a new model, or roll back to another version"
            )
        return load_model(self._download(f"models:/{use_case}/{version}"), use_case, version, digest)

    def load_uri(self, use_case: str, model_uri: str) -> Model:
        """Load a logged model that is not registered yet, or `models:/<use case>/<version>`; checked like `load`."""
        name, _, version = model_uri.removeprefix("models:/").partition("/")
        if version.isdigit():
            return self.load(name, int(version))
        return load_model(self._download(model_uri), use_case, 0, self._logged_digest(use_case, model_uri))

    def _logged_digest(self, use_case: str, model_uri: str) -> str:
        model = self.client.get_logged_model(model_uri.removeprefix("models:/"))
        digest: str | None = model.tags.get(DIGEST_TAG)
        if digest is None:
            raise PermanentError(f"{use_case}: {model_uri} has no tag {DIGEST_TAG}: the training did not log it; train again")
        return digest

    def _download(self, uri: str) -> Path:
        return Path(self.mlflow.artifacts.download_artifacts(uri))


def _requirements() -> list[str]:
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in ("scikit-learn", "skops", "numpy", "pandas", "mlflow")]
