"""Scoring: each row of a partition by the champion of that time.

What is predicted first for a partition is what was served, and stays so for ever: scoring again gives the same rows and
publishes nothing, or gives others (another version, features that were built anew), which are kept beside as a what-if.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import PermanentError, TransientError
from pipelines.use_case import PARTITION, UseCase, features_table, predictions_table
from pipelines.workspace import (
    CommitRecord,
    Decision,
    Kind,
    Model,
    StageRun,
    check_alias,
    feature_rows,
    predicted_rows,
    prediction_schema,
)

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Table

SAME = 1e-12  # sums in another order differ in the last bits


@dataclass(frozen=True)
class Scored:
    """What a run predicted; `model_version` is the newest partition's, None where there was no champion then.

    `served` and `what_if` are the partitions that were published: for the first time, or beside what was served.
    """

    table: str
    partition: str
    model_version: int | None
    version: int | None
    rows: int
    served: tuple[str, ...] = ()
    what_if: tuple[str, ...] = ()


def score(run: StageRun) -> Scored:
    """Predict with the champion as of each partition, by the ledger: a backfill scores as it would have then.

    Raises:
        PermanentError: a champion does not load, or the rows' features are not those that it was trained on.
        TransientError: a champion moved, or another run published a partition, meanwhile.
    """
    table, keys = predictions_table(run.use_case), [p.key for p in run.partitions]
    check_alias(run.workspace, run.use_case)
    champions = run.ledger.champions(run.use_case.name, keys)
    if skipped := [key for key in keys if key not in champions]:
        _record_no_champion(run, skipped)
    if not champions:
        return Scored(table=table, partition=run.key, model_version=None, version=None, rows=0)
    seen = {key: run.lake.seen(table, key) for key in champions}
    before = _by_partition(predicted_rows(run.workspace, run.use_case, champions))
    found = _by_partition(_predictions(run, champions))
    news = {key: rows for key, new in found.items() if (rows := _beside(new, before.get(key), run.use_case)) is not None}
    if run.ledger.champions(run.use_case.name, keys) != champions:
        raise TransientError(f"{run}: a champion moved while it was scored; run it again, with the new one")
    _publish(run, news, seen)
    what_if = tuple(key for key in news if key in before and any(before[key]["served"].to_pylist()))
    return Scored(
        table=table,
        partition=run.key,
        model_version=list(champions.values())[-1],
        version=run.lake.version(table),
        rows=sum(rows.num_rows for rows in found.values()),
        served=tuple(key for key in news if key not in what_if),
        what_if=what_if,
    )


def predict(model: Model, use_case: UseCase, rows: DataFrame) -> DataFrame:
    """Frame of key, model version, probability and the action that the threshold asks for; one row per row."""
    import pandas as pd

    key, probability = use_case.features.key, model.predict(rows)
    act = probability >= use_case.scoring.threshold
    found = {key: rows[key], "model_version": model.version, "probability": probability, "act": act}
    return pd.DataFrame(found, index=rows.index)


def rehearse(use_case: UseCase, model: Model, rows: DataFrame) -> None:
    """All of `score` but the lake. Raises whatever would stop it; PermanentError where a row gets no probability."""
    predicted = predict(model, use_case, rows).assign(partition="")
    found = _arrow(predicted, use_case, made_at=None, run="", features_version=0, served=False).to_pandas()
    if len(found) != len(rows) or not found["probability"].between(0, 1).all():
        raise PermanentError(f"{use_case.name}: not every row gets a probability")


def _predictions(run: StageRun, champions: dict[str, int]) -> Table:
    """New rows of all partitions, `served` as if each was the first of its partition."""
    import pandas as pd

    table, made_at = features_table(run.use_case), run.workspace.clock.now()
    version = run.lake.version(table)
    if missing := sorted(champions.keys() - run.lake.partitions(table, version)):
        raise PermanentError(f"{table}: no rows for {', '.join(missing)}; run the stage that publishes it first")
    frames = []
    for champion in dict.fromkeys(champions.values()):
        model = run.registry.load(run.use_case.name, champion)
        keys = [key for key in champions if champions[key] == champion]
        rows = feature_rows(run.workspace, run.use_case, model, keys, version)
        # Partition by partition, as day after day: to the last bit the same.
        frames += [predict(model, run.use_case, part).assign(partition=key) for key, part in rows.groupby(PARTITION)]
    frame = pd.concat(frames)
    return _arrow(frame, run.use_case, made_at=made_at, run=run.id, features_version=version, served=True)


def _arrow(predictions: DataFrame, use_case: UseCase, **told: Any) -> Table:
    """With what is told of all of them, in the types of the table."""
    import pyarrow as pa

    frame = predictions.assign(**told)
    key = pa.Schema.from_pandas(frame[[use_case.features.key]], preserve_index=False).field(0)
    return pa.Table.from_pandas(frame, prediction_schema(key), preserve_index=False).replace_schema_metadata(None)


def _by_partition(rows: Table) -> dict[str, Table]:
    import pyarrow.compute as pc

    keys = sorted(set(rows[PARTITION].to_pylist()))
    return {key: rows.filter(pc.equal(rows[PARTITION], key)) for key in keys}


def _beside(new: Table, before: Table | None, use_case: UseCase) -> Table | None:
    """All rows that a partition has from now on; None where nothing is new.

    Rows that were served stay as they are, as does what other versions would have predicted.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if before is None:
        return new
    if not any(before["served"].to_pylist()):
        kept = before.filter(pc.not_equal(before["model_version"], new["model_version"][0]))
        return pa.concat_tables([kept.cast(new.schema), new])
    mine = before.filter(pc.equal(before["model_version"], new["model_version"][0]))
    if any(_same(new, mine.filter(pc.equal(mine["served"], each)), use_case.features.key) for each in (True, False)):
        return None
    kept = before.filter(pc.or_(before["served"], pc.not_equal(before["model_version"], new["model_version"][0])))
    what_if = new.set_column(new.schema.get_field_index("served"), "served", pa.array([False] * len(new)))
    return pa.concat_tables([kept.cast(new.schema), what_if])


def _same(one: Table, other: Table, key: str) -> bool:
    """Whether they say the same of the same rows, whoever said it, and when."""
    import numpy as np

    if one.num_rows != other.num_rows:
        return False
    a, b = (rows.select([key, "probability", "act"]).sort_by(key) for rows in (one, other))
    near = np.allclose(a["probability"].to_numpy(), b["probability"].to_numpy(), rtol=0, atol=SAME)
    return near and all(a[name].to_pylist() == b[name].to_pylist() for name in (key, "act"))


def _publish(run: StageRun, news: dict[str, Table], seen: dict[str, int]) -> None:
    """The partitions' rows, in one transaction."""
    table = predictions_table(run.use_case)
    staged = {key: [run.lake.stage(table, key, rows.drop_columns([PARTITION]))] for key, rows in news.items()}
    if staged:
        newest = news[max(news)]["model_version"][-1].as_py()
        run.lake.publish_each(table, staged, CommitRecord(run=run.id, model=newest), seen)


def _record_no_champion(run: StageRun, keys: list[str]) -> None:
    past = [d for d in run.ledger.champion_moves(run.use_case.name) if str(d.effective_from) <= keys[-1]]
    since = "the last one was retired. Train one." if past else (
        "nothing was promoted yet. Train one: its history is being gathered."
    )  # fmt: skip
    why = f"No model was champion for {' to '.join(dict.fromkeys((keys[0], keys[-1])))}: {since}"
    run.ledger.record(
        Decision(
            id=f"{Kind.NOT_SCORED}/{run.key}",
            use_case=run.use_case.name,
            kind=Kind.NOT_SCORED,
            partition=run.key,
            why=why,
            actor="scoring",
            run=run.id,
        )
    )
