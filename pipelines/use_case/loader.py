"""From files to use cases, and from what pydantic says to a sentence that names the file, the key and the mend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipelines.errors import PermanentError
from pipelines.use_case.experiment import Experiment
from pipelines.use_case.section import Section, nearest
from pipelines.use_case.use_case import UseCase

ROOT = Path(__file__).resolve().parents[2]


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
    data = read_mapping(file.name, file.read_text(), "a use case is a mapping of keys; see docs/adding-a-use-case.md")
    try:
        use_case = UseCase.model_validate(data)
    except ValidationError as error:
        raise PermanentError(f"{file.name}: {_explained(error)}") from None
    if use_case.name != file.stem:
        raise PermanentError(f"{file.name}: name: is '{use_case.name}', must be the file's own, '{file.stem}'")
    return use_case


def read_mapping(name: str, text: str, wanted: str = "it must be a mapping of keys") -> dict[str, object]:
    """The YAML `text` of a file of this name. Raises PermanentError where it is none, or not what is `wanted`."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PermanentError(f"{name}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise PermanentError(f"{name}: {wanted}")
    return data


def load_use_cases() -> tuple[list[UseCase], dict[str, str]]:
    """All valid use cases, and the error of each file that is not."""
    good, broken = [], {}
    for file in sorted(use_case_folder().glob("*.yaml")):
        try:
            good.append(read_use_case(file))
        except PermanentError as error:
            broken[file.name] = str(error)
    return good, broken


def with_experiment(use_case: UseCase, asked: Mapping[str, object]) -> Experiment:
    """The experiment that somebody asks for, held against the use case as if its file declared it; errors as in the file."""
    try:
        found = UseCase.model_validate(dict(use_case) | {"experiment": asked}).experiment
    except ValidationError as error:
        raise PermanentError(f"{use_case.name}: {_explained(error)}") from None
    assert found is not None, "it was asked for"
    return found


def _explained(error: ValidationError) -> str:
    return "; ".join(_explain(each) for each in error.errors())


def _explain(error: ErrorDetails) -> str:
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


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at `path` knows."""
    section: type[Section] = UseCase
    parts = iter(path)
    for part in parts:
        annotation: object = section.model_fields[str(part)].annotation
        while not isinstance(annotation, type):
            # What follows a mapping or a list is a name of the user's, or a number.
            if get_origin(annotation) in (dict, tuple):
                next(parts, None)
            annotation = next(a for a in reversed(get_args(annotation)) if a not in (type(None), Ellipsis))
        assert issubclass(annotation, Section), "an unknown key stands in a section"
        section = annotation
    return list(section.model_fields)
