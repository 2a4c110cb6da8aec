"""What is known of the data before a model is trained on it: numbers only, taken in `measures`, judged in `rules`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.assessment.trial import Alone, Curve, Importances, Power


@dataclass(frozen=True)
class Counts:
    """Rows before the holdout, by class and by slice (`segment=value`)."""

    rows: int
    positive: int
    negative: int
    slices: dict[str, int]


@dataclass(frozen=True)
class Delays:
    """Days from the start of the event's day until its label can be used; `late_share` came after it was due."""

    labels: int
    median_days: float
    p95_days: float
    late_share: float


@dataclass(frozen=True)
class Rewritten:
    """Share of rows whose value was another one before the lake had their labels; features without any are left out."""

    partitions: int
    rows: int
    shares: dict[str, float]


@dataclass(frozen=True)
class Duplicates:
    """Rows of the holdout that are also among the training rows: the same but for key, date and history."""

    holdout_rows: int
    duplicates: int


@dataclass(frozen=True)
class Missing:
    """Share of rows without a value per feature, and, as `feature @ slice`, what a slice's share has beyond it."""

    shares: dict[str, float]
    gaps: dict[str, float]


@dataclass(frozen=True)
class Unseen:
    """Share of holdout rows per feature with a category, or a number outside the range, that training has not."""

    holdout_rows: int
    shares: dict[str, float]


@dataclass(frozen=True)
class DataEvidence:
    """All measures. One that could not be taken is None, and `problems` says why."""

    counts: Counts | None = None
    curve: Curve | None = None
    delays: Delays | None = None
    power: Power | None = None
    alone: Alone | None = None
    importances: Importances | None = None
    rewritten: Rewritten | None = None
    duplicates: Duplicates | None = None
    missing: Missing | None = None
    unseen: Unseen | None = None
    problems: dict[str, str] = field(default_factory=dict)
