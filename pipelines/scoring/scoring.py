"""Scoring: each row of a partition by the champion of that time.

What is predicted first for a partition is what was served, and stays so for ever: scoring again gives the same rows and
publishes nothing, or gives others (another version, features that were built anew), which are kept beside as a what-if.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import PermanentError, TransientError
from pipelines.experiments import Plan, plans
from pipelines.scoring.predicting import predict, predict_each
from pipelines.scoring.variants import with_variants
from pipelines.use_case import EXPERIMENT_COLUMNS, PARTITION, UseCase, features_table, predictions_table
from pipelines.workspace import (
    CommitRecord,
    Decision,
    Kind,
    Model,
    StageRun,
    check_alias,
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
    seen, planned = {key: run.lake.seen(table, key) for key in champions}, plans(run, champions)
    before = _by_partition(predicted_rows(run.workspace, run.use_case, champions))
    found = _by_partition(_predictions(run, champions, planned))
    news = {key: rows for key, new in found.items() if (rows := _beside(new, before.get(key), run.use_case)) is not None}
    if run.ledger.champions(run.use_case.name, keys) != champions:
        raise TransientError(f"{run}: a champion moved while it was scored; run it again, with the new one")
    if plans(run, champions) != planned:
        raise TransientError(f"{run}: an experiment's shares changed while it was scored; run it again, with the new ones")
    _publish(run, news, seen)
    what_if = tuple(key for key in news if key in before and any(before[key]["served"].to_pylist()))
    return Scored(
        table=table,
        partition=run.key,
        model_version=list(champions.values())[-1],
        version=run.lake.version(table),
        rows=sum(sum(rows["served"].to_pylist()) for rows in found.values()),
        served=tuple(key for key in news if key not in what_if),
        what_if=what_if,
    )


def rehearse(use_case: UseCase, model: Model, rows: DataFrame) -> None:
    """All of `score` but the lake. Raises whatever would stop it; PermanentError where a row gets no probability."""
    predicted = predict(model, use_case, rows).assign(partition="")
    found = _arrow(predicted, use_case, made_at=None, run="", features_version=0, served=False).to_pandas()
    if len(found) != len(rows) or not found["probability"].between(0, 1).all():
        raise PermanentError(f"{use_case.name}: not every row gets a probability")


def _predictions(run: StageRun, champions: dict[str, int], planned: dict[str, Plan]) -> Table:
    """New rows of all partitions, `served` as if each was the first of its partition; with an experiment, of all variants."""
    import pandas as pd

    table, made_at = features_table(run.use_case), run.workspace.clock.now()
    version = run.lake.version(table)
    if missing := sorted(champions.keys() - run.lake.partitions(table, version)):
        raise PermanentError(f"{table}: no rows for {', '.join(missing)}; run the stage that publishes it first")
    frames = []
    for champion in dict.fromkeys(champions.values()):
        keys = [key for key in champions if champions[key] == champion]
        frames += predict_each(run, champion, keys, version)
    frame = pd.concat(frames).assign(served=True)
    frame = with_variants(run, frame, planned, version) if planned else frame
    return _arrow(frame, run.use_case, made_at=made_at, run=run.id, features_version=version)


def _arrow(predictions: DataFrame, use_case: UseCase, **told: Any) -> Table:
    """With what is told of all of them, in the types of the table."""
    import pyarrow as pa

    frame = predictions.assign(**told)
    key = pa.Schema.from_pandas(frame[[use_case.features.key]], preserve_index=False).field(0)
    schema = prediction_schema(key, experiment="variant" in frame)
    return pa.Table.from_pandas(frame, schema, preserve_index=False).replace_schema_metadata(None)


def _by_partition(rows: Table) -> dict[str, Table]:
    import pyarrow.compute as pc

    keys = sorted(set(rows[PARTITION].to_pylist()))
    return {key: rows.filter(pc.equal(rows[PARTITION], key)) for key in keys}


def _beside(new: Table, before: Table | None, use_case: UseCase) -> Table | None:
    """All rows that a partition has from now on; None where nothing is new.

    Rows that were served stay as they are, with those that an experiment scored beside them, as does what other versions would
    have predicted.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if before is None:
        return new
    if not any(before["served"].to_pylist()):
        return _together(before.filter(pc.invert(pc.is_in(before["model_version"], pc.unique(new["model_version"])))), new)
    told = pc.or_(before["served"], pc.is_valid(before["variant"])) if "variant" in before.column_names else before["served"]
    kept, what_ifs = pa.array([True] * len(before)), []
    for version in pc.unique(new["model_version"]):
        its, mine = pc.equal(before["model_version"], version), new.filter(pc.equal(new["model_version"], version))
        groups = [before.filter(pc.and_(its, of)) for of in (told, pc.invert(told))]
        if not any(_same(mine, group, use_case.features.key) for group in groups):
            kept = pc.and_(kept, pc.or_(pc.invert(its), told))
            what_ifs.append(_what_if(mine))
    return _together(before.filter(kept), *what_ifs) if what_ifs else None


def _what_if(rows: Table) -> Table:
    """As rows that nobody was served, and that are of no experiment."""
    import pyarrow as pa

    without = rows.select([name for name in rows.column_names if name not in EXPERIMENT_COLUMNS])
    return without.set_column(without.schema.get_field_index("served"), "served", pa.array([False] * len(rows)))


def _together(*parts: Table) -> Table:
    """In the types of the last one; a column that only some have is null for the others."""
    import pyarrow as pa

    schema = pa.unify_schemas([part.schema for part in reversed(parts)], promote_options="permissive")
    return pa.concat_tables(parts, promote_options="permissive").select(schema.names).cast(schema)


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
