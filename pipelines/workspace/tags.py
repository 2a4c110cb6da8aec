"""What MLflow's runs and versions say of themselves in tags: written and read in this module only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from pipelines.errors import redact
from pipelines.results import from_json

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

DIGEST_TAG = "trainyard.sha256"
_TABLE, _NAMED = "table.", 10
_KEYS = {"model_uri": "trainyard.model_uri", "digest": DIGEST_TAG}


@dataclass(frozen=True, kw_only=True)
class RunTags:
    """What a run came from: partitions, table versions, configuration, code, locked packages, seed."""

    partition: str | None = None
    partitions: tuple[str, ...] | None = None
    versions: dict[str, int] = field(default_factory=dict)
    configuration: str | None = None
    code: str | None = None
    lock: str | None = None
    seed: int | None = None
    refit_of: str | None = None  # the run whose pipeline this one fits once more

    def tags(self) -> dict[str, str]:
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "versions"}
        found |= {_TABLE + table: version for table, version in self.versions.items()}
        return {k: redact(",".join(v) if isinstance(v, tuple) else str(v)) for k, v in found.items() if v is not None}

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> RunTags:
        """The record among all tags of a run; what is not ours is left out."""
        found: dict[str, object] = {f.name: tags[f.name] for f in fields(cls) if f.name in tags}
        if "partitions" in tags:
            found["partitions"] = tuple(tags["partitions"].split(","))
        found["versions"] = {k.removeprefix(_TABLE): v for k, v in tags.items() if k.startswith(_TABLE)}
        return from_json(cls, found)


@dataclass(frozen=True, kw_only=True)
class VersionTags:
    """What a registered version was trained for, how it scored on the holdout, and which file it is."""

    partition: str | None = None
    candidate: str | None = None
    holdout_auc: float | None = None
    holdout_log_loss: float | None = None
    run: str | None = None
    model_uri: str | None = None
    digest: str | None = None  # SHA-256 of the model file and of what is read about it

    def tags(self) -> dict[str, str]:
        found = {_KEYS.get(f.name, f.name): getattr(self, f.name) for f in fields(self)}
        return {key: redact(str(value)) for key, value in found.items() if value is not None}

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> VersionTags:
        """The record among all tags of a version. Older versions have the text "None" where a score was not defined."""
        found = {f.name: tags.get(_KEYS.get(f.name, f.name)) for f in fields(cls)}
        return from_json(cls, {k: None if v == "None" else v for k, v in found.items()})


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One registered version. `source` is the address of its files, `run_id` that of the MLflow run that logged it."""

    version: int
    run_id: str | None
    source: str
    tags: VersionTags

    @classmethod
    def of(cls, found: MlflowVersion) -> ModelVersion:
        """From MLflow's own record."""
        return cls(version=int(found.version), run_id=found.run_id, source=found.source, tags=VersionTags.of(found.tags))


def named(versions: list[int]) -> str:
    """Of many versions the newest by name."""
    if len(versions) > 2 * _NAMED:
        return f"{len(versions)}, the newest of them " + ", ".join(f"v{number}" for number in versions[-_NAMED:])
    return ", ".join(f"v{number}" for number in versions) or "none"
