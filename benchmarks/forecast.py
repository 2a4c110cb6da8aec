"""How much the reference model's figures owe to weather that was observed at the hour and stands in for a forecast.

    .venv/bin/python benchmarks/forecast.py

The whole year is ingested and its features are built in bulk, once as declared and once with the weather of 24 hours before,
which everybody has when they predict; the plain logistic regression is fitted on January to March of each and scored on the
months after. A real forecast lies between the two.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines import features, ingestion  # noqa: E402
from pipelines.labels import to_labels  # noqa: E402
from pipelines.local import REFERENCE, arrive  # noqa: E402
from pipelines.metrics import scores  # noqa: E402
from pipelines.training import fit  # noqa: E402
from pipelines.use_case import UseCase, load_use_case, source_table  # noqa: E402
from pipelines.workspace import StageRun, Workspace, open_workspace  # noqa: E402

if TYPE_CHECKING:
    import pandas as pd

YEAR, TRAINED = "2013-01-01--2013-12-30", "2013-03-31"
HOUR = "date_trunc('hour', scheduled_departure)"


def day_before(use_case: UseCase) -> UseCase:
    """The use case with the weather of the same hour of the day before."""
    weather, *others = use_case.features.joins
    assert weather.match["hour_utc"] == HOUR
    match = {**weather.match, "hour_utc": f"{HOUR} - interval 24 hours"}
    join = weather.model_copy(update={"match": match, "lookback": 2 * weather.lookback})
    return use_case.model_copy(update={"features": use_case.features.model_copy(update={"joins": (join, *others)})})


def rows(workspace: Workspace, use_case: UseCase) -> pd.DataFrame:
    """The year's features with their labels, built by the pipelines' own plan and job."""
    run = StageRun(workspace, use_case, use_case.period(YEAR))
    planned = features.plan(run)
    features.build(workspace, planned)
    built = features.rebuilt(run, planned)
    outcomes = workspace.lake.read(source_table(use_case, use_case.label.source)).to_pandas()
    return built.merge(to_labels(outcomes, use_case), on=use_case.features.key, validate="one_to_one")


def by_month(use_case: UseCase, found: pd.DataFrame) -> pd.DataFrame:
    """AUC and log loss of the months after the training, and their mean."""
    import pandas as pd

    day = found[use_case.features.date].astype(str)
    simple = next(c for c in use_case.training.candidates.values() if c.simple)
    pipeline = fit(use_case, simple, {}, found[day <= TRAINED])
    served = found[day > TRAINED]
    probability = pipeline.predict_proba(served[list(use_case.features.names)])[:, 1]
    told = {}
    for month, part in served.assign(probability=probability).groupby(day[day > TRAINED].str[:7]):
        quality = scores(part["label"], part["probability"])
        told[month] = {name: quality[name] for name in ("auc", "log_loss")}
    table = pd.DataFrame(told).T.astype(float)
    table.loc["mean"] = table.mean()
    return table


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRAINYARD_STATE"] = folder
        workspace, use_case = open_workspace("benchmark"), load_use_case(REFERENCE)
        period = use_case.period(YEAR)
        print("ingesting the year ...", flush=True)
        arrive(workspace, use_case, period)
        ingestion.ingest_all(StageRun(workspace, use_case, period))
        found = {}
        for name, case in (("observed", use_case), ("day before", day_before(use_case))):
            print(f"building the year with the weather: {name} ...", flush=True)
            found[name] = by_month(case, rows(workspace, case))
    both = found["observed"].join(found["day before"], lsuffix=", observed", rsuffix=", day before")
    print(both.round(4).to_string())
    owed = found["day before"].loc["mean"] - found["observed"].loc["mean"]
    print(f"The figures owe to the observed weather: {-owed['auc']:.4f} of AUC, {owed['log_loss']:.4f} of log loss.")


if __name__ == "__main__":
    main()
