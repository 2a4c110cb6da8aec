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

from pipelines import features, ingestion  # noqa: E402
from pipelines.labels import to_labels  # noqa: E402
from pipelines.local import arrive  # noqa: E402
from pipelines.training import fit  # noqa: E402
from pipelines.use_case import UseCase, source_table  # noqa: E402
from pipelines.workspace import StageRun, open_workspace  # noqa: E402

YEAR, CHANGED = "2013-01-01--2013-12-30", date(2013, 7, 1)
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
    day = use_case.features.date
    if scenario == "shuffled":
        return rows.sample(frac=1, random_state=0, ignore_index=True).assign(**{day: rows[day]})
    if scenario == "shifted":  # by whole weeks: July to December, then January to June
        moved = [date(2013, 1, 1) + (old - date(2013, 7, 2)) % timedelta(days=364) for old in rows[day]]
        return rows.assign(**{day: moved}).sort_values([day, use_case.features.key], ignore_index=True)
    if scenario == "meaning":
        late = (rows[use_case.label.column] >= 1).astype(int)
        return rows.assign(label=rows["label"].where(rows[day] < CHANGED, late))
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
        """Probability per row, NaN where it was fitted on, and CPU seconds."""
        if start not in self.known:
            self.known[start] = self._before(start)
        return self.known[start]

    def _before(self, start: date) -> tuple[Floats, float]:
        kept = self.folder / f"{start}.npz"
        if not kept.exists():
            began, old = time.process_time(), self.day < start
            pipeline = fit(self.use_case, self.use_case.training.candidates[self.recipe], {}, self.rows[old])
            seconds, probability = time.process_time() - began, np.full(len(old), np.nan, dtype="float32")
            probability[~old] = pipeline.predict_proba(self.rows.loc[~old, list(self.use_case.features.names)])[:, 1]
            self.folder.mkdir(parents=True, exist_ok=True)
            np.savez(kept, probability=probability, seconds=seconds)
        found = np.load(kept)
        return found["probability"].astype(float), float(found["seconds"])
