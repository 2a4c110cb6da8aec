"""The lake: nothing is seen before it is published, one partition is replaced as a whole, two writers cannot both win."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipelines.errors import PermanentError, TransientError
from pipelines.use_case import ROOT
from pipelines.workspace import CommitRecord, files
from pipelines.workspace.lake import Lake

TABLE = "parcels/x"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def publish(lake: Lake, partition: str, **columns: list[Any]) -> int:
    staged = lake.stage(TABLE, partition, pa.table(columns))
    return lake.publish(TABLE, partition, [staged], CommitRecord()).version


def values(lake: Lake, partitions: list[str] | None = None, version: int | None = None) -> list[Any]:
    return list(lake.read(TABLE, partitions, version).column("a").to_pylist())


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each call returned or raised; all start at the same moment."""
    start = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait()
        try:
            return call()
        except (PermanentError, TransientError) as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


# write, audit, publish ----------------------------------------------------------------------------------------------


def test_staged_files_are_invisible_until_they_are_published(lake: Lake) -> None:
    staged = lake.stage(TABLE, "1", pa.table({"a": [1]}))
    assert not lake.exists(TABLE)
    assert lake.partitions(TABLE) == {}
    publish(lake, "1", a=[5])
    assert values(lake) == [5]
    lake.publish(TABLE, "1", [staged], CommitRecord())
    assert values(lake) == [1]


def test_publishing_replaces_exactly_one_partition(lake: Lake) -> None:
    publish(lake, "1", a=[1, 2])
    publish(lake, "2", a=[3])
    publish(lake, "1", a=[4])
    assert lake.partitions(TABLE) == {"1": 1, "2": 1}
    assert lake.read(TABLE).to_pylist() == [{"a": 4, "partition": "1"}, {"a": 3, "partition": "2"}]


def test_publishing_again_gives_the_same_content(lake: Lake) -> None:
    staged = [lake.stage(TABLE, "1", pa.table({"a": [n]})) for n in (1, 2)]
    for _ in range(2):
        assert lake.publish(TABLE, "1", staged, CommitRecord()).rows == 2
        assert sorted(values(lake)) == [1, 2]


def test_an_empty_file_empties_the_partition(lake: Lake) -> None:
    publish(lake, "1", a=[1])
    lake.publish(TABLE, "1", [lake.stage(TABLE, "1", pa.table({"a": pa.array([], pa.int64())}))], CommitRecord())
    assert lake.partitions(TABLE) == {"1": 0}


def test_nothing_staged_is_refused(lake: Lake) -> None:
    with pytest.raises(PermanentError, match=r"parcels/x 1: nothing was staged"):
        lake.publish(TABLE, "1", [], CommitRecord())


def test_creators_of_one_table_at_once_make_one_table_with_the_columns_of_all(lake: Lake) -> None:
    """The library's own retry would commit the second creator's schema over the first one's."""
    found = at_once(*(partial(publish, lake, name, **{name: [1]}) for name in "abcd"))
    assert [f for f in found if isinstance(f, Exception)] == []
    created = [c["version"] for c in lake.delta(TABLE).history() if c["operation"] == "CREATE TABLE"]
    assert created == [0]
    assert {f.name for f in lake.delta(TABLE).schema().fields} == {"a", "b", "c", "d", "partition"}
    assert lake.partitions(TABLE) == dict.fromkeys("abcd", 1)


def test_a_crash_before_the_commit_leaves_the_old_rows(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(lake, "1", a=[1])

    def crash(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "_commit", crash)
        with pytest.raises(MemoryError):
            publish(lake, "1", a=[2])
    assert values(lake) == [1]


def test_a_jobs_files_are_found_and_its_markers_are_not(lake: Lake) -> None:
    area = lake.staging_area(TABLE, "1")
    for name in ("part-0.snappy.parquet", "_SUCCESS", ".part-0.snappy.parquet.crc"):
        files.write_bytes(f"{lake.uri(TABLE)}/{area}/{name}", b"x")
    assert lake.staged_files(TABLE, area) == [f"{area}/part-0.snappy.parquet"]
    assert lake.staging_area(TABLE, "1") != area


# two writers --------------------------------------------------------------------------------------------------------


def test_of_first_writers_of_one_partition_one_wins_and_the_others_are_told(lake: Lake) -> None:
    for key in ("p1", "p2", "p3", "p4", "p5"):
        found = at_once(*(partial(publish, lake, key, a=[n, n, n]) for n in range(3)))
        won = [n for n, f in enumerate(found) if isinstance(f, int)]
        assert all(isinstance(f, int | TransientError) for f in found)
        assert won
        # Those that started after a winner had finished replace its rows; never do the rows of two stand side by side.
        assert values(lake, [key]) in [[n] * 3 for n in won]


def stale_publish(lake: Lake, partition: str, value: int, meanwhile: Callable[[], Any]) -> None:
    """Publish, with `meanwhile` called between the look at the table and the commit."""
    staged, seen = lake.stage(TABLE, partition, pa.table({"a": [value]})), lake._open_or_create
    calls: list[int] = []

    def open_late(table: str, schema: Any) -> Any:
        delta = seen(table, schema)
        if not calls:
            calls.append(1)
            meanwhile()
        return delta

    lake._open_or_create = open_late  # type: ignore[method-assign]
    lake.publish(TABLE, partition, [staged], CommitRecord())


@pytest.mark.parametrize("before", [[], [0]], ids=["first publication", "later publication"])
def test_a_writer_that_was_overtaken_is_refused(lake: Lake, before: list[int]) -> None:
    other = Lake(lake.root)
    publish(other, "other", a=[9])
    for value in before:
        publish(other, "1", a=[value])
    with pytest.raises(TransientError, match=r"parcels/x 1: another run published it meanwhile; run this one again"):
        stale_publish(lake, "1", 2, meanwhile=lambda: publish(other, "1", a=[1]))
    assert values(other, ["1"]) == [1]


def test_a_writer_overtaken_in_another_partition_goes_on(lake: Lake) -> None:
    other = Lake(lake.root)
    publish(other, "2", a=[0])
    stale_publish(lake, "1", 1, meanwhile=lambda: publish(other, "2", a=[2]))
    assert values(other) == [1, 2]


def test_the_librarys_own_retry_would_let_two_first_writers_win(lake: Lake) -> None:
    """Why `_commit` asks for no retries: the day this fails, the library has mended it."""
    publish(lake, "other", a=[9])
    stale = [lake.delta(TABLE) for _ in range(2)]
    for number, delta in enumerate(stale):
        actions, _, _ = lake._adds(TABLE, "1", [lake.stage(TABLE, "1", pa.table({"a": [number]}))])
        delta.create_write_transaction(actions, "overwrite", delta.schema(), ["partition"], [("partition", "=", "1")])
    assert sorted(values(lake, ["1"])) == [0, 1]


def test_writers_of_different_partitions_both_succeed(lake: Lake) -> None:
    found = at_once(*(partial(publish, lake, f"p{n}", a=[n]) for n in range(4)))
    assert [f for f in found if isinstance(f, Exception)] == []
    assert values(lake) == [0, 1, 2, 3]


def publish_each(lake: Lake, **values: int) -> int:
    staged = {key: [lake.stage(TABLE, key, pa.table({"a": [value]}))] for key, value in values.items()}
    return lake.publish_each(TABLE, staged, CommitRecord(run="bulk", plan="p"))[0].version


def test_several_partitions_are_replaced_in_one_commit_and_no_other_is(lake: Lake) -> None:
    for key, value in (("p1", 1), ("p2", 2), ("p4", 4)):
        publish(lake, key, a=[value])
    before = lake.version(TABLE)
    assert publish_each(lake, p2=20, p3=30) == before + 1
    assert lake.read(TABLE).to_pydict() == {"a": [1, 20, 30, 4], "partition": ["p1", "p2", "p3", "p4"]}
    assert {key: c.version for key, c in lake.published_each(TABLE, ["p1", "p2", "p3"]).items()} == {
        "p1": before - 2, "p2": before + 1, "p3": before + 1,
    }  # fmt: skip
    assert [lake.seen(TABLE, key) for key in ("p1", "p2", "p3")] == [1, 2, 1]
    assert lake.published(TABLE, "p3").record.plan == "p"


def test_one_of_several_partitions_that_was_overtaken_stops_all(lake: Lake) -> None:
    publish(lake, "p1", a=[1])
    seen = lake.seen_each(TABLE, ["p1", "p2"])
    publish(lake, "p2", a=[2])
    staged = {key: [lake.stage(TABLE, key, pa.table({"a": [9]}))] for key in ("p1", "p2")}
    with pytest.raises(TransientError, match=r"parcels/x p2: another run published it meanwhile"):
        lake.publish_each(TABLE, staged, CommitRecord(), seen)
    assert values(lake) == [1, 2]


def test_a_partition_that_is_published_again_alone_has_a_commit_of_its_own(lake: Lake) -> None:
    """Also with the record of the commit that published several, as a publication that is taken back has it."""
    first = publish_each(lake, p1=1, p2=2)
    publish(lake, "p1", a=[10])
    record = lake.published(TABLE, "p2").record
    lake.put_back(TABLE, "p1", lake.published_files(TABLE, "p1"), record, lake.seen(TABLE, "p1"))
    assert lake.published(TABLE, "p1").version == first + 2
    assert lake.published(TABLE, "p2").version == first
    lake.restore(TABLE, first, CommitRecord(run="test"))
    assert lake.published(TABLE, "p1").version == first
    with pytest.raises(TransientError, match="p1"):
        lake.publish_each(TABLE, {"p1": lake.published_files(TABLE, "p1")}, CommitRecord(), {"p1": 3})


def test_rows_are_appended_unless_the_check_says_no(lake: Lake) -> None:
    rows = pa.table({"a": [1]})
    assert lake.append(TABLE, "1", lambda _: rows, CommitRecord(), lambda: True) is not None
    assert lake.append(TABLE, "1", lambda _: rows, CommitRecord(), lambda: False) is None
    assert values(lake) == [1]


def test_the_check_of_an_append_is_asked_again_after_a_lost_commit(lake: Lake) -> None:
    """Of appends under "only if there are fewer than two rows", two succeed."""
    publish(lake, "0", a=[0])

    def append(number: int) -> int | None:
        rows = pa.table({"a": [number]})
        return lake.append(TABLE, "1", lambda _: rows, CommitRecord(), lambda: sum(lake.partitions(TABLE).values()) < 2)

    found = at_once(*(partial(append, n) for n in range(3)))
    assert len([f for f in found if f is not None]) == 1
    assert lake.partitions(TABLE) == {"0": 1, "1": 1}


# columns ------------------------------------------------------------------------------------------------------------


def test_a_new_column_is_null_in_older_files(lake: Lake) -> None:
    publish(lake, "1", a=[1])
    publish(lake, "2", a=[2], b=["x"])
    assert lake.read(TABLE).to_pylist() == [{"a": 1, "b": None, "partition": "1"}, {"a": 2, "b": "x", "partition": "2"}]
    assert lake.read(TABLE, ["1"], columns=["b"]).to_pylist() == [{"b": None, "partition": "1"}]
    assert lake.read(TABLE, version=1).column_names == ["a", "partition"]


def test_a_partition_without_a_column_leaves_the_column_to_the_others(lake: Lake) -> None:
    publish(lake, "1", a=[1], b=[2.0])
    publish(lake, "2", a=[3])
    assert [f.name for f in lake.delta(TABLE).schema().fields] == ["a", "b", "partition"]
    assert lake.read(TABLE, ["1"]).to_pylist() == [{"a": 1, "b": 2.0, "partition": "1"}]


def test_a_column_that_changes_its_type_is_refused(lake: Lake) -> None:
    publish(lake, "1", a=[1])
    with pytest.raises(PermanentError, match=r"parcels/x: a column's type changed \(a was .*long.*is .*string"):
        publish(lake, "2", a=["one"])
    assert values(lake) == [1]


def test_an_unknown_column_is_named(lake: Lake) -> None:
    publish(lake, "1", a=[1])
    with pytest.raises(PermanentError, match=r"parcels/x: no column b; it has a, partition"):
        lake.read(TABLE, columns=["b"])


# versions -----------------------------------------------------------------------------------------------------------


def test_a_pinned_version_reads_the_same_rows_after_a_republication(lake: Lake) -> None:
    pinned = publish(lake, "1", a=[1])
    publish(lake, "1", a=[2])
    assert values(lake, version=pinned) == [1]
    assert values(lake) == [2]


def test_a_restored_table_tells_which_publication_it_holds(lake: Lake) -> None:
    first = publish(lake, "1", a=[1])
    publish(lake, "1", a=[2])
    lake.restore(TABLE, first, CommitRecord(run="test"))
    assert values(lake) == [1]
    assert lake.published(TABLE, "1").version == first
    again = publish(lake, "1", a=[3])
    assert lake.published(TABLE, "1").version == again


def test_a_version_that_is_not_there_is_refused(lake: Lake) -> None:
    publish(lake, "1", a=[1])
    with pytest.raises(PermanentError, match="parcels/x: no version 7; it has 0 to 1"):
        lake.restore(TABLE, 7, CommitRecord())


def test_a_table_outlives_the_clean_up_of_its_first_log_files(lake: Lake) -> None:
    """With Delta's 30 days, version 0 goes once there are checkpoints: the ledger would seem empty one day."""
    schema = pa.schema([("a", pa.int64()), ("partition", pa.string())])
    short = {"delta.checkpointInterval": "2", "delta.logRetentionDuration": "interval 1 day"}
    DeltaTable.create(lake.uri(TABLE), schema=schema, partition_by=["partition"], configuration=short)
    for n in range(6):
        publish(lake, f"p{n}", a=[n])
        for file in Path(lake.uri(TABLE), "_delta_log").iterdir():
            os.utime(file, (time.time() - 3 * 86400,) * 2)
    assert not Path(lake.uri(TABLE), "_delta_log", f"{0:020d}.json").exists()
    assert values(lake) == [0, 1, 2, 3, 4, 5]


def test_old_versions_are_kept_for_years(lake: Lake) -> None:
    publish(lake, "1", a=[1])
    assert lake.delta(TABLE).metadata().configuration["delta.logRetentionDuration"] == "interval 3650 days"


# read ---------------------------------------------------------------------------------------------------------------


def test_a_missing_table_and_a_missing_partition_say_what_to_do(lake: Lake) -> None:
    with pytest.raises(PermanentError, match=r"parcels/x: no such table .*run the stage that publishes it first"):
        lake.read(TABLE)
    assert lake.published(TABLE, "1") is None
    publish(lake, "1", a=[1])
    with pytest.raises(PermanentError, match="parcels/x: no rows for 2; run the stage"):
        lake.read(TABLE, ["2"])
    assert lake.published(TABLE, "2") is None


def test_a_commit_says_who_published_what(lake: Lake) -> None:
    staged = lake.stage(TABLE, "1", pa.table({"a": [1]}))
    lake.publish(TABLE, "1", [staged], CommitRecord(run="r"))
    publish(lake, "2", a=[2])
    found = lake.published(TABLE, "1")
    assert (found.record.run, found.version) == ("r", 1)


def test_a_process_that_reads_a_table_ends_well(lake: Lake) -> None:
    """`DeltaTable.to_pyarrow_table` aborts about every second interpreter at its exit."""
    publish(lake, "1", a=list(range(1000)))
    code = f"from pipelines.workspace.lake import Lake; print(Lake({lake.root!r}).read({TABLE!r}).num_rows)"
    commands = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(5)]
    ends = [(c.communicate(timeout=60)[0].strip(), c.returncode) for c in commands]
    assert ends == [("1000", 0)] * 5


def test_the_latest_moment_of_a_column_is_in_the_log(lake: Lake) -> None:
    """Rounded up to what Delta keeps; what never ends, and what is not there, is unknown; also beyond the 32nd column."""
    moment = pa.timestamp("us", "UTC")
    late, never = datetime(2024, 3, 1, 12, 0, 0, 123456, UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)
    wide = {f"c{n}": pa.array([1, 2]) for n in range(40)}
    many = {"at": [late, None], "ends": [late, never], "none": [None, None]}
    rows = pa.table({**wide, **{name: pa.array(values, moment) for name, values in many.items()}})
    lake.publish(TABLE, "2024-03-01", [lake.stage(TABLE, "2024-03-01", rows)], CommitRecord())
    (found,) = lake.latest(TABLE, "at").values()
    assert found == datetime(2024, 3, 1, 12, 0, 0, 124000, UTC)
    assert lake.latest(TABLE, "ends") == lake.latest(TABLE, "none") == {"2024-03-01": None}
    assert lake.latest("parcels/nothing", "at") == {}


def test_what_another_process_did_to_a_table_is_seen_at_once(tmp_path: Path) -> None:
    """Also where the table was erased and made anew: what a reader keeps of the log is good only while it is the newest."""
    reader, writer = Lake(str(tmp_path)), Lake(str(tmp_path))

    def publish(key: str) -> None:
        writer.publish("a/b", key, [writer.stage("a/b", key, pa.table({"x": [1]}))], CommitRecord())

    for key in ("1", "2"):
        publish(key)
        assert list(reader.partitions("a/b"))[-1] == key
    shutil.rmtree(tmp_path / "a")
    assert reader.partitions("a/b") == {}
    publish("3")
    assert reader.partitions("a/b") == {"3": 1}
