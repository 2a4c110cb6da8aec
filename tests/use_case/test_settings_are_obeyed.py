"""Settings that are believed are obeyed: every key has a test that fails when it is ignored; what is accepted can be kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pipelines.errors import PermanentError
from pipelines.use_case import ROOT, UseCase, read_use_case
from tests.conftest import USE_CASES
from tests.use_case.forked import in_a_process
from tests.use_case.ignoring import VARIABLE, keys

OBEYED: dict[str, str] = yaml.safe_load((Path(__file__).parent / "obeyed.yaml").read_text())


def ignored(key: str, test: str, out: Path) -> tuple[int, str]:
    """The test, in a process in which nobody sees what the file says of the key: its exit code, and the end of what it said."""
    return in_a_process(test, out / "out", **{VARIABLE: key}), (out / "out").read_text()[-2000:]


def test_every_key_has_its_test_and_every_test_is_there() -> None:
    """With its parameters: a name in brackets that is gone would run nothing."""
    assert set(OBEYED) == set(keys())
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *sorted(set(OBEYED.values()))]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]


@pytest.mark.long
@pytest.mark.parametrize("key", OBEYED)
def test_a_key_that_is_ignored_turns_its_test_red(key: str, tmp_path: Path) -> None:
    code, said = ignored(key, OBEYED[key], tmp_path)
    assert code == 1, f"{key} is obeyed by nobody that {OBEYED[key]} knows: {said}"


@pytest.mark.parametrize(("key", "status"), [("Retraining.max_age", 1), ("Retraining.min_new_labels", 0)])
def test_a_test_notices_its_own_key_only(key: str, status: int, tmp_path: Path) -> None:
    code, said = ignored(key, OBEYED["Retraining.max_age"], tmp_path)
    assert code == status, said


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
