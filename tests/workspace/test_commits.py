"""A commit's record comes back as it was, and lies on disk under the keys that older logs have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipelines.workspace import Decision, Kind, Workspace
from pipelines.workspace.commits import Commit, CommitRecord

FULL = CommitRecord(
    partition="2024-03-01",
    run="r",
    source_digest="d",
    contract="c",
    rows_in=120,
    rows_quarantined=3,
    warnings="pieces.range: 2 rows",
    replayed=0,
    changed=("a", "b"),
)
ON_DISK = {
    "trainyard_partition": "2024-03-01",
    "trainyard_run": "r",
    "trainyard_source_digest": "d",
    "trainyard_contract": "c",
    "trainyard_rows_in": "120",
    "trainyard_rows_quarantined": "3",
    "trainyard_warnings": "pieces.range: 2 rows",
    "trainyard_replayed": "0",
    "trainyard_changed": "a,b",
}


def test_what_lies_on_disk_is_what_older_logs_have() -> None:
    assert FULL.metadata() == ON_DISK
    assert CommitRecord.of({**ON_DISK, "operation": "WRITE", "trainyard_of_tomorrow": "x"}) == FULL


@pytest.mark.parametrize("record", [CommitRecord(), CommitRecord(changed=()), CommitRecord(model=0, restored=7, decision="p")])
def test_nothing_and_none_are_told_apart(record: CommitRecord) -> None:
    assert CommitRecord.of(record.metadata()) == record


def test_a_count_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="rows_in"):
        CommitRecord.of({"trainyard_rows_in": "many"})


def test_several_partitions_of_one_commit_have_each_its_own_record() -> None:
    one, two = replace(FULL, stamp="s1"), replace(FULL, stamp="s2", rows_in=7, warnings=None, changed=None)
    together = CommitRecord.together({"1": one, "2": replace(two, changed=FULL.changed)})
    assert set(together.each["1"]) == {"stamp", "rows_in", "warnings"}, "what is the same in all is there once"
    again = CommitRecord.of(together.about(["1", "2"]).metadata())
    assert [again.part(key).stamp for key in ("1", "2", "3")] == ["s1", "s2", None]
    assert (again.part("2").rows_in, again.part("2").warnings, again.part("1").warnings) == (7, None, FULL.warnings)
    assert CommitRecord.together({"1": one}) == one


def test_a_secret_is_hidden_in_what_differs_too() -> None:
    records = {key: replace(FULL, warnings=f"{key}: https://me:hunter2@host/x") for key in "12"}
    assert "hunter2" not in str(CommitRecord.together(records).metadata())


def test_the_lake_returns_what_was_published(workspace: Workspace) -> None:
    lake = workspace.lake
    lake.publish("parcels/x", "2024-03-01", [lake.stage("parcels/x", "2024-03-01", pa.table({"a": [1]}))], FULL)
    last, created = lake.commits("parcels/x")
    assert (last.version, last.operation, last.restored_to, last.record) == (1, "WRITE", None, FULL)
    assert created.record == CommitRecord()
    lake.restore("parcels/x", 0, CommitRecord(restored=0))
    assert next(lake.commits("parcels/x")).restored_to == 0


def test_the_ledgers_commits_keep_their_keys(workspace: Workspace) -> None:
    workspace.ledger.record(Decision("p1", "parcels", Kind.KEPT, "2024-03-01", "why", "test", "r"))
    log = Path(workspace.lake.uri("parcels/decisions"), "_delta_log", f"{1:020d}.json")
    (info,) = (a["commitInfo"] for a in map(json.loads, log.read_text().splitlines()) if "commitInfo" in a)
    assert (info["decision"], info["run"]) == ("p1", "r")
    assert Commit.of(1, info).record == CommitRecord(decision="p1", run="r")
