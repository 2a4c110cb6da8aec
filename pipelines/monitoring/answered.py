"""What the API answered about a window, against outcomes, beside what bulk served. It is told, and starts nothing.

A row is about the partition that it was looked up in, or, where its features came with the request, the one in which it was
answered. Of a key that was answered several times, the last answer before its outcome was known counts: whoever asked could
act upon it at last. What is answered later knows too much, and is only counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from pipelines.metrics import Floats, scores
from pipelines.monitoring import lots
from pipelines.monitoring.comparison import PREDICTION, compare
from pipelines.monitoring.observations import Answered
from pipelines.monitoring.performance import means_of
from pipelines.monitoring.windows import Served, served
from pipelines.use_case import PARTITION, answers_table, labels_table
from pipelines.workspace import StageRun, served_batches

if TYPE_CHECKING:
    import pyarrow as pa
    from pandas import DataFrame, Series

_BY = "model_version"
_MEANS = ("log_loss", "positive_share", "mean_prediction")


def measure_answers(run: StageRun) -> tuple[Answered, ...]:
    """By version, that which the window is judged by first; none where nobody was answered about it, or it is not over."""
    table, key = answers_table(run.use_case), run.use_case.features.key
    first = run.partition.previous.within(run.use_case.grain)[0].key  # features may be published before their time
    asked = {at: rows for at, rows in run.lake.partitions(table).items() if at >= first}
    if not asked:
        return ()
    tally, count = _Tally(run), -(-sum(asked.values()) // lots.ROWS)
    with TemporaryDirectory() as place:
        answers, labels = Path(place, "answers"), Path(place, "labels")
        lots.keep(tally.counted(_about(run, asked)), key, count, answers)
        seen = served(run) if tally.sums else None
        if seen is None:
            return ()
        lots.keep(_labels(run), key, count, labels)
        for number in range(count):
            tally.judge(lots.lot(answers, number), lots.lot(labels, number))
    return tally.found(seen)


def _about(run: StageRun, asked: Iterable[str]) -> Iterator[pa.Table]:
    """Answers about the window, each with the partition that it is about in place of that in which it was given."""
    import pyarrow as pa
    import pyarrow.compute as pc

    window = pa.array([p.key for p in run.partitions])
    columns = [run.use_case.features.key, "answer", "row", _BY, PREDICTION, "made_at", "features_partition"]
    for batch in run.lake.batches(answers_table(run.use_case), asked, columns):
        about = pc.coalesce(batch["features_partition"], batch[PARTITION])
        mine = batch.drop_columns(["features_partition", PARTITION]).append_column(PARTITION, about)
        yield mine.filter(pc.is_in(about, window))


def _labels(run: StageRun) -> Iterator[pa.Table]:
    import pyarrow as pa

    table, columns = labels_table(run.use_case), [run.use_case.features.key, "label", "known_at"]
    known = [p.key for p in run.partitions if p.key in run.lake.partitions(table)]
    for batch in run.lake.batches(table, known, columns) if known else ():
        moment = batch["known_at"].cast(pa.timestamp("us", "UTC"))
        yield batch.set_column(batch.schema.get_field_index("known_at"), "known_at", moment)


class _Tally:
    """Sums by version of all rows, and of at most about a lot of them what goes by rank."""

    def __init__(self, run: StageRun) -> None:
        self.run = run
        self.sums: list[DataFrame] = []
        self._ranked: list[DataFrame] = []
        self._drawn: DataFrame | None = None
        self._random = np.random.default_rng(run.use_case.training.seed)

    def counted(self, batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Those that have a key; all are counted."""
        import pandas as pd
        import pyarrow.compute as pc

        key, size = self.run.use_case.features.key, self.run.use_case.monitoring.sample_rows
        for batch in batches:
            if len(batch):
                rows = batch.select([key, "row", _BY, PREDICTION]).to_pandas()
                told = rows.assign(answers=rows["row"] == 0, rows=1, without_key=rows[key].isna())
                self._add(told, ["answers", "rows", "without_key"])
                drawn = rows[[_BY, PREDICTION]].assign(lot=self._random.random(len(rows)))
                self._drawn = pd.concat([self._drawn, drawn]).nsmallest(size, "lot")
            yield batch.filter(pc.is_valid(batch[key]))

    def judge(self, answers: DataFrame | None, labels: DataFrame | None) -> None:
        """A lot of answers, against its outcomes."""
        import pandas as pd

        if answers is None or labels is None:
            return
        event = [PARTITION, self.run.use_case.features.key]
        rows = answers.sort_values(["made_at", "answer", "row"]).merge(labels, on=event, validate="many_to_one")
        rows = rows.assign(late=~(rows["made_at"] < rows["known_at"]), label=rows["label"].astype(float))
        self._add(rows, ["late"])
        counted = rows[~rows["late"]].drop_duplicates(event, keep="last")
        for version, mine in counted.groupby(_BY):
            self.sums.append(pd.DataFrame([{_BY: version, **means_of(self.run.use_case, mine)}]))
        if sum(map(len, self._ranked)) < lots.ROWS:
            self._ranked.append(counted[[_BY, "label", PREDICTION]])

    def found(self, seen: Served) -> tuple[Answered, ...]:
        import pandas as pd

        total = pd.concat(self.sums).groupby(_BY).sum()
        return tuple(self._of(v, total.loc[v], seen) for v in sorted(total.index, key=lambda v: (v != seen.version, v)))

    def _add(self, rows: DataFrame, columns: list[str]) -> None:
        self.sums.append(rows.groupby(_BY, as_index=False)[columns].sum())

    def _of(self, version: int, total: Series[float], seen: Served) -> Answered:
        labels, label, probability = int(total.get("labels", 0)), *self._ranks(version)
        by_rank = scores(label, probability)
        means = {name: float(total[name] / labels) if labels else None for name in _MEANS}
        return Answered(
            model_version=int(version),
            **{name: int(total.get(name, 0)) for name in ("answers", "rows", "without_key", "late")},
            labels=labels,
            auc=by_rank["auc"],
            log_loss=means["log_loss"],
            positive_share=means["positive_share"],
            mean_prediction=means["mean_prediction"],
            calibration_error=by_rank["calibration_error"],
            worth=float(total["worth"]) if labels and self.run.use_case.value else None,
            prediction_drift=_moved(self.run, seen, self._drawn) if version == seen.version else None,
        )

    def _ranks(self, version: int) -> tuple[Floats, Floats]:
        mine = [rows[rows[_BY] == version] for rows in self._ranked]
        columns = [[rows[name].to_numpy(float) for rows in mine] for name in ("label", PREDICTION)]
        label, probability = (np.concatenate(parts or [np.array([])]) for parts in columns)
        return label, probability


def _moved(run: StageRun, seen: Served, drawn: DataFrame | None) -> float | None:
    """How far the version's answers are from what it served in bulk in the window, beyond the noise."""
    rows = None if drawn is None else drawn.loc[drawn[_BY] == seen.version, [PREDICTION]]
    if rows is None or rows.empty:
        return None
    moved = compare(run.use_case, [PREDICTION], rows, _bulk(run, seen), len(seen.partitions)).moved[PREDICTION]
    return moved.distance if moved.real else 0.0


def _bulk(run: StageRun, seen: Served) -> DataFrame:
    """A seeded sample of what the version served in bulk."""
    import pyarrow as pa
    import pyarrow.compute as pc

    random, found = np.random.default_rng(run.use_case.training.seed), []
    share = run.use_case.monitoring.sample_rows / seen.rows
    for batch in served_batches(run.workspace, run.use_case, seen.partitions, [_BY, PREDICTION]):
        mine = pc.and_(pc.equal(batch[_BY], seen.version), pa.array(random.random(len(batch)) < share))
        found.append(batch.filter(mine))
    rows: DataFrame = pa.concat_tables(found).select([PREDICTION, PARTITION]).to_pandas()
    return rows.sample(frac=1, random_state=run.use_case.training.seed)
