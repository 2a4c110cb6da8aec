"""Performance: what was served against what really happened, in scores, in money, and against what the model promised.

Means are of all rows. What goes by rank (AUC, what was promised of it, calibration) is of about half a million of them by lot,
where there are more: its interval is that of those rows.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from pipelines.metrics import Residuals, deviations, losses, scores
from pipelines.monitoring import lots
from pipelines.monitoring.observations import Deviation, Performance, Slice
from pipelines.monitoring.windows import Served, served
from pipelines.use_case import PARTITION, UseCase, labels_table, money
from pipelines.workspace import StageRun

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_SLICES = ("excess_loss", "calibration_gap")  # a mean of single rows; an AUC within a slice is another question
_MOST_SLICES = 40  # those with the most rows: a document of the table stays small
_RANKED = ["label", "probability", PARTITION]
_GROUP = ["measure", "by", "value"]


def measure_performance(run: StageRun) -> Performance | None:
    """Served predictions against outcomes; None until the window is over and all that was served in it has outcomes."""
    import pandas as pd

    seen, table = served(run), labels_table(run.use_case)
    if seen is None or not set(seen.partitions) <= set(run.lake.partitions(table)):
        return None
    sums: list[DataFrame] = []
    means: list[dict[str, float]] = []
    ranked: list[DataFrame] = []
    for rows in lots.served_with_outcomes(run, seen):
        labelled = rows[rows["label"].notna()].astype({"label": float})
        if len(labelled):
            sums.append(_sums(run.use_case, labelled))
            means.append(means_of(run.use_case, labelled))
        if sum(map(len, ranked)) < lots.ROWS:
            ranked.append(labelled[_RANKED])
    return _performance(run.use_case, seen, pd.concat(sums), pd.DataFrame(means).sum(), pd.concat(ranked)) if sums else None


def _performance(use_case: UseCase, seen: Served, sums: DataFrame, means: Series, ranked: DataFrame) -> Performance:
    total = sums.groupby(_GROUP, as_index=False).agg({"rows": "sum", "total": "sum", "variance": "sum", "most": "max"})
    by_measure = {name: total[total["measure"] == name] for name in _SLICES}
    label, probability = ranked["label"].to_numpy(), ranked["probability"].to_numpy()
    by_rank, labels = scores(label, probability), int(means["labels"])
    measures = {name: by_partition(m, ranked[PARTITION]) for name, m in deviations(label, probability).items()}
    return Performance(
        model_version=seen.version,
        rows=seen.rows,
        labels=labels,
        worth=float(means["worth"]) if use_case.value else None,
        auc=by_rank["auc"],
        calibration_error=by_rank["calibration_error"],
        **{name: float(means[name] / labels) for name in ("log_loss", "positive_share", "mean_prediction")},
        deviations=measures | {name: _deviation(found[found["by"] == PARTITION]) for name, found in by_measure.items()},
        slices={name: _slices(use_case, found) for name, found in by_measure.items()},
    )


def means_of(use_case: UseCase, labelled: DataFrame) -> dict[str, float]:
    """Sums of what the window's means are made of."""
    label, p = labelled["label"].to_numpy(), labelled["probability"].to_numpy()
    worth = money(label, p, use_case.value, use_case.scoring.threshold) if use_case.value else 0.0
    sums = {"log_loss": losses(label, p).sum(), "positive_share": label.sum(), "mean_prediction": p.sum()}
    return sums | {"labels": len(label), "worth": worth}


def _sums(use_case: UseCase, labelled: DataFrame) -> DataFrame:
    """By measure, and by partition or value of a segment: rows, the sum of their shares, its variance, the most of a row."""
    import pandas as pd

    found, measures = [], deviations(labelled["label"], labelled["probability"])
    for name, by in product(_SLICES, (PARTITION, *use_case.features.segments)):
        measure, value = measures[name], labelled[by].astype("string").fillna("missing").to_numpy()
        rows = pd.DataFrame({"value": value, "total": measure.rows, "variance": measure.variance})
        groups = rows.groupby("value", as_index=False).agg(
            rows=("total", "size"), total=("total", "sum"), variance=("variance", "sum")
        )
        found.append(groups.assign(measure=name, by=by, most=measure.most))
    return pd.concat(found)


def by_partition(measure: Residuals, partition: ArrayLike) -> Deviation:
    """The measure with its sums by partition; `partition` (n,) names that of each row."""
    number = np.unique(np.asarray(partition), return_inverse=True)[1]
    sums = (np.bincount(number, weights).tolist() for weights in (None, measure.rows, measure.variance))
    return Deviation(measure.value, measure.most, tuple(zip(*sums, strict=True)))


def _deviation(total: DataFrame) -> Deviation:
    parts = tuple(zip(*(total[name].tolist() for name in ("rows", "total", "variance")), strict=True))
    return Deviation(float(total["total"].sum() / total["rows"].sum()), float(total["most"].max()), parts)


def _slices(use_case: UseCase, total: DataFrame) -> tuple[Slice, ...]:
    """Of each value of a segment, those with the most rows first."""
    found = [
        Slice(
            f"{by} {each['value']}",
            each["rows"],
            each["total"] / each["rows"],
            each["variance"] / each["rows"] ** 2,
            each["most"],
        )
        for by in use_case.features.segments
        for each in total[total["by"] == by].to_dict("records")
    ]
    return tuple(sorted(found, key=lambda s: -s.rows)[:_MOST_SLICES])
