"""Section `training:` the candidates, and how they are searched and fitted."""

from __future__ import annotations

import importlib.util
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipelines.use_case.section import Name, Section, nearest

ESTIMATOR_PREFIXES = ("sklearn.",)


class Search(Section):
    type: Literal["int", "float", "categorical"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[object, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Search:
        if self.type == "categorical" and not self.choices:
            raise ValueError("a categorical search needs 'choices'")
        if self.type != "categorical" and (self.low is None or self.high is None or self.low >= self.high):
            raise ValueError(f"a search over {self.type} needs 'low' below 'high'")
        for choice in self.choices:
            _refuse_unkeepable("choices", choice)
        return self


class Candidate(Section):
    """A scikit-learn estimator by import path. `search` maps a parameter to its Optuna distribution."""

    estimator: str
    params: dict[str, object] = Field({})
    search: dict[str, Search] = Field({})
    encoding: Literal["one_hot", "ordinal"] = "one_hot"
    simple: bool = Field(False, description="the simple model that a complex one has to beat")
    calibrate: Literal["sigmoid", "isotonic"] | None = Field(
        None, description="probabilities are calibrated on newer rows than the estimator was fitted on"
    )

    @field_validator("params")
    @classmethod
    def _can_be_kept(cls, params: dict[str, object]) -> dict[str, object]:
        for name, value in params.items():
            _refuse_unkeepable(name, value)
        return params

    @field_validator("estimator")
    @classmethod
    def _exists(cls, path: str) -> str:
        module, _, name = path.rpartition(".")
        if not path.startswith(ESTIMATOR_PREFIXES):
            raise ValueError(f"'{path}' is not allowed: an estimator starts with one of {', '.join(ESTIMATOR_PREFIXES)}")
        if not _module_has(module, name):
            raise ValueError(f"unknown estimator '{path}'{_estimator_hint(module, name)}")
        return path


class Training(Section):
    candidates: dict[Name, Candidate] = Field(min_length=1)
    min_history: timedelta = Field(timedelta(days=89), gt=timedelta(0), description="the least; P89D is any three months")
    max_history: timedelta | None = Field(None, gt=timedelta(0), description="train on what is no older than this only")
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


def _refuse_unkeepable(name: str, value: object) -> None:
    """A version keeps its parameters as JSON and is reproduced from them: what JSON would change is refused."""
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ValueError(
            f"'{name}: {value}' cannot be kept with the model as it is: JSON has texts as keys, and no dates, sets or "
            "infinities; say it otherwise (class_weight: balanced)"
        )


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
