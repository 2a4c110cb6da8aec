"""Rows as the model's steps take them. Of one row, making a frame and taking it apart costs more than what is computed."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.serving.inputs import is_text
from pipelines.use_case import UseCase
from pipelines.workspace import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

_LOG = logging.getLogger(__name__)
SAME = 1e-12  # sums in another order differ in the last bits


@dataclass(frozen=True)
class Rows:
    """Their keys; a number that is missing is NaN, a category None."""

    keys: list[Any]
    numbers: NDArray[np.float64]
    texts: NDArray[np.object_]

    def __getitem__(self, places: list[int]) -> Rows:
        return Rows([self.keys[each] for each in places], self.numbers[places], self.texts[places])


class Columns:
    """Which of a model's features are numbers, and which are texts, by its signature."""

    def __init__(self, use_case: UseCase, model: Model) -> None:
        self.key, features = use_case.features.key, model.meta["features"]
        self.texts = [name for name in features if is_text(use_case, model, name)]
        self.numbers = [name for name in features if name not in self.texts]

    def of(self, records: list[dict[str, Any]]) -> Rows:
        """Rows of a request."""
        numbers = np.array([[row.get(name) for name in self.numbers] for row in records], float)
        texts = np.array([[row.get(name) for name in self.texts] for row in records], object)
        return Rows([row.get(self.key) for row in records], numbers, texts)

    def published(self, frame: DataFrame) -> Rows:
        return Rows(frame[self.key].tolist(), frame[self.numbers].to_numpy(float), frame[self.texts].to_numpy(object))

    def frame(self, rows: Rows) -> DataFrame:
        import pandas as pd

        names, values = [*self.numbers, *self.texts], [*rows.numbers.T, *rows.texts.T]
        return pd.DataFrame({**dict(zip(names, values, strict=True)), self.key: rows.keys})

    def block(self, names: list[str]) -> Callable[[Rows], NDArray[Any]]:
        """Takes these columns, which are all numbers or all texts, out of rows."""
        if set(names) <= set(self.numbers):
            places = [self.numbers.index(name) for name in names]
            return lambda rows: rows.numbers[:, places]
        places = [self.texts.index(name) for name in names]
        return lambda rows: rows.texts[:, places]


Probabilities = Callable[[Rows], "NDArray[np.float64]"]


def probabilities(model: Model, columns: Columns, trial: Rows) -> Probabilities:
    """What the model says of rows: by its own fitted steps, without frames, if these say the same of the trial."""

    def by_frames(rows: Rows) -> NDArray[np.float64]:
        return model.predict(columns.frame(rows))

    try:
        by_steps = _by_steps(model, columns)
        if np.allclose(by_steps(trial), by_frames(trial), rtol=0, atol=SAME):
            return by_steps
        why: object = "they say otherwise"
    except Exception as error:  # a model that is built in another way
        why = repr(error)
    _LOG.warning("%s v%d: frames are made for each answer, as its steps cannot do without: %s", model.name, model.version, why)
    return by_frames


def _by_steps(model: Model, columns: Columns) -> Probabilities:
    """What `Pipeline` and `ColumnTransformer` do with a frame."""
    split, estimator = (model.pipeline.named_steps[name] for name in ("columns", "estimator"))
    parts = [(_nameless(step), columns.block(names)) for _, step, names in split.transformers_ if len(names)]

    def found(rows: Rows) -> NDArray[np.float64]:
        known = [step.transform(block(rows)) for step, block in parts]
        return estimator.predict_proba(np.hstack(known))[:, 1]  # type: ignore[no-any-return]

    return found


def _nameless(step: Any) -> Any:
    """A copy of a fitted step that takes an array without missing its columns' names."""
    step = copy.deepcopy(step)
    for each in (step, *getattr(step, "named_steps", {}).values()):
        vars(each).pop("feature_names_in_", None)
    return step
