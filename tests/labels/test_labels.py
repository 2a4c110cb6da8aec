"""Labels: published once outcomes are complete; a row without an outcome is no label."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.errors import PermanentError, TransientError
from pipelines.labels import publish_labels, to_labels, unlabelled
from pipelines.use_case import Partition, UseCase, labels_table, source_table
from pipelines.workspace import CommitRecord, StageRun, Workspace

NOON = pd.Timestamp("2024-03-01 12:00", tz="UTC")


@pytest.fixture
def day(use_case: UseCase) -> Partition:
    return use_case.partition("2024-03-01")


def outcomes(*delays: float | None) -> pd.DataFrame:
    names = [f"2024-03-01-{i:04d}" for i in range(len(delays))]
    return pd.DataFrame({"shipment_id": names, "delay": pd.Series(delays, dtype="float64"), "delivered_at": NOON})


def deliver(
    workspace: Workspace, use_case: UseCase, day: Partition, rows: pd.DataFrame, read_at: datetime | None = None, **record: str
) -> None:
    table = source_table(use_case, "deliveries")
    staged = workspace.lake.stage(
        table, day.key, pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    )
    record |= {"read_at": read_at.isoformat()} if read_at else {}
    workspace.lake.publish(table, day.key, [staged], CommitRecord(**record))  # type: ignore[arg-type]


def test_the_threshold_itself_is_positive_and_a_lost_parcel_is_no_label(use_case: UseCase) -> None:
    labels = to_labels(outcomes(14.9, 15.0, None, 400.0, -5.0), use_case)
    assert labels["label"].tolist() == [0, 1, 1, 0]
    assert labels["shipment_id"].str[-4:].tolist() == ["0000", "0001", "0003", "0004"]
    assert labels["label"].dtype == "int64"


@pytest.mark.parametrize(
    ("operator", "expected"), [(">=", [0, 1, 1]), (">", [0, 0, 1]), ("<=", [1, 1, 0]), ("<", [1, 0, 0]), ("==", [0, 1, 0])]
)
def test_every_operator_means_what_it_says(operator: str, expected: list[int], use_case: UseCase) -> None:
    changed = use_case.model_copy(update={"label": use_case.label.model_copy(update={"operator": operator})})
    assert to_labels(outcomes(14.0, 15.0, 16.0), changed)["label"].tolist() == expected


def complete_at(use_case: UseCase, day: Partition) -> datetime:
    return use_case.sources["deliveries"].complete_at(day, use_case.timezone)


def test_labels_too_early_are_put_off_and_nothing_is_published(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    deliver(workspace, use_case, day, outcomes(20.0))
    run, ready = StageRun(workspace, use_case, day), complete_at(use_case, day)
    assert ready == datetime(2024, 3, 3, tzinfo=UTC)
    workspace.clock.set(ready - timedelta(seconds=1))
    with pytest.raises(TransientError, match=r"parcels 2024-03-01: outcomes are complete from 2024-03-03T00:00:00\+00:00 on"):
        publish_labels(run)
    assert unlabelled(run) == []
    assert not workspace.lake.exists(labels_table(use_case))
    workspace.clock.set(ready)
    assert unlabelled(run) == [day.key]
    assert publish_labels(run).labels == 1


def test_outcomes_that_were_read_before_they_were_complete_are_no_labels(
    workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    """Ten of many at the day's end, and the complete file later: labels of the ten would stand for all, in green."""
    run, ready = StageRun(workspace, use_case, day), complete_at(use_case, day)
    deliver(workspace, use_case, day, outcomes(20.0), read_at=ready - timedelta(minutes=1))
    with pytest.raises(PermanentError, match="some may be missing; run ingestion for it again with the complete file"):
        publish_labels(run)
    assert unlabelled(run) == []
    assert not workspace.lake.exists(labels_table(use_case))
    deliver(workspace, use_case, day, outcomes(20.0, 1.0), read_at=ready)
    assert unlabelled(run) == [day.key]
    assert publish_labels(run).labels == 2
    assert unlabelled(run) == [], "they are of these outcomes"
    deliver(workspace, use_case, day, outcomes(20.0, 19.0), read_at=ready, source_digest="corrected")
    assert unlabelled(run) == [day.key], "what was corrected is labelled anew"


def test_tables_of_before_have_the_time_of_their_commit(workspace: Workspace, use_case: UseCase) -> None:
    today = Partition.of(datetime.now(UTC).date(), use_case.grain)
    deliver(workspace, use_case, today, outcomes(20.0))
    workspace.clock.set(complete_at(use_case, today) + timedelta(hours=1))
    with pytest.raises(PermanentError, match="some may be missing"):
        publish_labels(StageRun(workspace, use_case, today))


def test_a_replay_since_then_does_not_make_them_complete(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    run, ready, table = StageRun(workspace, use_case, day), complete_at(use_case, day), source_table(use_case, "deliveries")
    deliver(workspace, use_case, day, outcomes(20.0), read_at=ready - timedelta(hours=1))
    workspace.clock.set(ready + timedelta(hours=1))
    before = workspace.lake.published(table, day.key)
    assert before
    again = replace(before.record, replayed=1)  # as a replay of the quarantine writes it
    workspace.lake.publish(table, day.key, workspace.lake.published_files(table, day.key), again)
    with pytest.raises(PermanentError, match="some may be missing"):
        publish_labels(run)


def test_a_longer_period_is_labelled_whole_or_not_at_all(workspace: Workspace, use_case: UseCase) -> None:
    week = use_case.period("2024-W09")
    for number, day in enumerate(week.within(use_case.grain)):
        deliver(workspace, use_case, day, outcomes(20.0, 1.0, None).assign(shipment_id=[f"{day.key}-{i}" for i in range(3)]))
        ready = complete_at(use_case, day)
        workspace.clock.set(ready - timedelta(seconds=number == 6))
    run = StageRun(workspace, use_case, week)
    with pytest.raises(TransientError, match="2024-03-03: outcomes are complete from"):
        publish_labels(run)
    assert not workspace.lake.exists(labels_table(use_case))
    workspace.clock.set(ready)
    done = publish_labels(run)
    assert (done.partition, done.rows, done.labels, done.positive) == ("2024-W09", 21, 14, 7)
    assert workspace.lake.partitions(labels_table(use_case)) == {day.key: 2 for day in week.within(use_case.grain)}


def test_labels_are_counted_and_a_rerun_replaces_them(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    deliver(workspace, use_case, day, outcomes(20.0, None, 1.0))
    first = publish_labels(StageRun(workspace, use_case, day))
    assert (first.rows, first.labels, first.positive) == (3, 2, 1)
    assert publish_labels(StageRun(workspace, use_case, day)).labels == 2
    assert workspace.lake.partitions(labels_table(use_case)) == {day.key: 2}
    assert set(workspace.lake.read(labels_table(use_case)).column_names) >= {"shipment_id", "label", "known_at", "partition"}


def test_labels_without_outcomes_say_what_to_run(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    with pytest.raises(PermanentError, match=r"parcels/deliveries: no such table .*run the stage that publishes it"):
        publish_labels(StageRun(workspace, use_case, day))
