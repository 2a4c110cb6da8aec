"""Scoring: a partition's rows by the champion of that time, once per row and model version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.use_case import UseCase, predictions_table
from pipelines.workspace import CommitRecord, Decision, Kind, Model, StageRun, check_alias, feature_rows

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Table


@dataclass(frozen=True)
class Scored:
    """Predictions published for one partition; `model_version` None where there was no champion then."""

    table: str
    partition: str
    model_version: int | None
    version: int | None
    rows: int


def score(run: StageRun) -> Scored:
    """Predict with the champion as of the partition, by the ledger: a backfill scores as it would have then.

    Raises:
        PermanentError: the champion does not load, or the rows' features are not those that it was trained on.
    """
    table = predictions_table(run.use_case)
    check_alias(run.workspace, run.use_case)
    champion = run.ledger.champion(run.use_case.name, as_of=run.key)
    if champion is None:
        _record_no_champion(run)
        return Scored(table=table, partition=run.key, model_version=None, version=None, rows=0)
    model = run.registry.load(run.use_case.name, champion.version)
    rows = feature_rows(run.workspace, run.use_case, model, [run.key])
    predictions = predict(model, run.use_case, rows)
    seen = run.lake.seen(table, run.key)
    kept = _other_versions(run, champion.version)
    staged = run.lake.stage(table, run.key, _arrow(predictions, kept))
    record = CommitRecord(run=run.id, model=champion.version)
    version = run.lake.publish(table, run.key, [staged], record, seen).version
    return Scored(table=table, partition=run.key, model_version=champion.version, version=version, rows=len(predictions))


def predict(model: Model, use_case: UseCase, rows: DataFrame) -> DataFrame:
    """Frame of key, model version, probability and the action that the threshold asks for; one row per row."""
    probability = model.predict(rows)
    frame = rows[[use_case.features.key]].assign(model_version=model.version, probability=probability)
    return frame.assign(act=probability >= use_case.scoring.threshold)


def rehearse(use_case: UseCase, model: Model, rows: DataFrame) -> None:
    """All of `score` but the lake. Raises whatever would stop it; PermanentError where a row gets no probability."""
    found = _arrow(predict(model, use_case, rows), None).to_pandas()
    if len(found) != len(rows) or not found["probability"].between(0, 1).all():
        raise PermanentError(f"{use_case.name}: not every row gets a probability")


def _other_versions(run: StageRun, version: int) -> Table | None:
    """Rows of the partition that other model versions predicted: they stay."""
    import pyarrow.compute as pc

    table = predictions_table(run.use_case)
    if not run.lake.partitions(table).get(run.key):
        return None
    rows = run.lake.read(table, [run.key])
    return rows.filter(pc.not_equal(rows["model_version"], version)).drop_columns(["partition"])


def _arrow(predictions: DataFrame, kept: Table | None) -> Table:
    import pyarrow as pa

    new = pa.Table.from_pandas(predictions, preserve_index=False).replace_schema_metadata(None)
    return new if kept is None else pa.concat_tables([kept.cast(new.schema), new])


def _record_no_champion(run: StageRun) -> None:
    past = [d for d in run.ledger.champion_moves(run.use_case.name) if str(d.effective_from) <= run.key]
    since = "the last one was retired. Train one." if past else (
        "nothing was promoted yet. Train one: its history is being gathered."
    )  # fmt: skip
    why = f"No model was champion for {run.key}: {since}"
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
