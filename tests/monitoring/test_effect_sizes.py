"""Every verdict with an effect size: at half and at twice its limit it is the same at 5,000 and at 500,000 rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from pipelines.metrics import deviations
from pipelines.monitoring import Drift, Monitored, Performance, Verdict, judge_window
from pipelines.monitoring.comparison import PREDICTION, compare, has_drifted
from pipelines.monitoring.distances import telling_apart
from pipelines.monitoring.performance import by_partition
from pipelines.monitoring.sampling import sample
from pipelines.use_case import UseCase, load_use_case
from pipelines.workspace import CommitRecord
from pipelines.workspace.lake import Lake

SIZES, DAYS = (5_000, 500_000), 7
CASE: UseCase = load_use_case("flight_delay")
LIMITS = {"max_excess_loss": 0.05, "max_auc_loss": 0.03, "max_calibration_gap": 0.04}  # the reference's of a week are wider
SETTINGS = CASE.monitoring.model_copy(update=LIMITS)
Floats = Any


def logits(p: Floats) -> Floats:
    return np.log(p / (1 - p))


def moved(p: Floats, by: float) -> Floats:
    """All outcomes come more often than was said: what `excess_loss` and `calibration_gap` see."""
    return 1 / (1 + np.exp(-logits(p) - by))


def flatter(p: Floats, by: float) -> Floats:
    """What was said tells rows apart better than they differ: what `auc_loss` sees."""
    centre = logits(p).mean()
    return 1 / (1 + np.exp(-centre - (logits(p) - centre) / (1 + by)))


def promised(random: np.random.Generator, rows: int) -> Floats:
    return 1 / (1 + np.exp(1.1 + random.normal(0, 0.9, rows)))


CHANGES: dict[str, Callable[[Floats, float], Floats]] = {
    "excess_loss": moved, "calibration_gap": lambda p, by: moved(p, -by), "auc_loss": flatter,
}  # fmt: skip
# At 5,000 rows a week the AUC's standard error is 0.0085, and what is beyond its limit of 0.03 by as much 3.5 of them.
WEEKS = {"excess_loss": 1, "calibration_gap": 1, "auc_loss": 4}


@cache
def strength(name: str, effect: float) -> float:
    """The change under which the measure's mean is so many limits."""
    p, random = promised(np.random.default_rng(1), 50_000), np.random.default_rng(2)
    luck, goal = random.random(len(p)), effect * getattr(SETTINGS, f"max_{name}")

    def beyond(by: float) -> float:
        return deviations((luck < CHANGES[name](p, by)).astype(float), p)[name].value - goal

    return float(brentq(beyond, 0, 3, xtol=1e-3))


def week(random: np.random.Generator, number: int, rows: int, name: str, by: float) -> Monitored:
    """With one measure alone, so that no other gives the verdict."""
    p = promised(random, rows)
    y = (random.random(rows) < CHANGES[name](p, by)).astype(float)
    only = {name: by_partition(deviations(y, p)[name], np.arange(rows) % DAYS)}
    return Monitored(f"2024-W{number + 1:02d}", 1, None, Performance(1, rows, rows, *[None] * 6, deviations=only))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(("effect", "verdict"), [(0.5, Verdict.HEALTHY), (2.0, Verdict.LOSS_WITHOUT_DRIFT)])
def test_a_loss_is_judged_alike(name: str, effect: float, verdict: Verdict) -> None:
    """After weeks as promised, eight small ones or one large one; the small ones five times."""
    found = []
    for seed, (rows, before) in enumerate([(SIZES[0], 8)] * 5 + [(SIZES[1], 1)]):
        random = np.random.default_rng(seed)
        weeks = [week(random, n, rows, name, 0.0) for n in range(before)]
        weeks += [week(random, before + n, rows, name, strength(name, effect)) for n in range(WEEKS[name] if before > 1 else 1)]
        found.append(judge_window(SETTINGS, weeks[-1], weeks[:-1]).verdict)
    assert found == [verdict] * 6


@pytest.mark.parametrize("seed", range(5))
def test_what_is_beyond_its_limit_but_not_surely_is_not_called_as_promised(seed: int) -> None:
    """The AUC at 1.6 times its limit, with labels enough to tell a loss of that size from none, but not from the limit."""
    random = np.random.default_rng(seed)
    weeks = [week(random, n, 8000, "auc_loss", 0.0) for n in range(8)]
    now = week(random, 8, 8000, "auc_loss", strength("auc_loss", 1.6))
    assert judge_window(SETTINGS, now, weeks).verdict in (Verdict.TOO_LITTLE, Verdict.LOSS_WITHOUT_DRIFT)


def rows_of(random: np.random.Generator, count: int, effect: float) -> pd.DataFrame:
    """A number, a category, predictions, nulls and unseen values, each `effect` limits away from where they were."""
    tilt = effect * SETTINGS.max_drift_distance * np.sqrt(8)  # of the distance: tilt / sqrt(8), to second order
    shares = (1 + np.where(np.arange(100) % 2 == 0, 1, -1) * min(tilt, 1)) / 100
    p = random.normal(0, 0.1, count) + effect * SETTINGS.max_prediction_drift * 0.1
    missing = random.random(count) < 0.1 + effect * SETTINGS.max_null_change
    unseen = random.random(count) < effect * SETTINGS.max_unseen_share
    columns = {
        "distance": random.normal(effect * SETTINGS.max_drift_distance, 1, count),
        "carrier": random.choice(100, count, p=shares).astype(str),
        "visib": np.where(missing, np.nan, random.normal(0, 1, count)),
        "dest": np.where(unseen, "new", random.choice(["a", "b"], count)),
        PREDICTION: p,
        "day": np.sort(random.integers(0, DAYS, count)),
    }
    return pd.DataFrame(columns)


def sampled(rows: pd.DataFrame, folder: Path, size: int) -> pd.DataFrame:
    """As the drift step takes them, of published files."""
    lake, names = Lake(mkdtemp(dir=folder)), [name for name in rows.columns if name != "day"]
    staged = {
        f"{day}": [lake.stage("features", f"{day}", pa.Table.from_pandas(part[names]))] for day, part in rows.groupby("day")
    }
    lake.publish_each("features", staged, CommitRecord())
    return sample(SimpleNamespace(lake=lake, use_case=CASE), "features", staged, None, names, size)  # type: ignore[arg-type]


def drifts(reference: pd.DataFrame, current: pd.DataFrame) -> dict[str, Drift]:
    """What is drawn from the samples, each alone."""
    names = ["distance", "carrier", "visib", "dest"]
    found = compare(CASE, [*names, PREDICTION], current, reference, DAYS).moved
    calm = Drift(1, 0.0, (), 0.0, dict.fromkeys(names, 0.0), "", sources={}, rows=len(current), partitions=DAYS)
    drifted = [name for name in ("distance", "carrier") if has_drifted(SETTINGS, found[name])]
    prediction = found[PREDICTION]
    return {
        "drift": replace(calm, drifted_share=len(drifted) / 2, drifted=tuple(drifted)),
        "prediction drift": replace(calm, prediction_drift=prediction.distance if prediction.real else 0.0),
        "null change": replace(calm, nulls={"visib": found["visib"].nulls}),
        "unseen share": replace(calm, unseen={"dest": found["dest"].unseen}),
    }


def told_apart(reference: pd.DataFrame, current: pd.DataFrame, shift: float) -> Drift:
    """Rows that a classifier tells from the reference with an AUC beyond 0.5 by about `shift`."""
    far = np.sqrt(2) * norm.ppf(0.5 + shift)
    sides = [{"x": rows["distance"].to_numpy() - rows["distance"].mean() + by} for rows, by in ((reference, 0), (current, far))]
    return Drift(1, 0.0, (), 0.0, {}, "", told_apart=telling_apart(*sides, ["x"], 0), told_apart_noise=0.5)


@pytest.mark.parametrize("effect", [0.5, 2.0])
def test_drift_and_data_faults_are_judged_alike(effect: float, tmp_path: Path) -> None:
    """Of rows that keep their promise."""
    random = np.random.default_rng(3)
    reference = sampled(rows_of(random, 100_000, 0.0), tmp_path, 10 * SETTINGS.sample_rows)
    weeks = [replace(week(random, n, 5000, "excess_loss", 0.0)) for n in range(1, 10)]
    small, large = (sampled(rows_of(random, size, effect), tmp_path, SETTINGS.sample_rows) for size in SIZES)
    fault = {"null change", "unseen share"}
    for current in (small, large):
        found = drifts(reference, current) | {"told apart": told_apart(reference, current, effect * SETTINGS.max_told_apart)}
        for name, seen in found.items():
            changed = Verdict.DATA_FAULT if name in fault else Verdict.DRIFT_WITHOUT_LOSS
            verdict = judge_window(SETTINGS, replace(weeks[-1], drift=seen), weeks[:-1]).verdict
            assert verdict is (changed if effect > 1 else Verdict.HEALTHY), (name, len(current))


@pytest.mark.parametrize("usual", SIZES)
@pytest.mark.parametrize(("more", "verdict"), [(0.5, Verdict.HEALTHY), (2.0, Verdict.DATA_FAULT)])
def test_the_volume_is_judged_alike(usual: int, more: float, verdict: Verdict) -> None:
    """Its limit is a ratio: half and twice of what it allows beyond 1."""
    random = np.random.default_rng(4)
    weeks = [week(random, n, 5000, "excess_loss", 0.0) for n in range(1, 10)]
    known = [Drift(1, 0.0, (), 0.0, {}, "", rows=usual, partitions=DAYS)] * 8
    known.append(replace(known[0], rows=round(usual * (1 + more * (SETTINGS.max_volume_ratio - 1)))))
    *before, now = (replace(w, drift=seen) for w, seen in zip(weeks, known, strict=True))
    assert judge_window(SETTINGS, now, before).verdict is verdict
