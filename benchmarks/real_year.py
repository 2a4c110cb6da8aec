"""The real year for `retraining_policy.py`: rows, built once by the pipelines' own steps; in scenarios; and models of them."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from sklearn.pipeline import Pipeline  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

from pipelines import features, ingestion  # noqa: E402
from pipelines.labels import to_labels  # noqa: E402
from pipelines.local import arrive  # noqa: E402
from pipelines.monitoring.drift import sources  # noqa: E402
from pipelines.training import fit  # noqa: E402
from pipelines.training.estimators import make_pipeline  # noqa: E402
from pipelines.use_case import Candidate, UseCase, source_table  # noqa: E402
from pipelines.workspace import StageRun, open_workspace  # noqa: E402

YEAR, FIRST, CHANGED = "2013-01-01--2013-12-30", date(2013, 1, 1), date(2013, 5, 27)
ORDERS = ("real", "shifted", "reversed", "shuffled")
FAULTS, MEANINGS = ("nulls", "unit", "doubled"), ("meaning", "flipped")
Floats = NDArray[np.float64]


def year(use_case: UseCase, state: Path) -> pd.DataFrame:
    """The year's features with `label` and the outcome's own column, oldest first; built once."""
    kept = state / "year.parquet"
    if not kept.exists():
        print("ingesting the year and building its features ...", flush=True)
        os.environ["TRAINYARD_STATE"] = str(state)
        run = StageRun(open_workspace("benchmark"), use_case, use_case.period(YEAR))
        arrive(run.workspace, use_case, run.partition)
        ingestion.ingest_all(run)
        planned = features.plan(run)
        features.build(run.workspace, planned)
        outcomes = run.lake.read(source_table(use_case, use_case.label.source)).to_pandas()
        key, spec = [use_case.features.key], use_case.features
        labels = to_labels(outcomes, use_case).merge(outcomes[[*key, use_case.label.column]], on=key)
        rows = features.rebuilt(run, planned).merge(labels, on=key, validate="one_to_one")
        rows.sort_values([spec.date, spec.key], ignore_index=True).to_parquet(kept)
    return pd.read_parquet(kept)


def in_scenario(use_case: UseCase, rows: pd.DataFrame, scenario: str) -> pd.DataFrame:
    """The rows as they would have been; faults and another meaning from `CHANGED` on. Oldest first."""
    return _of_other_days(use_case, rows, scenario) if scenario in ORDERS else _changed(use_case, rows, scenario)


def _of_other_days(use_case: UseCase, rows: pd.DataFrame, scenario: str) -> pd.DataFrame:
    """Whole weeks from another place, so that weekdays and what hangs on them stay; or rows on days drawn anew."""
    day = use_case.features.date
    if scenario == "real":
        return rows
    if scenario == "shuffled":
        return rows.sample(frac=1, random_state=0, ignore_index=True).assign(**{day: rows[day]})
    number = np.array([(old - FIRST).days for old in rows[day]])
    week = (number // 7 + 26) % 52 if scenario == "shifted" else 51 - number // 7
    moved = [FIRST + timedelta(days=int(n)) for n in week * 7 + number % 7]
    return rows.assign(**{day: moved}).sort_values([day, use_case.features.key], ignore_index=True)


def _changed(use_case: UseCase, rows: pd.DataFrame, scenario: str) -> pd.DataFrame:
    """The features that a feed's fault reaches, in the two weeks for which it lasts, as if its contract had let it through."""
    spec = use_case.features
    rows = rows[rows[spec.date] < CHANGED + timedelta(weeks=3)].copy()
    days = rows[spec.date]
    faulty = (days >= CHANGED) & (days < CHANGED + timedelta(weeks=2))
    if scenario == "nulls":
        rows.loc[faulty, [name for name, table in sources(use_case).items() if table == "weather"]] = np.nan
    elif scenario == "unit":
        rows.loc[faulty, [name for name in spec.names if name.startswith("visib")]] *= 1.609
    elif scenario == "doubled":
        rows.loc[faulty, ["departures_in_hour", "flights_to_dest"]] *= 2
        again = rows[faulty].assign(**{spec.key: rows[spec.key] + " again"})
        return pd.concat([rows, again]).sort_values([spec.date, spec.key], ignore_index=True)
    elif scenario == "meaning":
        rows["label"] = rows["label"].where(days < CHANGED, (rows[use_case.label.column] >= 1).astype(int))
    elif scenario == "flipped":
        rows["label"] = rows["label"].where(days < CHANGED, 1 - rows["label"])
    return rows


@dataclass(frozen=True)
class Fits:
    """Models by the day before which they were fitted: what each says of the rows from that day on."""

    use_case: UseCase
    rows: pd.DataFrame
    folder: Path
    recipe: str
    known: dict[date, tuple[Floats, float]] = field(default_factory=dict)

    @cached_property
    def day(self) -> NDArray[np.datetime64]:
        return self.rows[self.use_case.features.date].to_numpy().astype("datetime64[D]")

    @cached_property
    def label(self) -> Floats:
        return self.rows["label"].to_numpy(dtype=float)

    def before(self, start: date) -> tuple[Floats, float]:
        """Probability per row, of `Fits` NaN where it was fitted on, and CPU seconds."""
        if start not in self.known:
            self.known[start] = self._before(start)
        return self.known[start]

    def _before(self, start: date) -> tuple[Floats, float]:
        kept = self.folder / f"{start}.npz"
        if not kept.exists():
            began, old = time.process_time(), self.day < start
            says, seconds = self._fitted(old), time.process_time() - began
            self.folder.mkdir(parents=True, exist_ok=True)
            np.savez(kept, probability=says, seconds=seconds)
        found = np.load(kept)
        return found["probability"].astype(float), float(found["seconds"])

    def _fitted(self, old: NDArray[np.bool_]) -> Floats:
        """By the pipelines' own fit."""
        pipeline, probability = (
            fit(self.use_case, self.candidate, {}, self.rows[old]),
            np.full(len(old), np.nan, dtype="float32"),
        )
        probability[~old] = pipeline.predict_proba(self.rows.loc[~old, list(self.use_case.features.names)])[:, 1]
        return probability

    @property
    def candidate(self) -> Candidate:
        return self.use_case.training.candidates[self.recipe]


@dataclass(frozen=True)
class Quick(Fits):
    """The same model some ten times faster, and nearly: columns are scaled and encoded once, as all rows have them before the
    change, and each fit starts from the coefficients of the one before. Says something of the rows that it knows, too."""

    @cached_property
    def _parts(self) -> tuple[Floats, Pipeline]:
        pipeline, rows = make_pipeline(self.use_case, self.candidate, {}, 0), self.rows[list(self.use_case.features.names)]
        pipeline[-1].set_params(warm_start=True)
        return pipeline[0].fit(rows[self.day < CHANGED]).transform(rows), pipeline

    def _fitted(self, old: NDArray[np.bool_]) -> Floats:
        columns, pipeline = self._parts
        count = int(old.sum())
        with threadpool_limits(1):
            pipeline[-1].fit(columns[:count], self.label[:count])
            return pipeline[-1].predict_proba(columns)[:, 1]
