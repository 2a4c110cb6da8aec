"""What a new model would save, estimated before a training is started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gain:
    """Mean log loss per row that a challenger, refitted on all labelled rows but the newest window of decisions, saves on it.

    In nats, positive where the challenger is better; `low` to `high` is a confidence interval by days.
    """

    window: str
    rows: int
    mean: float
    low: float
    high: float
