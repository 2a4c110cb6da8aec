"""A good challenger's evidence, and ways to spoil it: each `test_<gate>.py` plants the defects that its gate alone stops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pipelines.errors import TransientError
from pipelines.gates.after_promotion import Tried
from pipelines.gates.evidence import Evidence
from pipelines.gates.inference import Inference
from pipelines.gates.judgement import judge
from pipelines.gates.stability import Stability
from pipelines.use_case import Gates, Value
from pipelines.workspace import Model

ROWS, DAYS = 3000, 10
DEPOTS = ("north", "south") * 4 + ("east", "east")
VALUE = Value(true_positive=45, false_positive=-15, false_negative=-20, true_negative=1)
SETTINGS = Gates(
    min_auc=0.65, max_log_loss=0.66, min_holdout_rows=1000, max_overfit=0.1, max_calibration_error=0.05,
    min_slice_rows=200, min_slice_auc=0.55, required_slices={"depot": ("north", "south")},
)  # fmt: skip
SERVES = Inference(rows=1000, max_difference=0.0, latency_ms=12.0, memory_mib=400.0)
WORKS = Tried(steps=("pipelines.scoring:rehearse",))
STEADY = Stability(rows=1000, noise_flips=0.01, missing_flips=0.1, unseen_flips=0.05)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _logit(p: Any) -> Any:
    return np.log(p / (1 - p))


def good() -> Evidence:
    """A challenger that knows the true probability; simple model and champion know half of it."""
    random = np.random.default_rng(1)
    cause = random.normal(0, 1.5, ROWS)
    truth = _sigmoid(cause)
    average = np.full(ROWS, truth.mean())
    return Evidence(
        label=(random.random(ROWS) < truth).astype(int),
        challenger=truth,
        simple=_sigmoid(0.5 * cause),
        day=np.repeat([f"2024-03-{d:02d}" for d in range(1, DAYS + 1)], ROWS // DAYS),
        training_auc=0.85,
        is_simple=False,
        has_champion=True,
        champion=_sigmoid(0.5 * cause + random.normal(0, 0.5, ROWS)),
        dummy=average,
        segments={"depot": np.resize(DEPOTS, ROWS)},
        value=VALUE,
        measured={"inference": SERVES, "stability": STEADY, "after_promotion": WORKS},
    )


def defect(**values: Any) -> Evidence:
    return replace(good(), **values)


def measured(**values: Any) -> Evidence:
    return defect(measured=good().measured | values)


def few_rows() -> Evidence:
    keep = np.sort(np.random.default_rng(6).permutation(ROWS)[:900])
    e = good()
    arrays = {name: getattr(e, name)[keep] for name in ("label", "challenger", "simple", "day", "champion")}
    return replace(e, **arrays, segments={"depot": e.segments["depot"][keep]})


def empty_set() -> Evidence:
    none = np.array([])
    return defect(label=none, challenger=none, simple=none, day=none, champion=none, segments={"depot": none})


def weak() -> Evidence:
    """Honest and calibrated, better than the others, but it knows nearly nothing."""
    random = np.random.default_rng(2)
    truth = _sigmoid(random.normal(0, 0.35, ROWS))
    average = np.full(ROWS, 0.5)
    label = (random.random(ROWS) < truth).astype(int)
    return defect(label=label, challenger=truth, simple=average, champion=average, training_auc=0.6)


def with_nan(scores: Any) -> Any:
    return np.where(np.arange(len(scores)) == 7, np.nan, scores)


def overconfident() -> Evidence:
    """Tells the cases apart as well as before, but its probabilities are too far out."""
    e, average = good(), np.full(ROWS, 0.5)
    return replace(e, challenger=_sigmoid(1.6 * _logit(e.challenger) + 0.2), simple=average, champion=average)


def bad_in(depot: str, challenger: Any, **more: Any) -> Evidence:
    """The good challenger, but with other scores in one depot."""
    e = good()
    return replace(e, challenger=np.where(e.segments["depot"] == depot, challenger, e.challenger), **more)


def champion_knows(depot: str) -> Evidence:
    """Better on the whole, but for one depot the champion was much better."""
    e = good()
    there = e.segments["depot"] == depot
    noisy = _sigmoid(_logit(e.challenger) + np.random.default_rng(3).normal(0, 1.5, ROWS))
    simple = np.full(ROWS, 0.5)
    champion = np.where(there, e.challenger, 0.5 * e.champion + 0.25)
    return replace(e, challenger=np.where(there, noisy, e.challenger), champion=champion, simple=simple)


def sure_of_one_slice() -> Evidence:
    """In one depot nothing is ever late; the challenger says it often is, the champion knows."""
    e = good()
    there = e.segments["depot"] == "east"
    label = np.where(there, 0, e.label)
    challenger, champion = np.where(there, 0.15, e.challenger), np.where(there, 0.05, 0.5 * e.champion + 0.25)
    return replace(e, label=label, challenger=challenger, champion=champion, simple=np.full(ROWS, 0.5))


def matrix(**wrong: float) -> Evidence:
    return defect(value=VALUE.model_copy(update=wrong))


def served(**values: Any) -> Evidence:
    return measured(inference=replace(SERVES, **values))


def disturbed(**values: Any) -> Evidence:
    return measured(stability=replace(STEADY, **values))


def failed(evidence: Evidence, gates: dict[str, Any] | None = None) -> list[str]:
    """The gates that say no."""
    return [v.gate for v in judge(evidence, SETTINGS, gates) if not v.passed]


# Steps after a promotion that do not work


def breaks(use_case: Any, model: Model, rows: Any) -> None:
    raise RuntimeError(f"v{model.version} cannot be shown: http://ada:s3cr3t-word@host")


def away(use_case: Any, model: Model, rows: Any) -> None:
    raise TransientError("the store does not answer")
