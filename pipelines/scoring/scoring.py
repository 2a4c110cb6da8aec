"""Scoring: a partition's rows by the champion of that time, once per row and model version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.use_case import Partition, UseCase, features_table, predictions_table
from pipelines.workspace import CommitRecord, Decision, Kind, Workspace, check_alias


@dataclass(frozen=True)
class Scored:
    """Predictions published for one partition; `model_version` None where there was no champion then."""

    table: str
    partition: str
    model_version: int | None
    version: int | None
    rows: int


def score(workspace: Workspace, use_case: UseCase, partition: Partition) -> Scored:
    """Predict with the champion as of the partition, told by the ledger: a backfill scores as it would have then."""
    table = predictions_table(use_case)
    check_alias(workspace, use_case)
    champion = workspace.ledger.champion(use_case.name, as_of=partition.key)
    if champion is None:
        _record_no_champion(workspace, use_case, partition)
        return Scored(table, partition.key, None, None, 0)
    model = workspace.registry.load(use_case.name, champion.version)
    rows = workspace.lake.read(features_table(use_case), [partition.key]).to_pandas()
    predictions = predict(model, use_case, rows)
    seen = workspace.lake.seen(table, partition.key)
    kept = _other_versions(workspace, table, partition, champion.version)
    staged = workspace.lake.stage(table, partition.key, _arrow(predictions, kept))
    record = CommitRecord(run=workspace.run, model=champion.version)
    slice_ = workspace.lake.publish(table, partition.key, [staged], record, seen)
    return Scored(table, partition.key, champion.version, slice_.version, len(predictions))


def predict(model: Any, use_case: UseCase, rows: Any) -> Any:
    """Frame of key, model version, probability and the action that the threshold asks for; one row per row."""
    probability = model.predict(rows)
    frame = rows[[use_case.features.key]].assign(model_version=model.version, probability=probability)
    return frame.assign(act=probability >= use_case.scoring.threshold)


def _other_versions(workspace: Workspace, table: str, partition: Partition, version: int) -> Any:
    """Rows of the partition that other model versions predicted: they stay."""
    import pyarrow.compute as pc

    if not workspace.lake.partitions(table).get(partition.key):
        return None
    rows = workspace.lake.read(table, [partition.key])
    return rows.filter(pc.not_equal(rows["model_version"], version)).drop_columns(["partition"])


def _arrow(predictions: Any, kept: Any) -> Any:
    import pyarrow as pa

    new = pa.Table.from_pandas(predictions, preserve_index=False).replace_schema_metadata(None)
    return new if kept is None else pa.concat_tables([kept.cast(new.schema), new])


def _record_no_champion(workspace: Workspace, use_case: UseCase, partition: Partition) -> None:
    why = f"No model was champion for {partition.key}: nothing was promoted yet. Train one: its history is being gathered."
    workspace.ledger.record(
        Decision(
            f"{Kind.NOT_SCORED}/{partition.key}", use_case.name, Kind.NOT_SCORED, partition.key, why, "scoring", workspace.run
        )
    )
