"""Rows of features for a model: only by the definitions that it was trained on, whatever the names say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.use_case import Definitions, UseCase, definitions_in_plan, feature_definitions, features_table
from pipelines.workspace.commits import CommitRecord
from pipelines.workspace.files import file_exists, read_bytes
from pipelines.workspace.lake import Lake
from pipelines.workspace.model import Model
from pipelines.workspace.registry import Registry
from pipelines.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

Found = Mapping[str, Definitions | None]


def feature_rows(
    workspace: Workspace, use_case: UseCase, model: Model, keys: Iterable[str], version: int | None = None
) -> pd.DataFrame:
    """Published features of these partitions, for this model; now, or at a version of their table.

    Raises:
        PermanentError: a partition lacks a feature of the model, or has it by another definition.
    """
    keys, table = list(keys), features_table(use_case)
    rows = workspace.lake.read(table, keys, version)
    refuse_other_definitions(workspace.registry, use_case, model, published_definitions(workspace.lake, table, keys, version))
    return rows.to_pandas()


def published_definitions(lake: Lake, table: str, keys: Iterable[str], version: int | None = None) -> Found:
    """By partition, the definitions that its features were built by; None where neither commit nor plan says."""
    keys = list(keys)
    commits = lake.published_each(table, keys, version)
    return {key: _built_by(commits[key].record) if key in commits else None for key in keys}


def _built_by(record: CommitRecord) -> Definitions | None:
    return record.definitions or _in_plan(record.plan)


def _in_plan(uri: str | None) -> Definitions | None:
    """Of rows from before there were digests."""
    if uri is None or not file_exists(uri):
        return None
    plan = json.loads(read_bytes(uri))
    return definitions_in_plan(plan) if all("columns" in given for given in plan["inputs"].values()) else None


def model_definitions(registry: Registry, use_case: UseCase, model: Model) -> Definitions:
    """What the model was trained on; of one from before there were digests, by the configuration that its run kept.

    Raises:
        PermanentError: neither says.
    """
    known = model.meta.get("definitions") or _configured(registry, use_case, model)
    if not known:
        raise PermanentError(
            f"{use_case.name} v{model.version}: nobody knows by which definitions its features were made: it was trained "
            "before they were recorded, and its run kept no configuration that is understood. Train a new model: "
            f"{_train(use_case)}"
        )
    return {name: known[name] for name in model.meta["features"] if name in known}


def _configured(registry: Registry, use_case: UseCase, model: Model) -> Definitions | None:
    """By the configuration that the version's run kept."""
    kept = registry.configuration(registry.version(use_case.name, model.version).run_id) if model.version else None
    try:
        return feature_definitions(UseCase.model_validate(json.loads(kept))) if kept else None
    except ValueError:  # a file of then that is not understood any more
        return None


def refuse_other_definitions(registry: Registry, use_case: UseCase, model: Model, found: Found) -> None:
    """Raises PermanentError where rows lack a feature of the model, or have it by another definition."""
    wanted = model_definitions(registry, use_case, model)
    for key, definitions in found.items():
        where = f"{use_case.name} v{model.version}: the rows of {key}"
        if definitions is None:
            raise PermanentError(f"{where} do not say by which definitions they were made; {_rebuild(use_case, [key])}")
        lacking = [name for name in wanted if name not in definitions]
        if lacking:
            raise PermanentError(
                f"{where} lack {', '.join(lacking)}, which the model was trained on; put it back into the features and "
                f"{_rebuild(use_case, [key])}; or train a new model"
            )
        other = [name for name in wanted if definitions[name] != wanted[name]]
        if other:
            raise PermanentError(
                f"{where} have {', '.join(other)} by another definition than the model was trained on; give the changed "
                f"feature a new name and the old one its old expression, and {_rebuild(use_case, [key])}. A new model may then "
                "replace this one; where the old definition cannot be kept, retire the champion first"
            )


def refuse_mixed_definitions(use_case: UseCase, found: Found) -> Definitions:
    """The definitions of today, if all partitions of a training were made by them.

    Raises:
        PermanentError: names the partitions and the features that are otherwise.
    """
    wanted = feature_definitions(use_case)
    unknown = [key for key, definitions in found.items() if definitions is None]
    if unknown:
        raise PermanentError(
            f"{use_case.name}: nobody knows by which definitions the features of {_some(unknown)} were made; "
            f"{_rebuild(use_case, unknown)}"
        )
    other = {key: [n for n in wanted if (d or {}).get(n) != wanted[n]] for key, d in found.items()}
    stale = {key: names for key, names in other.items() if names}
    if stale:
        names = sorted({name for each in stale.values() for name in each})
        raise PermanentError(
            f"{use_case.name}: the features of {_some(stale)} have {', '.join(names)} by another definition than "
            f"{use_case.name}.yaml has now, or lack it; two meanings are not mixed in one training: "
            f"{_rebuild(use_case, stale)}"
        )
    return wanted


def _some(keys: Iterable[str], most: int = 5) -> str:
    every = sorted(keys)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more partitions" if len(every) > most else "")


def _rebuild(use_case: UseCase, keys: Iterable[str]) -> str:
    first = min(keys)
    return f"build them again: python -m pipelines run features {use_case.name} {first}"


def _train(use_case: UseCase) -> str:
    return f"python -m pipelines run training {use_case.name} PARTITION"
