"""Evidence: what the gates look at. Plain arrays and numbers, and what a gate measured itself; gathered by `evaluation`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from pipelines.training import TrainingRun
from pipelines.use_case import UseCase, Value
from pipelines.workspace import Model

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


class Step(Protocol):
    """A rehearsal of what comes after a promotion; it raises where the real step would."""

    __module__: str
    __name__: str

    def __call__(self, use_case: UseCase, model: Model, rows: pd.DataFrame) -> None: ...


@dataclass(frozen=True)
class Challenger:
    """A logged model, real rows, and its `probability` for each in the process that has it: what a gate may try out.

    `steps` are what would come after its promotion, see `after_promotion`.
    """

    training: TrainingRun
    model_uri: str
    predict: Callable[[pd.DataFrame], Array]
    rows: pd.DataFrame
    probability: Array
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What is known of a challenger on the holdout; arrays have one entry per row, `day` is the row's date.

    `champion` is None where there is no champion to compare with; `champion_problem` says why one that the ledger
    names could not be scored. `dummy` always says the average of the training rows. `segments` maps a segment to each
    row's value, or to None where the rows lack it. From probability `threshold` on the users act, worth `value`.
    `measured` has what a gate's own `measure` found, by the gate's name.
    """

    label: Array
    challenger: Array
    simple: Array | None
    day: Array
    training_auc: float | None
    is_simple: bool
    has_champion: bool
    champion: Array | None = None
    champion_problem: str | None = None
    dummy: Array | None = None
    segments: dict[str, Array | None] = field(default_factory=dict)
    threshold: float = 0.5
    value: Value | None = None
    measured: dict[str, object] = field(default_factory=dict)


def shown(number: float | int | None) -> str:
    return "unknown" if number is None else f"{number:.3f}"
