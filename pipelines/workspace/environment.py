"""Where things are: one file per environment, the same keys in each.

The only place that fills environment variables into configuration. The folder of the use cases is in use_case/loader.py;
what a library or a child process gets is set where it is started.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.errors import PermanentError
from pipelines.use_case import ROOT, UseCase, load_use_cases, nearest


class Place(BaseModel):
    """What every part of an environment's file shares."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LakeSettings(Place):
    root: str
    options: dict[str, str] = {}


class RegistrySettings(Place):
    tracking_uri: str
    artifacts: str
    page: str


class DataprocSettings(Place):
    project: str
    region: str
    jobs: str


class SparkSettings(Place):
    operator: Literal["spark_submit", "dataproc"]
    connection: str
    driver_memory: str
    properties: dict[str, str]
    dataproc: DataprocSettings | None


class Environment(Place):
    lake: LakeSettings
    landing: str
    reports: str
    registry: RegistrySettings
    spark: SparkSettings
    groups: dict[str, tuple[str, ...]] = {}


def state_folder() -> Path:
    """`var/` in the checkout, or the folder that TRAINYARD_STATE names."""
    return Path(os.environ.get("TRAINYARD_STATE", ROOT / "var")).absolute()


def load_environment(name: str | None = None) -> Environment:
    """Read `conf/environments/<name>.yaml`; the default name is TRAINYARD_ENVIRONMENT, else `local`.

    Raises:
        PermanentError: no such file, a variable without value, an unknown key.
    """
    name = name or os.environ.get("TRAINYARD_ENVIRONMENT", "local")
    file = ROOT / "conf" / "environments" / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(f.stem for f in file.parent.glob("*.yaml")))
        raise PermanentError(f"TRAINYARD_ENVIRONMENT: no environment '{name}'; there are {known}")
    try:
        return Environment.model_validate(yaml.safe_load(_expand(file.read_text(), file.name)))
    except ValidationError as error:
        raise PermanentError(f"{file.name}: {error}") from None


def _expand(text: str, where: str) -> str:
    """Fill `${NAME}` and `${NAME:-default}` from the process's environment."""

    def value(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(3)
        # Empty counts as not set, as in a shell: a compose file passes variables on that nobody set.
        found = str(state_folder()) if name == "STATE" else os.environ.get(name) or default
        if found is None:
            raise PermanentError(f"{where}: the environment variable {name} is not set; export it, or pass it to the service")
        return found

    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return re.sub(r"\$\{([A-Z_]+)(:-([^}]*))?\}", value, "\n".join(lines))


def approvers_of(use_case: UseCase, environment: Environment) -> tuple[str, ...]:
    """The users that may answer for the use case: the members of its group.

    Raises:
        PermanentError: this environment has no such group, or nobody is in it.
    """
    groups, group = environment.groups, use_case.approvers
    if group not in groups:
        hint = nearest(group, groups) if groups else "; this environment has no groups"
        raise PermanentError(f"{use_case.name}.yaml: approvers: no group '{group}' among the environment's groups{hint}")
    if not groups[group]:
        raise PermanentError(
            f"{use_case.name}.yaml: approvers: nobody is in the group '{group}'; name its users under groups in "
            "conf/environments, or choose another group"
        )
    return groups[group]


def usable_use_cases() -> tuple[list[UseCase], dict[str, str]]:
    """As `load_use_cases`; where approval is required and nobody could give it, the file counts as broken."""
    found, broken = load_use_cases()
    good = []
    for use_case in found:
        try:
            if use_case.approval == "required":
                approvers_of(use_case, load_environment())
            good.append(use_case)
        except PermanentError as error:
            broken[f"{use_case.name}.yaml"] = str(error)
    return good, broken
