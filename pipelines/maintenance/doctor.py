"""One read-only look at what has to agree, environment, registry, ledger, lake: what is wrong, since when, and the mend."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import PermanentError, TransientError
from pipelines.use_case import UseCase, features_table
from pipelines.workspace import (
    CHAMPION,
    Champion,
    Workspace,
    file_exists,
    published_definitions,
    refuse_other_definitions,
    restorable,
)


@dataclass(frozen=True)
class Finding:
    """`since` says since when, or from when on, it matters."""

    where: str
    wrong: str
    since: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.wrong}\n  since: {self.since}\n  mend:  {self.mend}"


Check = Callable[[], Iterable[Finding]]
_NOW, _CHANGE = "now", "the next time that it is used"


def examine(workspace: Workspace, use_cases: Iterable[UseCase]) -> list[Finding]:
    """Everything that does not agree; nothing is written. A check that cannot be made is a finding, and stops no other."""
    use_cases, database = list(use_cases), workspace.registry.database
    found = list(_tried("environment", lambda: _places(workspace)))
    place = list(_tried("registry", lambda: _registry(workspace, use_cases)))
    made = database is None or database.file.is_file()  # looking would make it
    for use_case in use_cases:
        checks: dict[str, Check] = {"lake": lambda u=use_case: _tables(workspace, u)}  # type: ignore[misc]
        if made and not place:  # what lies elsewhere, or does not answer, has no more to say
            checks |= {
                "champion": lambda u=use_case: _champion(workspace, u),  # type: ignore[misc]
                "features": lambda u=use_case: _definitions(workspace, u),  # type: ignore[misc]
                "versions": lambda u=use_case: _versions(workspace, u),  # type: ignore[misc]
            }
        for name, check in checks.items():
            found += _tried(f"{use_case.name} {name}", check)
    return found + place


def _tried(where: str, check: Check) -> Iterator[Finding]:
    try:
        yield from check()
    except (PermanentError, TransientError, OSError) as error:
        since = "until it answers again" if isinstance(error, TransientError) else _NOW
        yield Finding(where, f"{type(error).__name__}: {error}", since, "as the message says; then look again")


def _places(workspace: Workspace) -> Iterator[Finding]:
    """Local folders have to be there, and ours to write to."""
    environment = workspace.environment
    for name, place in {"lake": environment.lake.root, "landing": environment.landing, "reports": environment.reports}.items():
        folder = Path(place.removeprefix("file://"))
        if "://" not in place and folder.exists() and not os.access(folder, os.W_OK):
            mend = f"let this user write there: chown or chmod {folder}"
            yield Finding(f"environment {name}", f"{folder} cannot be written to", _CHANGE, mend)


def _registry(workspace: Workspace, use_cases: list[UseCase]) -> Iterator[Finding]:
    """It answers, and its record names the configured place."""
    database = workspace.registry.database
    if database and not database.file.is_file():
        for use_case in use_cases:
            champion = workspace.ledger.champion(use_case.name)
            if champion:
                yield Finding(use_case.name, f"{database.file} is gone, with all models", _since(champion), _way_on(use_case))
        return
    if database:
        database.refuse_other_place()
    workspace.registry.client.search_experiments(max_results=1)


def _champion(workspace: Workspace, use_case: UseCase) -> Iterator[Finding]:
    """The ledger's champion is there, loads, and has the alias."""
    champion = workspace.ledger.champion(use_case.name)
    if champion is None:
        left = workspace.registry.alias(use_case.name, CHAMPION)
        if left is not None:
            wrong = f"the alias '{CHAMPION}' names v{left}, but nobody is champion"
            yield Finding(use_case.name, wrong, _NOW, "the next scoring or maintenance run takes it away")
        return
    where, since = f"{use_case.name} champion v{champion.version}", _since(champion)
    try:
        workspace.registry.load(use_case.name, champion.version)
    except PermanentError as error:
        yield Finding(where, str(error), since, _way_on(use_case))
        return
    alias = workspace.registry.alias(use_case.name, CHAMPION)
    if alias != champion.version:
        named = "nothing" if alias is None else f"v{alias}"
        mend = "the next scoring or maintenance run sees to it, as the use case's alias_moved says"
        yield Finding(where, f"the alias '{CHAMPION}' names {named}", since, mend)


def _definitions(workspace: Workspace, use_case: UseCase) -> Iterator[Finding]:
    """The newest features are those that the champion was trained on."""
    champion, table = workspace.ledger.champion(use_case.name), features_table(use_case)
    newest = list(workspace.lake.partitions(table))[-1:]
    if champion is None or not newest:
        return
    try:
        model = workspace.registry.load(use_case.name, champion.version)
    except PermanentError:
        return  # said already
    try:
        found = published_definitions(workspace.lake, table, newest)
        refuse_other_definitions(workspace.registry, use_case, model, found)
    except PermanentError as error:
        yield Finding(f"{use_case.name} features", str(error), f"partition {newest[0]}", "as the message says")


def _versions(workspace: Workspace, use_case: UseCase) -> Iterator[Finding]:
    """Every version that was champion can serve again and be reproduced: its run and its files are there."""
    experiment = workspace.registry.client.get_experiment_by_name(use_case.name)
    versions = workspace.registry.versions(use_case.name)
    if versions and (experiment is None or experiment.lifecycle_stage == "deleted"):
        mend = f"restore it: mlflow experiments restore, or rename it back to {use_case.name}; a training would make a new one"
        yield Finding(f"{use_case.name} registry", f"no experiment '{use_case.name}'", "the next training", mend)
    served = {d.model_version for d in workspace.ledger.champion_moves(use_case.name) if d.model_version}
    now = workspace.ledger.champion(use_case.name)
    for version in versions:
        if version.version not in served or (now and version.version == now.version):
            continue
        where = f"{use_case.name} v{version.version}"
        try:
            workspace.registry.load(use_case.name, version.version)
        except PermanentError as error:
            yield Finding(where, str(error), "a rollback to it", "put its files back from a backup; else roll back to another")
    for version in versions:
        if version.run_id and workspace.registry.run_is_gone(version.run_id):
            mend = "restore the run in MLflow, or its database from a backup; the model itself serves all the same"
            wrong = f"its MLflow run {version.run_id} is deleted: its configuration and report are lost with it"
            yield Finding(f"{use_case.name} v{version.version}", wrong, "a reproduction of it", mend)


def _tables(workspace: Workspace, use_case: UseCase) -> Iterator[Finding]:
    """Every table opens, and the files of its newest version are there."""
    for table in restorable(use_case):
        if not workspace.lake.exists(table):
            continue
        gone = [file for file in workspace.lake.files(table) if not file_exists(file.uri)]
        if gone:
            keys = sorted({file.partition for file in gone})
            wrong = f"{len(gone)} published files are gone, first of {keys[0]}: {gone[0].uri}"
            mend = f"put them back from a backup, or publish {', '.join(keys[:5])} again"
            yield Finding(table, wrong, "the next time that these partitions are read", mend)


def _since(champion: Champion) -> str:
    return f"{champion.at[:19]} it is champion, from partition {champion.effective_from} on"


def _way_on(use_case: UseCase) -> str:
    reason = f'{use_case.name} --reason "..."'
    return f"restore it from a backup; or python -m pipelines rollback {reason}; or python -m pipelines retire {reason}"
