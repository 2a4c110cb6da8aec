"""What a request may say: rows of features in MLflow's forms, or keys; types that pydantic checks and OpenAPI shows."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
    with_config,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from typing_extensions import TypedDict

from pipelines.use_case import Column, ColumnType, Severity, UseCase
from pipelines.workspace import Model

MAX_ROWS = 10_000
_STRICT = ConfigDict(extra="forbid", strict=True)
_LONGEST = 200  # a text that no contract tells of
_LARGEST = 1e30  # trees compute in single precision, and 1e308 divided by a scale is infinite: no answer


class Split(BaseModel):
    """pandas' `to_dict(orient="split")`."""

    model_config = _STRICT
    columns: list[str]
    data: Annotated[list[list[Any]], Field(min_length=1, max_length=MAX_ROWS, fail_fast=True)]
    index: Any = None


class Forms(BaseModel):
    """Rows of features in exactly one of the forms that MLflow's scoring servers know."""

    model_config = _STRICT

    @model_validator(mode="after")
    def _exactly_one(self) -> Forms:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            forms = ", ".join(type(self).model_fields)
            raise PydanticCustomError(
                "forms", f"Input should have exactly one of {forms}; it has {' and '.join(given) or 'none'}"
            )
        return self

    @property
    def rows(self) -> list[dict[str, Any]]:
        return next(found for name in type(self).model_fields if (found := getattr(self, name)) is not None)


def row_type(use_case: UseCase, model: Model, unit: str | None = None) -> Any:
    """One row: each feature of the model, null where it is missing; the key, if its outcome is to be found later; the unit of
    an experiment."""
    fields = {name: _feature(use_case, model, name) for name in model.meta["features"]}
    about = Field(description="without it nobody finds the row's outcome; it comes back with the answer")
    fields[use_case.features.key] = NotRequired[Annotated[_key(use_case) | None, about]]
    if unit is not None and unit not in fields and (column := unit_column(use_case, unit)):
        about = Field(description="by it an experiment says whose answer the row gets; without it, the champion's")
        fields[unit] = NotRequired[Annotated[_of(column) | None, about]]
    row: Any = TypedDict("Row", fields)  # type: ignore[misc]  # a dict, as the names are the use case's: `json`, `copy`
    return with_config(_STRICT)(row)


def invocation_type(use_case: UseCase, model: Model, example: list[dict[str, Any]], unit: str | None = None) -> type[Forms]:
    """The body of `/invocations`."""
    rows = _some(row_type(use_case, model, unit))
    split = Annotated[rows, BeforeValidator(_records, json_schema_input_type=Split)]  # type: ignore[valid-type]
    forms: Any = {"dataframe_split": split, "dataframe_records": rows, "instances": rows}
    shown: Any = {"examples": [{"dataframe_records": example}]} if example else {}
    shown["oneOf"] = [{"required": [form], "properties": {form: {"type": "array"}}} for form in forms]
    shown["oneOf"][0]["properties"]["dataframe_split"] = {"type": "object"}
    base: Any = type("Invocation", (Forms,), {"model_config": {"json_schema_extra": shown}})
    fields: Any = {name: (form | None, None) for name, form in forms.items()}
    return create_model("Invocation", __base__=base, **fields)


def keys_type(use_case: UseCase) -> type[BaseModel]:
    """The body of `/keys`: rows whose features were published, and in which partition; without one, in the newest."""
    about = Field(None, description="such as a day; features of then, known at its start", max_length=_LONGEST)
    return create_model("Keys", __config__=_STRICT, keys=(_some(_key(use_case)), ...), partition=(str | None, about))


def _some(item: Any) -> Any:
    """So many that an answer is in time; the first wrong one is told, as all of them could be."""
    return Annotated[list[item], Field(min_length=1, max_length=MAX_ROWS, fail_fast=True)]


def is_text(use_case: UseCase, model: Model, feature: str) -> bool:
    """Whether the model takes a category there, and not a number."""
    return model.signature[feature] == "string" if model.signature else feature in use_case.features.categorical


def has_whole_keys(use_case: UseCase) -> bool:
    """Whether the key is a whole number; else it is a text."""
    return _key_column(use_case).type is ColumnType.INTEGER


def unit_column(use_case: UseCase, name: str) -> Column | None:
    """The entity's column, where a row can say it just as bulk reads it; None where it cannot."""
    column = use_case.contract[use_case.features.entity].columns.get(name)
    is_itself = use_case.features.expressions.get(name, name) == name
    return column if column and is_itself and column.type in (ColumnType.STRING, ColumnType.INTEGER) else None


def _key(use_case: UseCase) -> Any:
    return int if has_whole_keys(use_case) else _of(_key_column(use_case))


def _key_column(use_case: UseCase) -> Column:
    return use_case.contract[use_case.features.entity].columns[use_case.features.key]


def _feature(use_case: UseCase, model: Model, name: str) -> Any:
    text = is_text(use_case, model, name)
    column = _column(use_case, name)
    suits = column is not None and (column.type is ColumnType.STRING) == text
    if column is not None and suits and column.severity is not Severity.WARN:
        return _of(column) | None if column.nullable else _of(column)
    return (Annotated[str, Field(max_length=_LONGEST)] if text else _number()) | None


def _column(use_case: UseCase, feature: str) -> Column | None:
    """The contract's column that a feature is, just as it came; None where it was computed."""
    spec = use_case.features
    expression = spec.expressions.get(feature, "")
    for join in (join for join in spec.joins if expression in join.columns):
        found = use_case.contract[join.table].columns.get(join.columns[expression])
        return found and found.model_copy(update={"nullable": True})  # where there is no partner
    return use_case.contract[spec.entity].columns.get(expression)


def _of(column: Column) -> Any:
    """What the pipeline would not send to quarantine."""
    if column.type is ColumnType.STRING:
        if column.values:
            return Literal[column.values]
        return Annotated[str, Field(max_length=column.max_length), *_pattern(column.pattern)]
    if column.type in (ColumnType.INTEGER, ColumnType.NUMBER):
        whole: Any = {"multiple_of": 1} if column.type is ColumnType.INTEGER else {}
        return _number(column.min, column.max, **whole)
    return _number()  # as published: 0 and 1, days since 1970


def _number(least: Any = None, most: Any = None, **more: Any) -> Any:
    limits: Any = {"ge": -_LARGEST if least is None else least, "le": _LARGEST if most is None else most}
    return Annotated[float, Field(allow_inf_nan=False, **limits, **more)]


def _pattern(pattern: str | None) -> tuple[Any, ...]:
    """Found anywhere in the text by Python, as the pipeline's own check does; pydantic's is another language."""
    if pattern is None:
        return ()

    def matches(text: str) -> str:
        if not re.search(pattern, text):
            raise PydanticCustomError("pattern", "Input should match {pattern}", {"pattern": pattern})
        return text

    return AfterValidator(matches), Field(json_schema_extra={"pattern": pattern})


def _records(split: Any) -> list[dict[str, Any]]:
    """The split form as rows; what is wrong with its shape is told by row."""
    given = _SPLIT.validate_python(split)
    width = len(given.columns)
    if len(set(given.columns)) < width:
        raise PydanticCustomError("columns", "Input should name each column once")
    for number, row in enumerate(given.data):
        if len(row) != width:
            wrong = PydanticCustomError("width", f"Input should have {width} values, one for each column; it has {len(row)}")
            raise ValidationError.from_exception_data("Split", [InitErrorDetails(type=wrong, loc=(number,), input=None)])
    return [dict(zip(given.columns, row, strict=True)) for row in given.data]


_SPLIT = TypeAdapter(Split)
