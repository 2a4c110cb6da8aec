"""Take every measure of the data that a model is to be trained on; `rules` judge them.

The holdout is looked at only to see which of its rows and values training has, or has not.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipelines.assessment.evidence import Counts, DataEvidence, Delays, Duplicates, Missing, Rewritten, Unseen
from pipelines.assessment.trial import Trial
from pipelines.errors import TransientError
from pipelines.training import Rows, TrainingRun
from pipelines.use_case import PARTITION, UseCase, features_table, labels_table
from pipelines.workspace import Commit, published_definitions

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)
_NEWEST_PARTITIONS = 31
_MOST_GAPS = 12

Measures = dict[str, Callable[[], Any]]


def gather(training: TrainingRun) -> DataEvidence:
    """Measure the planned rows, at the planned table versions."""
    return measured(
        {
            **measures_of(training.use_case, training.rows),
            "delays": lambda: delays(training.use_case, _labels_with_dates(training)),
            "rewritten": lambda: rewritten(training),
        }
    )


def measures_of(use_case: UseCase, rows: Rows) -> Measures:
    """The measures that need nothing but the rows."""
    trial = Trial(use_case, rows.fit)
    return {
        "counts": lambda: counts(use_case, rows.fit),
        "curve": trial.curve,
        "power": trial.power,
        "alone": trial.alone,
        "importances": trial.importances,
        "duplicates": lambda: duplicates(use_case, rows),
        "missing": lambda: missing(use_case, rows.fit),
        "unseen": lambda: unseen(use_case, rows),
    }


def measured(measures: Measures) -> DataEvidence:
    """Take every measure; one that crashes takes no other down."""
    from threadpoolctl import threadpool_limits  # on a busy machine, two threads take ten times as long as one

    found: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, measure in measures.items():
        try:
            with warnings.catch_warnings(), threadpool_limits(1):
                warnings.simplefilter("ignore")
                found[name] = measure()
        except TransientError:  # the lake did not answer: asked again, not judged
            raise
        except Exception as error:  # whatever else stops a measure is evidence, and fails the verdicts that need it
            _log.warning("%s could not be measured", name, exc_info=True)
            problems[name] = f"{type(error).__name__}: {error}"
    return DataEvidence(**found, problems=problems)


def counts(use_case: UseCase, rows: pd.DataFrame) -> Counts:
    positive = int((rows["label"] == 1).sum())
    found: dict[str, int] = {}
    for segment in use_case.features.segments:
        sizes = rows[segment].astype(str).value_counts().sort_index()
        found |= {f"{segment}={value}": int(size) for value, size in sizes.items()}
    return Counts(len(rows), positive, len(rows) - positive, found)


def delays(use_case: UseCase, labels: pd.DataFrame) -> Delays:
    """`labels`: frame of the event's date, `known_at` and `partition`. A label is usable once its partition is complete."""
    import pandas as pd

    after = use_case.sources[use_case.label.source].available_after
    ends = {key: pd.Timestamp(use_case.partition(key).end) + after for key in labels["partition"].unique()}
    complete = pd.to_datetime(labels["partition"].map(ends))
    known = pd.to_datetime(labels["known_at"], utc=True).dt.tz_convert(use_case.timezone).dt.tz_localize(None)
    usable = known.where(known > complete, complete)
    days = (usable - pd.to_datetime(labels[use_case.features.date])).dt.total_seconds() / 86400
    on_time = known <= complete  # nobody knows when is not on time either
    return Delays(len(labels), float(days.median()), float(days.quantile(0.95)), float(1 - on_time.mean()))


def _labels_with_dates(training: TrainingRun) -> pd.DataFrame:
    spec, plan, table = training.use_case.features, training.plan, labels_table(training.use_case)
    labels = training.lake.read(table, plan.partitions, plan.versions[table], [spec.key, "known_at"]).to_pandas()
    return labels.merge(training.rows.all[[PARTITION, spec.key, spec.date]], on=[PARTITION, spec.key], validate="one_to_one")


def duplicates(use_case: UseCase, rows: Rows) -> Duplicates:
    """History is left out, as it is worked out anew for a row that arrives twice."""
    from pandas.util import hash_pandas_object

    columns = list(use_case.features.expressions)
    older, newer = (hash_pandas_object(part[columns], index=False) for part in (rows.fit, rows.holdout))
    return Duplicates(len(newer), int(newer.isin(older).sum()))


def missing(use_case: UseCase, rows: pd.DataFrame) -> Missing:
    """Slices are the segments' values and the partitions; the gaps that are kept are the widest, widest first."""
    import pandas as pd

    empty = rows[list(use_case.features.names)].isna()
    overall = empty.mean()
    found: list[pd.Series] = []
    for slice_by in (*use_case.features.segments, "partition"):
        by = rows[slice_by].astype(str)
        big = by.map(by.value_counts()) >= use_case.assessment.min_slice_rows
        gap = (empty[big].groupby(by[big]).mean() - overall).stack()
        assert isinstance(gap, pd.Series)
        gap.index = [f"{feature} @ {slice_by}={value}" for value, feature in gap.index]
        found.append(gap)
    gaps: pd.Series = pd.concat(found)
    widest = gaps.abs().sort_values(ascending=False, kind="stable").index[:_MOST_GAPS]
    return Missing({str(k): float(v) for k, v in overall.items()}, {str(k): float(gaps[k]) for k in widest if gaps[k]})


def unseen(use_case: UseCase, rows: Rows) -> Unseen:
    found: dict[str, float] = {}
    for name in use_case.features.names:
        older, newer = rows.fit[name].dropna(), rows.holdout[name]
        if name in use_case.features.categorical:
            strange = newer.notna() & ~newer.isin(older.unique())
        else:
            strange = (newer < older.min()) | (newer > older.max())
        found[name] = float(strange.mean())
    return Unseen(len(rows.holdout), found)


def rewritten(training: TrainingRun) -> Rewritten:
    """Feature values as they were before the partition's labels were published, against those to be trained on."""
    use_case, plan = training.use_case, training.plan
    compared, rows, changed = 0, 0, dict.fromkeys(use_case.features.names, 0)
    features, labels = (list(training.lake.commits(t)) for t in (features_table(use_case), labels_table(use_case)))
    for key in plan.partitions[-_NEWEST_PARTITIONS:]:
        version = _version_before_labels(features, labels, key, plan.versions[features_table(use_case)])
        if version is None:
            continue
        differs, count = _differences(training, key, version)
        compared, rows = compared + 1, rows + count
        changed = {name: changed[name] + differs.get(name, 0) for name in changed}
    return Rewritten(compared, rows, {name: count / rows for name, count in changed.items() if count})


def _version_before_labels(features: list[Commit], labels: list[Commit], key: str, pinned: int) -> int | None:
    """The newest version of the features, with the partition in it, from before its labels were first published."""
    labelled = min((c.timestamp for c in labels if key in c.record.keys), default=0)
    before = [c for c in features if c.timestamp < labelled and c.version <= pinned]
    if not any(key in c.record.keys for c in before):
        return None
    return max(c.version for c in before)


def _differences(training: TrainingRun, key: str, version: int) -> tuple[dict[str, int], int]:
    """Rows per feature whose value is not the earlier one, of how many rows that both versions have."""
    table, spec = features_table(training.use_case), training.use_case.features
    versions = version, training.plan.versions[table]
    first, last = (training.lake.files(table, [key], each) for each in versions)
    if first == last:
        return {}, sum(file.rows for file in last)
    then, now = (training.lake.read(table, [key], each).to_pandas().set_index(spec.key) for each in versions)
    shared = now.index.intersection(then.index)
    built = published_definitions(training.lake, table, [key], version)[key] or {}
    # A value by another definition is another feature's: it was built anew for the training, not rewritten.
    same = [name for name in spec.names if built.get(name, "") in ("", training.plan.definitions.get(name, ""))]
    names = [name for name in same if name in then.columns and name in now.columns]
    return {name: _unequal(then.loc[shared, name], now.loc[shared, name]) for name in names}, len(shared)


def _unequal(old: pd.Series, new: pd.Series) -> int:
    """How many values differ; numbers by more than rounding."""
    import numpy as np
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(old) and is_numeric_dtype(new):
        return int((~np.isclose(old.astype(float), new.astype(float), rtol=1e-6, equal_nan=True)).sum())
    return int((old.ne(new) & ~(old.isna() & new.isna())).sum())
