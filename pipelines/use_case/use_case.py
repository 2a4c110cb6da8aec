"""A use case: one YAML file, one model in production. Frozen, typed, unknown keys refused with the nearest valid one."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from pipelines.errors import PermanentError
from pipelines.use_case.contract import ColumnType, Contract
from pipelines.use_case.partitions import Grain, Partition
from pipelines.use_case.settings import (
    Assessment,
    Features,
    Gates,
    Label,
    Monitoring,
    Name,
    Retraining,
    Schedules,
    Scoring,
    Settings,
    Source,
    Training,
    nearest,
)
from pipelines.use_case.value import Value

ROOT = Path(__file__).resolve().parents[2]


class UseCase(Settings):
    """One model in production, as its file declares it."""

    name: Name
    title: str
    owner: str
    purpose: str
    grain: Grain
    timezone: str = "UTC"
    tags: tuple[str, ...] = ()
    limits: tuple[str, ...] = Field((), description="what the model is not for; shown on its card")
    approval: Literal["automatic", "required"] = "required"
    approvers: str = Field("model-approvers", description="group of the environment whose members may approve")
    approval_deadline: timedelta = Field(timedelta(days=3), gt=timedelta(0), description="no answer until then is a no")
    alias_moved: Literal["put_back", "accept"] = Field(
        "put_back", description="when the champion alias was moved outside the pipeline"
    )
    schedules: Schedules = Schedules()
    keep_versions_for: timedelta = Field(
        timedelta(days=90), ge=timedelta(days=7), description="how long an older version of a table can be put back"
    )
    sources: dict[Name, Source]
    contract: dict[Name, Contract]
    label: Label
    features: Features
    training: Training
    assessment: Assessment = Assessment()
    gates: Gates = Gates()
    value: Value | None = None
    scoring: Scoring = Scoring()
    monitoring: Monitoring = Monitoring()
    retraining: Retraining = Retraining()

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"unknown time zone '{zone}': use an IANA name such as America/New_York") from None
        return zone

    @model_validator(mode="after")
    def _tables_exist(self) -> UseCase:
        tables = set(self.sources)
        uses = {"label.source": self.label.source, "features.entity": self.features.entity}
        uses |= {f"features.joins.{i}.table": j.table for i, j in enumerate(self.features.joins)}
        uses |= {f"contract.{name}": name for name in self.contract}
        for where, table in uses.items():
            if table not in tables:
                raise ValueError(f"{where}: no table '{table}' among the sources{nearest(table, tables)}")
        for table in sorted(tables - set(self.contract)):
            raise ValueError(f"contract: source '{table}' has no contract; add contract.{table}")
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> UseCase:
        for column in (*self.features.categorical, *self.features.segments):
            if column not in self.features.names:
                hint = nearest(column, self.features.names)
                raise ValueError(f"features.categorical/segments: no feature '{column}'{hint}")
        uses = [("label", self.label.source, c) for c in (self.label.column, self.label.known_at, self.features.key)]
        uses += [("features", self.features.entity, c) for c in (self.features.key, self.features.date)]
        uses += [(f"sources.{n}.time_column", n, s.time_column) for n, s in self.sources.items() if s.time_column]
        for where, table, column in uses:
            columns = self.contract[table].columns
            if column not in columns:
                raise ValueError(f"{where}: '{column}' is no column of {table}{nearest(column, columns)}")
        return self

    @model_validator(mode="after")
    def _times_are_times(self) -> UseCase:
        for name, source in self.sources.items():
            kind = self.contract[name].columns[source.time_column].type if source.time_column else None
            if kind not in (None, ColumnType.DATE, ColumnType.TIMESTAMP):
                raise ValueError(f"sources.{name}.time_column: '{source.time_column}' is a {kind}, must be a date or timestamp")
        return self

    @model_validator(mode="after")
    def _nobody_goes_around_the_approvers(self) -> UseCase:
        if self.approval == "required" and self.alias_moved == "accept":
            raise ValueError("alias_moved: 'accept' would let who moves the alias go around 'approval: required'; use put_back")
        return self

    @cached_property
    def numeric(self) -> tuple[str, ...]:
        return tuple(n for n in self.features.names if n not in self.features.categorical)

    def partition(self, key: str) -> Partition:
        return Partition.parse(key, self.grain)


def use_case_folder() -> Path:
    """`conf/use_cases`, or the folder that TRAINYARD_USE_CASES names."""
    return Path(os.environ.get("TRAINYARD_USE_CASES", ROOT / "conf" / "use_cases"))


def load_use_case(name: str) -> UseCase:
    """Read one use case.

    Raises:
        PermanentError: no such file, or the file is not valid; names file, key and nearest valid value.
    """
    file = use_case_folder() / f"{name}.yaml"
    if not file.is_file():
        names = [f.stem for f in use_case_folder().glob("*.yaml")]
        raise PermanentError(f"no use case '{name}' in {use_case_folder()}{nearest(name, names)}")
    return read_use_case(file)


def read_use_case(file: Path) -> UseCase:
    """Read a use-case file; errors as in `load_use_case`."""
    try:
        data = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise PermanentError(f"{file.name}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise PermanentError(f"{file.name}: a use case is a mapping of keys; see docs/adding-a-use-case.md")
    try:
        use_case = UseCase.model_validate(data)
    except ValidationError as error:
        raise PermanentError(f"{file.name}: " + "; ".join(_explain(e) for e in error.errors())) from None
    if use_case.name != file.stem:
        raise PermanentError(f"{file.name}: name: is '{use_case.name}', must be the file's own, '{file.stem}'")
    return use_case


def load_use_cases() -> tuple[list[UseCase], dict[str, str]]:
    """All valid use cases, and the error of each file that is not."""
    good, broken = [], {}
    for file in sorted(use_case_folder().glob("*.yaml")):
        try:
            good.append(read_use_case(file))
        except PermanentError as error:
            broken[file.name] = str(error)
    return good, broken


def _explain(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{nearest(str(error['loc'][-1]), _keys_at(error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"{where}: this key is required"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("value_error", "enum", "literal_error") and where:
        given = error.get("input")
        shown = f" (is '{given}')" if isinstance(given, str) and given not in message else ""
        return f"{where}: {message}{shown}"
    return f"{where}: {message}" if where else message


def _keys_at(path: tuple[Any, ...]) -> list[str]:
    """The keys that the model knows at `path`."""
    model: Any = UseCase
    parts = iter(path)
    for part in parts:
        model = model.model_fields[part].annotation
        while not isinstance(model, type):
            # What follows a mapping or a list is a name of the user's, or a number.
            if get_origin(model) in (dict, tuple):
                next(parts, None)
            model = next(a for a in reversed(get_args(model)) if a not in (type(None), Ellipsis))
    return list(model.model_fields)


UseCase.model_rebuild()
