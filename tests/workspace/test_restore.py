"""An older version can be read, and put back: with the quarantine that belongs to it, told once, and safe against a publish."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines import ingestion
from pipelines.__main__ import main
from pipelines.errors import PermanentError, TransientError
from pipelines.results import Published
from pipelines.use_case import Partition, UseCase, quarantine_table
from pipelines.workspace import StageRun
from pipelines.workspace.commits import CommitRecord
from pipelines.workspace.lake import Lake
from pipelines.workspace.ledger import Kind
from pipelines.workspace.restoring import restorable, restore
from pipelines.workspace.workspace import Workspace, open_workspace
from tests import synthetic
from tests.conftest import USE_CASES

TABLE = "parcels/shipments"
REASON = "the sender took the file back"


@pytest.fixture
def days(use_case: UseCase) -> list[Partition]:
    return synthetic.days(use_case, 2)


def ingest(workspace: Workspace, use_case: UseCase, day: Partition, heavy: int = 0, rows: int = synthetic.ROWS) -> int:
    """Ingest a day of which so many shipments are too heavy; the table's version after it."""
    synthetic.arrive(workspace, day, rows=rows)
    frame = synthetic.parcels(day, rows=rows)[0]
    frame.loc[: heavy - 1, "weight"] = 1500.0
    synthetic.put(workspace, "shipments", day, frame if heavy else synthetic.parcels(day, rows=rows)[0])
    ingestion.ingest_all(StageRun(workspace, use_case, day))
    return workspace.lake.version(TABLE)


def reconciles(workspace: Workspace, day: Partition) -> int:
    """Rows in, as the commit has it; raises where the tables say otherwise."""
    commit = workspace.lake.published(TABLE, day.key)
    ingestion.reconcile(workspace, [Published(TABLE, day.key, commit.version, commit.record.rows_in, 0, 0)])
    return commit.record.rows_in


def test_a_version_before_is_read_and_put_back(workspace: Workspace, use_case: UseCase, days: list[Partition]) -> None:
    first = ingest(workspace, use_case, days[0])
    before = workspace.lake.read(TABLE).to_pylist()
    ingest(workspace, use_case, days[0], rows=100)
    assert workspace.lake.read(TABLE, version=first).to_pylist() == before
    done = restore(workspace, use_case, TABLE, first, REASON, "tester")
    assert workspace.lake.read(TABLE).to_pylist() == before
    assert done.partitions == done.recompute == (days[0].key,)
    assert done.unreconciled == ()
    (decision,) = [d for d in workspace.ledger.decisions("parcels") if d.kind == Kind.RESTORED]
    assert decision.actor == "tester"
    assert REASON in decision.why
    assert decision.evidence["restored"] == first


def test_the_quarantine_goes_back_with_its_table(workspace: Workspace, use_case: UseCase, days: list[Partition]) -> None:
    """Put back alone, the table would hold rows of one file and the quarantine those of another."""
    first = ingest(workspace, use_case, days[0], heavy=2)
    ingest(workspace, use_case, days[0], heavy=5, rows=110)
    assert workspace.lake.partitions(quarantine_table(TABLE)) == {days[0].key: 5}
    done = restore(workspace, use_case, TABLE, first, REASON, "tester")
    assert done.quarantine is not None
    assert workspace.lake.partitions(quarantine_table(TABLE)) == {days[0].key: 2}
    assert reconciles(workspace, days[0]) == synthetic.ROWS


def test_the_rows_of_an_undone_replay_are_in_quarantine_again(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    first = ingest(workspace, use_case, days[0], heavy=3)
    contract = use_case.contract["shipments"]
    columns = {**contract.columns, "weight": contract.columns["weight"].model_copy(update={"max": 2000.0})}
    changed = {**use_case.contract, "shipments": contract.model_copy(update={"columns": columns})}
    mended = use_case.model_copy(update={"contract": changed})
    ingestion.replay(StageRun(workspace, mended, days[0]))
    done = restore(workspace, use_case, TABLE, first, REASON, "tester")
    assert [h.rows for h in ingestion.held(workspace, use_case)] == [3]
    assert reconciles(workspace, days[0]) == synthetic.ROWS
    assert done.unreconciled == ()
    (again,) = ingestion.replay(StageRun(workspace, mended, days[0]))
    assert (again.moved, again.rows_quarantined) == (3, 0)


def test_a_quarantine_that_no_version_fits_is_told(workspace: Workspace, use_case: UseCase, days: list[Partition]) -> None:
    first = ingest(workspace, use_case, days[0], heavy=2)
    record = CommitRecord(rows_quarantined=9, source_digest="other")
    rows = workspace.lake.read(TABLE, [days[0].key]).drop_columns(["partition"])
    odd = workspace.lake.publish(TABLE, days[0].key, [workspace.lake.stage(TABLE, days[0].key, rows)], record).version
    ingest(workspace, use_case, days[0], heavy=1)
    assert odd > first
    done = restore(workspace, use_case, TABLE, odd, REASON, "tester")
    assert done.unreconciled == (days[0].key,)
    assert f"Run ingestion again for {days[0].key}" in done.why


def test_a_run_that_died_after_the_restore_is_completed_once(
    workspace: Workspace, use_case: UseCase, days: list[Partition], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ingest(workspace, use_case, days[0], heavy=2)
    ingest(workspace, use_case, days[0], heavy=5)
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.workspace.restoring._complete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            restore(workspace, use_case, TABLE, first, REASON, "tester")
    version = workspace.lake.version(TABLE)
    for _ in range(2):
        done = restore(workspace, use_case, TABLE, first, REASON, "tester")
        assert (done.version, done.partitions) == (version, (days[0].key,))
    assert workspace.lake.partitions(quarantine_table(TABLE)) == {days[0].key: 2}
    assert len([d for d in workspace.ledger.decisions("parcels") if d.kind == Kind.RESTORED]) == 1


def test_a_publish_after_a_restore_works(workspace: Workspace, use_case: UseCase, days: list[Partition]) -> None:
    first = ingest(workspace, use_case, days[0])
    ingest(workspace, use_case, days[0], rows=100)
    restore(workspace, use_case, TABLE, first, REASON, "tester")
    ingest(workspace, use_case, days[0], rows=90)
    ingest(workspace, use_case, days[1])
    assert workspace.lake.partitions(TABLE) == {days[0].key: 90, days[1].key: synthetic.ROWS}
    assert reconciles(workspace, days[0]) == 90


def test_a_partition_from_after_the_version_is_gone_and_can_come_back(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    first = ingest(workspace, use_case, days[0])
    ingest(workspace, use_case, days[1])
    done = restore(workspace, use_case, TABLE, first, REASON, "tester")
    assert done.partitions == (days[1].key,)
    assert done.recompute == (), "there is nothing to compute from"
    assert list(workspace.lake.partitions(TABLE)) == [days[0].key]
    ingest(workspace, use_case, days[1])
    assert list(workspace.lake.partitions(TABLE)) == [d.key for d in days]


@pytest.mark.parametrize(
    ("table", "version", "reason", "says"),
    [
        ("parcels/decisions", 0, REASON, "no table that can be restored"),
        ("parcels/shipments_quarantine", 0, REASON, "did you mean parcels/shipments?"),
        ("parcels/shipment", 0, REASON, "did you mean parcels/shipments?"),
        ("parcels/predictions", 0, REASON, "what was served, for ever"),
        (TABLE, 99, REASON, "no version 99; it has 0 to 1"),
        (TABLE, -1, REASON, "no version -1"),
        (TABLE, 1, "  ", "needs a reason"),
    ],
)
def test_what_cannot_be_restored_is_said(
    workspace: Workspace, use_case: UseCase, table: str, version: int, reason: str, says: str
) -> None:
    publish(workspace.lake, "1", 1)
    with pytest.raises(PermanentError, match=says.replace("?", r"\?")):
        restore(workspace, use_case, table, version, reason, "tester")


# the lake under it -----------------------------------------------------------------------------------------------------


def publish(lake: Lake, partition: str, value: int, seen: int | None = None, **more: Any) -> int:
    staged = lake.stage(TABLE, partition, pa.table({"value": [value], **more}))
    return lake.publish(TABLE, partition, [staged], CommitRecord(), seen).version


def test_a_restore_that_races_a_publish_loses_and_says_so(workspace: Workspace) -> None:
    """With the library's own retries it would win, and undo what it never saw."""
    first = publish(workspace.lake, "1", 1)
    seen = publish(workspace.lake, "1", 2)
    publish(workspace.lake, "2", 3)
    with pytest.raises(TransientError, match="look at it, then restore again"):
        workspace.lake.restore(TABLE, first, CommitRecord(), seen)
    assert workspace.lake.read(TABLE)["value"].to_pylist() == [2, 3]


def test_a_publish_of_rows_read_before_a_restore_loses(workspace: Workspace) -> None:
    first = publish(workspace.lake, "1", 1)
    publish(workspace.lake, "1", 2)
    seen = workspace.lake.seen(TABLE, "1")
    workspace.lake.restore(TABLE, first, CommitRecord())
    with pytest.raises(TransientError, match="another run published it meanwhile"):
        publish(workspace.lake, "1", 22, seen)
    publish(workspace.lake, "1", 3, workspace.lake.seen(TABLE, "1"))
    assert workspace.lake.read(TABLE)["value"].to_pylist() == [3]


def test_the_commits_are_numbered_as_they_are_in_the_log(workspace: Workspace) -> None:
    """`DeltaTable.history` numbers from the version that was loaded, whatever came since."""
    versions = [publish(workspace.lake, "1", value) for value in range(3)]
    assert [c.version for c in workspace.lake.commits(TABLE)] == [3, 2, 1, 0]
    assert [c.version for c in workspace.lake.commits(TABLE, 1)] == [1, 0]
    assert [workspace.lake.published(TABLE, "1", v).version for v in versions] == versions


def test_every_partition_can_be_published_after_a_restore(workspace: Workspace) -> None:
    for value in range(3):
        for key in "12":
            publish(workspace.lake, key, value)
    workspace.lake.restore(TABLE, 2, CommitRecord())
    assert workspace.lake.read(TABLE)["value"].to_pylist() == [0, 0]
    for key in "12":
        publish(workspace.lake, key, 9)
    assert workspace.lake.read(TABLE)["value"].to_pylist() == [9, 9]


def test_a_column_from_after_the_version_comes_back_with_the_next_publish(workspace: Workspace) -> None:
    first = publish(workspace.lake, "1", 1)
    publish(workspace.lake, "2", 2, fuel=["x"])
    workspace.lake.restore(TABLE, first, CommitRecord())
    publish(workspace.lake, "2", 3, fuel=["y"])
    assert workspace.lake.read(TABLE).select(["value", "fuel"]).to_pylist() == [
        {"value": 1, "fuel": None},
        {"value": 3, "fuel": "y"},
    ]


def test_a_version_whose_files_are_gone_is_not_put_back(workspace: Workspace) -> None:
    first = publish(workspace.lake, "1", 1)
    (file,) = workspace.lake.files(TABLE)
    publish(workspace.lake, "1", 2)
    Path(file.uri).unlink()
    with pytest.raises(PermanentError, match="cannot be put back"):
        workspace.lake.restore(TABLE, first, CommitRecord())
    assert workspace.lake.read(TABLE)["value"].to_pylist() == [2]


# the command line ------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path))
    monkeypatch.setenv("TRAINYARD_USE_CASES", str(USE_CASES))
    monkeypatch.delenv("TRAINYARD_ENVIRONMENT", raising=False)
    return open_workspace("test")


def test_show_and_restore_from_the_command_line(
    state: Workspace, use_case: UseCase, days: list[Partition], capsys: pytest.CaptureFixture[str]
) -> None:
    first = ingest(state, use_case, days[0])
    ingest(replace(state, run="second"), use_case, days[0], rows=100)
    assert main(["show", TABLE, "--version", str(first), "--limit", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{TABLE} version {first} of {first + 1}: 120 rows in 1 partitions"
    assert json.loads(said[-1])["shipment_id"] == f"{days[0].key}-0000"
    assert main(["restore", TABLE, "--version", str(first), "--reason", REASON]) == 0
    assert f"{TABLE} was put back to version {first} (now {first + 2})" in capsys.readouterr().out
    assert main(["show", TABLE]) == 0
    assert "120 rows" in capsys.readouterr().out
    assert main(["restore", TABLE, "--version", str(first + 1)]) == 0
    assert state.ledger.decisions(use_case.name)[-1].why.endswith("No reason given.")
    assert main(["restore", TABLE, "--version", "77", "--reason", REASON]) == 1
    assert "no version 77" in capsys.readouterr().err


def test_quarantine_from_the_command_line(
    state: Workspace, use_case: UseCase, days: list[Partition], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quarantine", "parcels", "list"]) == 0
    assert "nothing in quarantine" in capsys.readouterr().out
    ingest(state, use_case, days[0], heavy=2)
    assert main(["quarantine", "parcels", "list"]) == 0
    assert "weight.range" in capsys.readouterr().out
    assert main(["quarantine", "parcels", "show", "--limit", "1"]) == 0
    said = capsys.readouterr().out
    assert "line 2: weight.range, value '1500.0'" in said
    assert "1 of 2 rows shown" in said
    assert main(["quarantine", "parcels", "replay"]) == 1
    assert "which partition?" in capsys.readouterr().err
    assert main(["quarantine", "parcels", "replay", "--partition", days[0].key]) == 0
    assert "2 stay (weight.range: 2)" in capsys.readouterr().out


def test_every_table_that_is_not_told_for_ever_can_be_restored(use_case: UseCase) -> None:
    assert restorable(use_case) == [
        f"parcels/{noun}" for noun in ("shipments", "deliveries", "carriers", "features", "labels", "monitoring")
    ]
