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

from pipelines.errors import PermanentError, keep_secret
from pipelines.use_case import ROOT, UseCase, load_use_cases, nearest


class Place(BaseModel):
    """What every part of an environment's file shares."""

    # What was filled in may be a secret.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


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
    connect: str | None = None  # a file with the address of a warm Spark, which the local services write


class Environment(Place):
    lake: LakeSettings
    landing: str
    reports: str
    registry: RegistrySettings
    spark: SparkSettings
    groups: dict[str, tuple[str, ...]] = {}
    clock: str | None = None  # a file with the moment that counts as now, which a replay sets; the machine's without


_VARIABLE = re.compile(r"\$\{([A-Z_]+)(:-([^}]*))?\}")
_SECRET = re.compile(r"secret|password|token|credential|(access|account|api|private)_?key", re.IGNORECASE)
_PASSWORD = re.compile(r"\w+://[^/@\s]*?:([^/@\s]+)@")


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
        return Environment.model_validate(_filled(yaml.safe_load(file.read_text()), file.name, ""))
    except yaml.YAMLError as error:
        raise PermanentError(f"{file.name}: {error}") from None
    except ValidationError as error:
        # What was filled in may be a secret: the errors say which key and what is asked for, never the value.
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise PermanentError(f"{file.name}: {wrong}") from None


def _filled(value: object, file: str, key: str) -> object:
    """The parsed file with `${NAME}` and `${NAME:-default}` filled from the process's environment.

    Parsed first, so that no value can change what the file says, and every filled value is the text that it is.
    """
    if isinstance(value, dict):
        return {k: _filled(each, file, str(k)) for k, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, file, key) for each in value]
    if not isinstance(value, str):
        return value
    found = _VARIABLE.sub(lambda match: _value_of(match, file, key), value)
    for password in _PASSWORD.findall(found):
        keep_secret(password)
    return found


def _value_of(match: re.Match[str], file: str, key: str) -> str:
    name, default = match.group(1), match.group(3)
    # Empty counts as not set, as in a shell: a compose file passes variables on that nobody set.
    found = str(state_folder()) if name == "STATE" else os.environ.get(name) or default
    if found is None:
        raise PermanentError(f"{file}: the environment variable {name} is not set; export it, or pass it to the service")
    if _SECRET.search(name) or _SECRET.search(key):
        keep_secret(found)
    return found


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
