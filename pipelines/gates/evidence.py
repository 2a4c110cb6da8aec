"""Evidence: what the gates look at. Plain arrays and numbers, gathered by `pipelines.gates.evaluation`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from pipelines.use_case import Value

Array = NDArray[Any]


@dataclass(frozen=True)
class Inference:
    """A model loaded from the registry in a fresh process, on real rows. `problem` says why there are no numbers.

    `max_difference` is against the probabilities of the process that trained it; latency is the median for one row.
    """

    rows: int = 0
    max_difference: float | None = None
    latency_ms: float | None = None
    memory_mib: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Stability:
    """Share of rows whose action changes when their values are disturbed; `problem` says what crashed."""

    rows: int = 0
    noise_flips: float | None = None
    missing_flips: float | None = None
    unseen_flips: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What is known of a challenger on the holdout; arrays have one entry per row, `day` is the row's date.

    `champion` is None where there is no champion to compare with; `champion_problem` says why one that the ledger
    names could not be scored. `dummy` always says the average of the training rows. `segments` maps a segment to each
    row's value, or to None where the rows lack it. From probability `threshold` on the users act, worth `value`.
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
    inference: Inference | None = None
    stability: Stability | None = None
