"""Performance: what was served against what really happened, in scores, in money, and against what the model promised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from pipelines.metrics import Residuals, deviations, scores
from pipelines.monitoring.observations import Deviation, Performance, Slice
from pipelines.monitoring.sampling import columns_of
from pipelines.monitoring.windows import served
from pipelines.use_case import PARTITION, features_table, labels_table, money
from pipelines.workspace import StageRun

if TYPE_CHECKING:
    from pandas import DataFrame

_SLICES = ("excess_loss", "calibration_gap")  # a mean of single rows; an AUC within a slice is another question
_MOST_SLICES = 40  # those with the most rows: a document of the table stays small


def measure_performance(run: StageRun) -> Performance | None:
    """Served predictions against outcomes; None until the window is over and all that was served in it has outcomes."""
    rows = served_with_outcomes(run)
    if rows is None:
        return None
    labelled = rows[rows["label"].notna()]
    if labelled.empty:
        return None
    label, probability = labelled["label"].to_numpy(), labelled["probability"].to_numpy()
    found, measures = scores(label, probability), deviations(label, probability)
    worth = money(label, probability, run.use_case.value, run.use_case.scoring.threshold) if run.use_case.value else None
    return Performance(
        model_version=int(rows["model_version"].iloc[-1]),
        rows=len(rows),
        labels=len(labelled),
        worth=worth,
        auc=found["auc"],
        log_loss=found["log_loss"],
        positive_share=found["positive_share"],
        mean_prediction=found["mean_prediction"],
        calibration_error=found["calibration_error"],
        deviations={name: by_partition(measure, labelled[PARTITION]) for name, measure in measures.items()},
        slices={name: _by_segment(run, measures[name], labelled) for name in _SLICES},
    )


def by_partition(measure: Residuals, partition: ArrayLike) -> Deviation:
    """The measure with its sums by partition; `partition` (n,) names that of each row."""
    number = np.unique(np.asarray(partition), return_inverse=True)[1]
    sums = (np.bincount(number, weights).tolist() for weights in (None, measure.rows, measure.variance))
    return Deviation(measure.value, measure.most, tuple(zip(*sums, strict=True)))


def _by_segment(run: StageRun, measure: Residuals, labelled: DataFrame) -> tuple[Slice, ...]:
    """By value of each declared segment, those with the most rows first."""
    import pandas as pd

    rows = pd.DataFrame({"rows": measure.rows, "variance": measure.variance}, index=labelled.index)
    found = []
    for name in run.use_case.features.segments:
        for value, part in rows.groupby(labelled[name].astype("string").fillna("missing"), sort=True):
            count = len(part)
            spread = float(part["variance"].sum()) / count**2
            found.append(Slice(f"{name} {value}", count, float(part["rows"].mean()), spread, measure.most))
    return tuple(sorted(found, key=lambda s: -s.rows)[:_MOST_SLICES])


def served_with_outcomes(run: StageRun) -> DataFrame | None:
    """What was served in the window, with `label` where it is known, and the segments; None before there are labels."""
    event, rows, table = [PARTITION, run.use_case.features.key], served(run), labels_table(run.use_case)
    if rows is None or not set(rows[PARTITION]) <= set(run.lake.partitions(table)):
        return None
    keys = rows[PARTITION].unique()
    labels = run.lake.read(table, keys, columns=[run.use_case.features.key, "label"]).to_pandas()
    rows = rows.merge(labels, on=event, how="left", validate="one_to_one")
    return _with_segments(run, rows) if run.use_case.features.segments else rows


def _with_segments(run: StageRun, rows: DataFrame) -> DataFrame:
    """The segments as they were served: of the version of the features that each row names, of now where it is from before."""
    import pandas as pd

    columns = [run.use_case.features.key, *run.use_case.features.segments]
    found = []
    for version, part in rows.groupby(rows["features_version"].fillna(-1).astype(int)):
        at = None if version == -1 else int(version)
        seen = columns_of(run, features_table(run.use_case), part[PARTITION].unique(), at, columns)
        found.append(part.merge(seen, on=[PARTITION, run.use_case.features.key], how="left", validate="one_to_one"))
    return pd.concat(found)
