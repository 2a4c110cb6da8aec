"""What a request is answered, as OpenAPI shows it: predictions, or what was wrong with it."""

from __future__ import annotations

from typing import NotRequired

from pydantic import BaseModel
from typing_extensions import TypedDict


class Prediction(TypedDict):
    """One row's: the probability of the positive label, and whether the use case's threshold asks for the action.

    While an experiment runs: whose it is; the variant that the row's unit is assigned to, which the champion answers for where
    it cannot; both null where the row does not say its unit, which is the champion's.
    """

    key: NotRequired[str | int | None]
    probability: float
    act: bool
    variant: NotRequired[str]
    model_version: NotRequired[int]
    unit: NotRequired[str | None]
    assigned: NotRequired[str | None]


class Answer(TypedDict):
    """`predictions` in the order of the request's rows; where rows were looked up: in which partition and table version.

    `model_version` is the champion; while an experiment runs, each prediction says its own.
    """

    predictions: list[Prediction]
    answer: str
    use_case: str
    model_version: int
    features_version: int | None
    features_partition: str | None


class Wrong(TypedDict):
    """What is wrong with the input: the row counts from 0; null where it is not about one."""

    row: int | None
    field: str | None
    expected: str


class Refusal(BaseModel):
    detail: list[Wrong]
