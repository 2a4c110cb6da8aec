"""A use case: one YAML file, one model in production. Frozen, typed, unknown keys refused with the nearest valid one."""

from __future__ import annotations

import codecs
import difflib
import importlib
import os
import re
import string
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipelines.contract import ColumnType, Contract
from pipelines.errors import PermanentError
from pipelines.partitions import Grain, Partition

ROOT = Path(__file__).resolve().parents[1]
ESTIMATOR_PREFIXES = ("sklearn.",)
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")]


class Settings(BaseModel):
    # A limit that is not a number would pass or fail everything.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Schedules(Settings):
    """Cron expressions in UTC; null: the DAG runs only when asked, or when its input arrives."""

    ingestion: str | None = None
    retraining: str | None = "0 6 2 * *"
    maintenance: str | None = "0 3 * * 0"


class Source(Settings):
    """Where rows of one table come from. `{landing}` and `{partition}` in the URI are filled in."""

    uri: str
    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = "utf-8"
    multiline: bool = Field(False, description="quoted values may hold line breaks")
    null_values: tuple[str, ...] = Field(("",), description="texts that mean: no value")
    snapshot: bool = Field(False, description="reference data: one file that replaces the table, no partitions")
    time_column: str | None = Field(None, description="timestamp or date that must fall into the partition")
    available_after: timedelta = Field(timedelta(0), description="how long after the partition's end rows are complete")

    @field_validator("uri")
    @classmethod
    def _known_placeholders(cls, uri: str) -> str:
        names = {name for _, name, _, _ in string.Formatter().parse(uri) if name is not None}
        if not names <= {"landing", "partition"}:
            raise ValueError("only {landing} and {partition} are filled in")
        return uri

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise ValueError(f"unknown encoding '{encoding}': use a Python name such as utf-8 or latin-1") from None
        return encoding


class Label(Settings):
    """The label of a row: `column operator threshold`, known at `known_at`; a null `column` is no label."""

    source: str
    column: str
    operator: Literal[">=", ">", "<=", "<", "=="]
    threshold: float
    known_at: str
    description: str


class Join(Settings):
    """Columns of another table, looked up by equal keys. Expressions are Spark SQL over that table."""

    table: str
    match: dict[str, str]
    columns: dict[str, str]


class History(Settings):
    """Share of positive labels, by these columns, over the last n days before 00:00 of the row's date."""

    name: Name
    by: tuple[str, ...] = ()
    windows: tuple[Annotated[int, Field(gt=0)], ...]


class Features(Settings):
    """Features as Spark SQL. `key`, `date` and `segments` are kept beside the features, never trained on."""

    entity: str
    key: str
    date: str
    joins: tuple[Join, ...] = ()
    expressions: dict[Name, str]
    history: tuple[History, ...] = ()
    prior_weight: float = 5.0
    categorical: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()

    @property
    def lookback_days(self) -> int:
        return max((w for h in self.history for w in h.windows), default=0)

    @property
    def names(self) -> tuple[str, ...]:
        """Every feature column, in the order of the file."""
        past = (f"{h.name}_late_{w}d" for h in self.history for w in h.windows)
        return (*self.expressions, *past)


class Search(Settings):
    type: Literal["int", "float", "categorical"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Search:
        if self.type == "categorical" and not self.choices:
            raise ValueError("a categorical search needs 'choices'")
        if self.type != "categorical" and (self.low is None or self.high is None or self.low >= self.high):
            raise ValueError(f"a search over {self.type} needs 'low' below 'high'")
        return self


class Candidate(Settings):
    """A scikit-learn estimator by import path. `search` maps a parameter to its Optuna distribution."""

    estimator: str
    params: dict[str, Any] = {}
    search: dict[str, Search] = {}
    encoding: Literal["one_hot", "ordinal"] = "one_hot"
    simple: bool = Field(False, description="the simple model that a complex one has to beat")

    @field_validator("estimator")
    @classmethod
    def _exists(cls, path: str) -> str:
        module, _, name = path.rpartition(".")
        if not path.startswith(ESTIMATOR_PREFIXES):
            raise ValueError(f"'{path}' is not allowed: an estimator starts with one of {', '.join(ESTIMATOR_PREFIXES)}")
        if not _module_has(module, name):
            raise ValueError(f"unknown estimator '{path}'{_estimator_hint(module, name)}")
        return path


class Training(Settings):
    candidates: dict[Name, Candidate]
    min_partitions: int = Field(3, ge=1)
    max_partitions: int | None = Field(None, ge=1, description="train on the last n partitions only")
    holdout_days: int = Field(14, ge=1, description="the newest days: judged on, never searched on")
    folds: int = Field(3, ge=2)
    trials: int = Field(6, ge=1)
    seconds: float = Field(60, gt=0)
    search_rows: int = Field(60_000, ge=1000, description="the search fits on at most so many of the newest rows")
    refit: bool = Field(True, description="fit the chosen pipeline on the holdout too before it is registered")
    seed: int = 2013


Question = Literal[
    "rows", "slices", "learning_curve", "fresh", "predictive", "more_than_one_feature", "leaked_label", "rewritten",
    "duplicates", "related", "balanced", "missing", "unseen",
]  # fmt: skip


class Assessment(Settings):
    """What the data must be like before anything is trained on it."""

    warn: tuple[Question, ...] = Field(
        ("slices", "learning_curve", "more_than_one_feature", "related", "missing", "unseen"),
        description="verdicts that are shown when they fail, but do not stop the training",
    )
    sample_rows: int = Field(20_000, ge=200, description="models and curves see a seeded sample of at most so many rows")
    min_rows: int = Field(300, ge=1)
    min_class_rows: int = Field(50, ge=1)
    min_slice_rows: int = Field(50, ge=1, description="rows per value of each of features.segments")
    max_doubling_gain: float = Field(0.02, gt=0, description="fall of log loss expected of twice the data: above it, too few")
    max_delay: timedelta | None = Field(None, description="95 % of labels must be usable so long after their event")
    max_late_share: float = Field(0.01, ge=0, le=1, description="of labels known after sources.*.available_after")
    min_auc: float = Field(0.55, ge=0.5, le=1, description="of a shallow model, on newer rows than it was fitted on")
    min_gain_over_one_feature: float = Field(0.01, ge=0, description="AUC above that of the best feature alone")
    max_single_auc: float = Field(0.95, gt=0.5, le=1, description="of one feature alone: above it, it has seen the label")
    max_rewritten_share: float = Field(0.01, ge=0, le=1, description="of a feature's values, after the label was known")
    max_duplicate_share: float = Field(0.01, ge=0, le=1, description="of holdout rows that are in the training rows too")
    min_class_share: float = Field(0.01, ge=0, le=0.5)
    max_missing_gap: float = Field(0.3, gt=0, le=1, description="a slice's share of missing values less that of all rows")
    max_unseen_share: float = Field(0.05, ge=0, le=1, description="of holdout rows, with values that training has not")


class Gates(Settings):
    min_auc: float = Field(0.6, ge=0.5, le=1)
    max_auc: float = Field(0.99, gt=0.5, le=1, description="above it the label is suspected among the features")
    max_log_loss: float = Field(0.69, gt=0)
    min_holdout_rows: int = Field(500, ge=1)
    min_gain_over_simple: float = 0.002
    max_overfit: float = Field(0.08, description="AUC on training rows less AUC on the holdout")
    max_calibration_error: float = Field(0.08, gt=0)
    min_gain_over_champion: float = Field(0.0, description="smallest useful fall of log loss")
    confidence: float = Field(0.95, gt=0.5, lt=1)


class Value(Settings):
    """What a prediction is worth, in `unit` per row, once its outcome is known."""

    unit: str = "USD"
    threshold: float = Field(0.5, ge=0, le=1)
    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float = 0.0


class Scoring(Settings):
    threshold: float = Field(0.5, ge=0, le=1)


class Monitoring(Settings):
    sample_rows: int = Field(5000, ge=100)
    max_drift_distance: float = Field(0.1, gt=0, description="Wasserstein (normed) or Jensen-Shannon, per column")
    max_drifted_share: float = Field(0.3, gt=0, le=1)
    max_prediction_drift: float = Field(0.1, gt=0)
    max_auc_loss: float = Field(0.03, gt=0)
    max_calibration_gap: float = Field(0.04, gt=0, description="mean prediction against the share that came true")


class Retraining(Settings):
    cooldown_partitions: int = Field(1, ge=0)
    min_new_labels: int = Field(5000, ge=0)
    max_age_partitions: int | None = None


class UseCase(Settings):
    """One model in production, as its file declares it."""

    name: Name
    title: str
    owner: str
    purpose: str
    grain: Grain
    timezone: str = "UTC"
    tags: tuple[str, ...] = ()
    approval: Literal["automatic", "required"] = "required"
    schedules: Schedules = Schedules()
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
                raise ValueError(f"{where}: no table '{table}' among the sources{_nearest(table, tables)}")
        for table in sorted(tables - set(self.contract)):
            raise ValueError(f"contract: source '{table}' has no contract; add contract.{table}")
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> UseCase:
        for column in (*self.features.categorical, *self.features.segments):
            if column not in self.features.names:
                hint = _nearest(column, self.features.names)
                raise ValueError(f"features.categorical/segments: no feature '{column}'{hint}")
        uses = [("label", self.label.source, c) for c in (self.label.column, self.label.known_at, self.features.key)]
        uses += [("features", self.features.entity, c) for c in (self.features.key, self.features.date)]
        uses += [(f"sources.{n}.time_column", n, s.time_column) for n, s in self.sources.items() if s.time_column]
        for where, table, column in uses:
            columns = self.contract[table].columns
            if column not in columns:
                raise ValueError(f"{where}: '{column}' is no column of {table}{_nearest(column, columns)}")
        return self

    @model_validator(mode="after")
    def _times_are_times(self) -> UseCase:
        for name, source in self.sources.items():
            kind = self.contract[name].columns[source.time_column].type if source.time_column else None
            if kind not in (None, ColumnType.DATE, ColumnType.TIMESTAMP):
                raise ValueError(f"sources.{name}.time_column: '{source.time_column}' is a {kind}, must be a date or timestamp")
        return self

    @cached_property
    def numeric(self) -> tuple[str, ...]:
        return tuple(n for n in self.features.names if n not in self.features.categorical)

    def partition(self, key: str) -> Partition:
        return Partition.parse(key, self.grain)


def _module_has(module: str, name: str) -> bool:
    """Whether the class exists, told from the file names and `__all__` in source: importing scikit-learn takes seconds."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None or not module.startswith("sklearn."):
        return False
    folder = Path(spec.origin).parent / Path(*module.split(".")[1:])
    for file in (folder / "__init__.py", folder.with_suffix(".py")):
        if file.is_file() and re.search(rf"[\"']{re.escape(name)}[\"']|^class {re.escape(name)}\b", file.read_text(), re.M):
            return True
    return False


def _estimator_hint(module: str, name: str) -> str:
    known = {
        "sklearn.linear_model": ("LogisticRegression",),
        "sklearn.ensemble": ("HistGradientBoostingClassifier", "RandomForestClassifier", "ExtraTreesClassifier"),
        "sklearn.dummy": ("DummyClassifier",),
    }
    return _nearest(f"{module}.{name}", [f"{m}.{n}" for m, names in known.items() for n in names])


def _nearest(word: str, among: Any) -> str:
    close = difflib.get_close_matches(word, sorted(among), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; it has {', '.join(sorted(among))}"


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
        raise PermanentError(f"no use case '{name}' in {use_case_folder()}{_nearest(name, names)}")
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
        return f"{where}: unknown key{_nearest(str(error['loc'][-1]), _keys_at(error['loc'][:-1]))}"
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
