"""Leave one key of the use-case schema without effect, as code does that never looks at it: for tests of the tests.

Whoever reads it, or writes the section down, gets the key's default; where it has none, another value than the file's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipelines.use_case import UseCase

VARIABLE = "TRAINYARD_TEST_IGNORES"  # such as Gates.max_auc


def parts(annotation: Any) -> set[type[BaseModel]]:
    """The sections that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for each in get_args(annotation) for found in parts(each)}


def sections(kind: type[BaseModel] = UseCase) -> dict[str, type[BaseModel]]:
    """Every part of a use-case file by its name, from the types."""
    found, open_ends = {kind.__name__: kind}, [kind]
    while open_ends:
        for part in {p for field in open_ends.pop().model_fields.values() for p in parts(field.annotation)}:
            if part.__name__ not in found:
                found[part.__name__] = part
                open_ends.append(part)
    return found


def keys() -> Iterator[str]:
    for name, kind in sorted(sections().items()):
        yield from (f"{name}.{key}" for key in sorted(kind.model_fields))


def ignore_as_told() -> None:
    """The key that the environment names, if any: called once per test process."""
    if VARIABLE in os.environ:
        ignore(os.environ[VARIABLE])


def ignore(name: str) -> None:
    """For the rest of the process."""
    kind, key = sections()[name.partition(".")[0]], name.partition(".")[2]
    field = kind.model_fields[key]

    def read(self: BaseModel) -> Any:
        return _instead(field, self.__dict__[key])

    setattr(kind, key, property(read))
    for how in ("model_dump", "model_dump_json"):
        setattr(BaseModel, how, _written(getattr(BaseModel, how), kind, key))


def _written(original: Any, kind: type[BaseModel], key: str) -> Any:
    def dump(self: BaseModel, **options: Any) -> Any:
        return original(_without(self, kind, key), **options)

    return dump


def _without(value: Any, kind: type[BaseModel], key: str) -> Any:
    if isinstance(value, BaseModel):
        inner = {name: _without(each, kind, key) for name, each in value.__dict__.items()}
        if isinstance(value, kind):
            inner[key] = _instead(kind.model_fields[key], inner[key])
        return value.model_copy(update=inner)
    if isinstance(value, Mapping):
        return {name: _without(each, kind, key) for name, each in value.items()}
    return tuple(_without(each, kind, key) for each in value) if isinstance(value, tuple) else value


def _instead(field: FieldInfo, value: Any) -> Any:
    return _other(field.annotation, value) if field.is_required() else field.get_default(call_default_factory=True)


def _other(annotation: Any, value: Any) -> Any:
    """Of the same type, and not the same."""
    if get_origin(annotation) is Literal:
        return next(each for each in get_args(annotation) if each != value)
    if isinstance(value, Enum):
        return next(each for each in type(value) if each != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, timedelta):
        return value + timedelta(days=1)
    if isinstance(value, str):
        return f"{value}_other"
    if isinstance(value, BaseModel):
        raise LookupError("this section is ignored")
    return type(value)()
