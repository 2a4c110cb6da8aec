"""Settings that are believed are obeyed: every key is read somewhere, and what is accepted can be kept."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from pipelines.errors import PermanentError
from pipelines.use_case import ROOT, UseCase, read_use_case
from tests.conftest import USE_CASES

SOURCE = {
    file: file.read_text()
    for folder in ("pipelines", "spark_jobs", "dags", "plugins")
    for file in (ROOT / folder).rglob("*.py")
}


def sections(kind: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """Every part of a use-case file, from its types."""
    seen.add(kind)
    for field in kind.model_fields.values():
        for part in parts(field.annotation):
            if part not in seen:
                sections(part, seen)
    return seen


def parts(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for each in get_args(annotation) for found in parts(each)}


KEYS = sorted({(kind.__module__, kind.__name__, key) for kind in sections(UseCase, set()) for key in kind.model_fields})


def test_the_schema_is_walked() -> None:
    names = {f"{kind}.{key}" for _, kind, key in KEYS}
    assert {"Monitoring.max_prediction_drift", "Gates.max_latency_ms", "Column.pattern", "Search.low", "Join.match"} <= names
    assert len(KEYS) > 100


@pytest.mark.parametrize(("module", "kind", "key"), KEYS, ids=[f"{kind}.{key}" for _, kind, key in KEYS])
def test_every_key_is_read_by_code(module: str, kind: str, key: str) -> None:
    """An attribute, or, in a Spark job's plan, an entry of this name; its own declaration does not count."""
    read = re.compile(rf"\.{key}\b|\[\"{key}\"\]")
    assert any(read.search(text) for text in SOURCE.values()), f"{kind}.{key} is read nowhere: obey it, or take it out"


def test_a_key_that_is_read_nowhere_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"Gates.max_moon_phase is read nowhere"):
        test_every_key_is_read_by_code("x", "Gates", "max_moon_phase")


# What is validated, trained, logged and reproduced is one value


def with_params(tmp_path: Any, params: str) -> UseCase:
    document = yaml.safe_load((USE_CASES / "parcels.yaml").read_text())
    document["training"]["candidates"]["logistic"]["params"] = yaml.safe_load(params)
    file = tmp_path / "parcels.yaml"
    file.write_text(yaml.safe_dump(document))
    return read_use_case(file)


@pytest.mark.parametrize(
    "params",
    ["{class_weight: {0: 1, 1: 3}}", "{C: .inf}", "{C: .nan}", "{since: 2024-01-01}", "{deep: [{1: 2}]}", "{tags: !!set {a}}"],
)
def test_parameters_that_json_would_change_are_refused(tmp_path: Any, params: str) -> None:
    with pytest.raises(PermanentError, match="cannot be kept with the model as it is"):
        with_params(tmp_path, params)


def test_parameters_that_json_carries_are_carried_exactly(tmp_path: Any) -> None:
    params = "{class_weight: balanced, max_iter: 300, C: 0.1, fit_intercept: true, l1_ratio: null}"
    use_case = with_params(tmp_path, params)
    again = UseCase.model_validate_json(use_case.model_dump_json())
    assert again.training.candidates["logistic"].params == use_case.training.candidates["logistic"].params
    assert again == use_case


def test_a_search_choice_that_json_would_change_is_refused(use_case: UseCase) -> None:
    candidate = use_case.training.candidates["logistic"]
    with pytest.raises(ValidationError, match="cannot be kept"):
        type(candidate).model_validate(
            {
                "estimator": candidate.estimator,
                "search": {"class_weight": {"type": "categorical", "choices": [{0: 1, 1: 3}]}},
            }
        )
