"""The parts of a use-case file: frozen, typed, unknown keys refused."""

from __future__ import annotations

import codecs
import difflib
import importlib
import re
import string
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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
    calibrate: Literal["sigmoid", "isotonic"] | None = Field(
        None, description="probabilities are calibrated on newer rows than the estimator was fitted on"
    )

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
    candidates: dict[Name, Candidate] = Field(min_length=1)
    min_partitions: int = Field(3, ge=1)
    max_partitions: int | None = Field(None, ge=1, description="train on the last n partitions only")
    holdout_days: int = Field(14, ge=1, description="the newest days: judged on, never searched on")
    folds: int = Field(3, ge=2)
    trials: int = Field(6, ge=1)
    seconds: float = Field(60, gt=0)
    search_rows: int = Field(60_000, ge=1000, description="the search fits on at most so many of the newest rows")
    refit: bool = Field(True, description="fit the chosen pipeline on the holdout too before it is registered")
    seed: int = 2013

    @field_validator("candidates")
    @classmethod
    def _one_is_simple(cls, candidates: dict[str, Candidate]) -> dict[str, Candidate]:
        if not any(c.simple for c in candidates.values()):
            raise ValueError("one candidate must be 'simple: true' (a plain LogisticRegression): complex ones have to beat it")
        return candidates


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
    min_slice_rows: int = Field(500, ge=50, description="a slice with fewer rows in the holdout is too small to judge")
    min_slice_auc: float = Field(0.5, ge=0, le=1, description="floor of every slice that is large enough to judge")
    slice_confidence: float = Field(0.95, gt=0.5, lt=1, description="over all slices together (Bonferroni)")
    required_slices: dict[str, tuple[str, ...]] = Field(
        {}, description="by segment: values that must be there and large enough to judge"
    )
    min_value_per_row: float = Field(0.0, description="what acting on the model must be worth, in value.unit per row")
    max_noise_flips: float = Field(0.1, gt=0, le=1, description="share of actions that noise of 1 % of the spread may flip")
    max_missing_flips: float = Field(0.5, gt=0, le=1, description="share of actions that one missing value in ten may flip")
    max_unseen_flips: float = Field(0.5, gt=0, le=1, description="share of actions that unseen categories may flip")
    max_latency_ms: float = Field(250, gt=0, description="median of scoring one row, in a fresh process")
    max_memory_mib: float = Field(2048, gt=0, description="peak of a fresh process that loads the model and scores")


class Scoring(Settings):
    threshold: float = Field(0.5, ge=0, le=1, description="from this probability on, the users act")


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
    return nearest(f"{module}.{name}", [f"{m}.{n}" for m, names in known.items() for n in names])


def nearest(word: str, among: Any) -> str:
    close = difflib.get_close_matches(word, sorted(among), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; it has {', '.join(sorted(among))}"
