"""What the replay came to: counted and computed from the published tables, never from memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines import features
from pipelines.errors import PermanentError
from pipelines.maintenance import Again, compare
from pipelines.use_case import (
    PARTITION,
    Grain,
    Partition,
    UseCase,
    features_table,
    labels_table,
    predictions_table,
    quarantine_table,
    source_table,
)
from pipelines.workspace import Kind, Model, StageRun, Workspace, predicted_rows, served_rows


@dataclass(frozen=True)
class Month:
    """Quality of what was served in a month, beside what the first champion would have served."""

    partition: str
    version: int
    labels: int
    auc: float
    log_loss: float
    never_auc: float
    never_log_loss: float


@dataclass(frozen=True)
class Count:
    """Rows of one source over all partitions."""

    source: str
    rows_in: int
    published: int
    quarantined: int


def months(workspace: Workspace, use_case: UseCase) -> list[Month]:
    """One row per month in which something was served that has outcomes, computed from predictions and labels as published."""
    first = next(d.model_version for d in workspace.ledger.decisions(use_case.name) if d.kind == Kind.PROMOTED)
    assert first is not None
    never = workspace.registry.load(use_case.name, first)
    labelled = workspace.lake.partitions(labels_table(use_case))
    keys: dict[str, list[str]] = {}
    for key in workspace.lake.partitions(predictions_table(use_case)):
        if key in labelled:
            keys.setdefault(Partition.of(use_case.partition(key).start, Grain.MONTH).key, []).append(key)
    return [_month(workspace, use_case, month, parts, never) for month, parts in keys.items()]


def _month(workspace: Workspace, use_case: UseCase, month: str, keys: list[str], never: Model) -> Month:
    from pipelines.metrics import scores

    event = [PARTITION, use_case.features.key]
    labels = workspace.lake.read(labels_table(use_case), keys).to_pandas()[[*event, "label"]]
    served = served_rows(workspace, use_case, keys).merge(labels, on=event, validate="one_to_one")
    rows = workspace.lake.read(features_table(use_case), keys).to_pandas().merge(labels, on=event, validate="one_to_one")
    found, other = scores(served["label"], served["probability"]), scores(rows["label"], never.predict(rows))
    numbers = (found["auc"], found["log_loss"], other["auc"], other["log_loss"])
    if any(n is None for n in numbers):
        raise PermanentError(f"{use_case.name} {month}: quality cannot be computed; one class only, or no outcomes")
    auc, log_loss, never_auc, never_log_loss = (float(n) for n in numbers if n is not None)
    return Month(
        partition=month,
        version=int(served["model_version"].iloc[-1]),
        labels=len(served),
        auc=auc,
        log_loss=log_loss,
        never_auc=never_auc,
        never_log_loss=never_log_loss,
    )


def published_ahead(workspace: Workspace, use_case: UseCase, days: Iterable[Partition]) -> tuple[int, int]:
    """Of how many served predictions of these days the commit comes before the first one that holds any outcome of the day."""
    predicted = _first_commits(workspace, predictions_table(use_case))
    happened = _first_commits(workspace, source_table(use_case, use_case.label.source))
    rows = {day.key: len(served_rows(workspace, use_case, [day.key])) for day in days}
    ahead = [
        count for key, count in rows.items() if key in predicted and predicted[key] < happened.get(key, predicted[key] + 1)
    ]
    return sum(ahead), sum(rows.values())


def _first_commits(workspace: Workspace, table: str) -> dict[str, int]:
    """By partition, when its first commit was made, in milliseconds by the log."""
    return {key: commit.timestamp for commit in workspace.lake.commits(table) for key in commit.record.keys}


def live_in_bulk(workspace: Workspace, use_case: UseCase, days: list[Partition]) -> int:
    """Compute what was served day by day again, in one run, and compare; return how many rows were.

    Raises:
        PermanentError: a feature, a probability or an action differs.
    """
    run = StageRun(workspace, use_case, use_case.period(f"{days[0].key}--{days[-1].key}"))
    planned = features.plan(run)
    features.build(workspace, planned)
    return sum(compare(workspace, use_case, Again(day.key, planned, "")).rows for day in days)


def counts(workspace: Workspace, use_case: UseCase) -> list[Count]:
    """Rows per source; `rows_in` is what ingestion recorded in each partition's commit."""
    found = []
    for source in use_case.sources:
        table = source_table(use_case, source)
        published, quarantined = workspace.lake.partitions(table), workspace.lake.partitions(quarantine_table(table))
        commits = workspace.lake.published_each(table, published).values()
        came = sum(commit.record.rows_in or 0 for commit in commits)
        found.append(Count(source, rows_in=came, published=sum(published.values()), quarantined=sum(quarantined.values())))
    return found


def problems(workspace: Workspace, use_case: UseCase) -> list[str]:
    """What does not reconcile: rows lost on the way in, rows without features, predictions missing or doubled."""
    found = [
        f"{c.source}: {c.rows_in} rows came in, {c.published} are published and {c.quarantined} in quarantine"
        for c in counts(workspace, use_case)
        if c.rows_in != c.published + c.quarantined
    ]
    entities = workspace.lake.partitions(source_table(use_case, use_case.features.entity))
    built = workspace.lake.partitions(features_table(use_case))
    found += [f"features {k}: {built.get(k, 0)} rows for {n}" for k, n in entities.items() if built.get(k, 0) != n]
    for key in workspace.lake.partitions(predictions_table(use_case)):
        found += _prediction_problems(workspace, use_case, key, entities.get(key, 0))
    return found


def _prediction_problems(workspace: Workspace, use_case: UseCase, key: str, rows: int) -> list[str]:
    """What was served is compared with the rows of today, or else of then; what was only tried, with itself."""
    column = use_case.features.key
    frame = predicted_rows(workspace, use_case, [key]).to_pandas()
    served = frame[frame["served"]]
    found = [
        f"predictions {key} v{version}: rows are there more than once"
        for version, part in frame[~frame["served"]].groupby("model_version")
        if part[column].duplicated().any()
    ]
    if len(served) not in (rows, 0) and served["features_version"].notna().all():  # rows that came later were not served
        rows = workspace.lake.partitions(features_table(use_case), int(served["features_version"].iloc[0])).get(key, 0)
    if served[column].duplicated().any() or len(served) != rows:
        found.append(f"predictions {key}: {len(served)} rows were served, {served[column].nunique()} different, for {rows}")
    return found
