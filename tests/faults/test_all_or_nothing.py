"""What is published together is published whole, each part with its quarantine, or not at all, whatever breaks.

A source that breaks holds up no other.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake.exceptions import CommitFailedError, DeltaError, DeltaProtocolError
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import ingestion
from pipelines.errors import PermanentError, TransientError
from pipelines.results import Audited
from pipelines.use_case import UseCase
from pipelines.workspace import StageRun, Workspace
from tests import synthetic
from tests.conftest import make_workspace
from tests.ingestion.pipeline import contracted

TABLES = [f"parcels/{source}{more}" for source in ("shipments", "deliveries", "carriers")
          for more in ("", "_quarantine", "_unknown_columns")]  # fmt: skip


def state(workspace: Workspace) -> dict[str, Any]:
    """What every table holds, by partition: its files, and what the commit says that published them."""
    lake, found = workspace.lake, {}
    for table in TABLES:
        for key, rows in lake.partitions(table).items():
            commit = lake.published(table, key)
            found[f"{table} {key}"] = (rows, lake.published_files(table, key), commit and commit.record.source_digest)
    return found


def arrive(workspace: Workspace, run: StageRun) -> None:
    """A day with a rejected row and an unknown column in each source."""
    shipments, deliveries = synthetic.parcels(run.partition, 60)
    shipments = shipments.assign(colour="red").astype({"pieces": object})
    shipments.loc[3, "pieces"] = "many"
    deliveries = deliveries.assign(colour="red")
    deliveries.loc[5, "left_at"] = "never"
    synthetic.put(workspace, "shipments", run.partition, shipments)
    synthetic.put(workspace, "deliveries", run.partition, deliveries)
    synthetic.put(workspace, "carriers", run.partition, synthetic.carriers().assign(colour=["r", "g", run.key]))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, use_case: UseCase) -> tuple[Path, list[Audited]]:
    """A day that is published, and the next one, audited."""
    folder = tmp_path_factory.mktemp("audited")
    workspace = make_workspace(folder)
    before, after = (StageRun(workspace, use_case, day) for day in synthetic.days(use_case, 2))
    arrive(workspace, before)
    ingestion.ingest_all(before)
    arrive(workspace, after)
    return folder, ingestion.audit_all(after, [ingestion.land(after, source) for source in use_case.sources])


def copied(folder: Path, target: Path, use_case: UseCase) -> StageRun:
    shutil.copytree(folder, target, dirs_exist_ok=True)
    return StageRun(make_workspace(target), use_case, synthetic.days(use_case, 2)[1])


# the last source, broken in each way ---------------------------------------------------------------------------------

CARRIERS = synthetic.carriers().to_csv(index=False)
BROKEN: dict[str, str | bytes | None] = {
    "missing": None,
    "empty": "",
    "header only": "carrier,rating\n",
    "another delimiter": CARRIERS.replace(",", ";"),
    "not utf-8": CARRIERS.replace("AA", "ÀA").encode("latin-1"),
    "column missing": "carrier\nAA\n",
    "column twice": "carrier,rating,Rating\nAA,1,2\n",
    "key missing": "rating\n1\n",
    "ragged": CARRIERS + "DD\n",
    "open quote": CARRIERS + '"DD,1\nEE,2\n',
    "no header": "AA,1\n",
    "of another type": CARRIERS.replace("4.5", "good"),
    "out of range": CARRIERS.replace("4.5", "45"),
    "key twice": CARRIERS + "AA,1.0\n",
    "null in the key": CARRIERS.replace("AA", ""),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_source_that_breaks_is_not_published_and_holds_up_no_other(how: str, tmp_path: Path, use_case: UseCase) -> None:
    run = StageRun(make_workspace(tmp_path), use_case, synthetic.days(use_case, 1)[0])
    arrive(run.workspace, run)
    uri = synthetic.put(run.workspace, "carriers", run.partition, BROKEN[how] or "")
    if BROKEN[how] is None:
        Path(uri).unlink()
    with pytest.raises(PermanentError, match="parcels/carriers snapshot: "):
        ingestion.ingest_all(run)
    published = {table.removeprefix("parcels/").split(" ")[0].split("_")[0] for table in state(run.workspace)}
    assert published == {"shipments", "deliveries"}


@pytest.mark.parametrize("source", [0, 1, 2])
@pytest.mark.parametrize("how", ["rows are lost", "files are gone", "no file was staged", "the quarantine is lost"])
def test_what_breaks_at_publication_takes_the_others_back(
    how: str, source: int, audited: tuple[Path, list[Audited]], tmp_path: Path, use_case: UseCase
) -> None:
    run, items = copied(audited[0], tmp_path, use_case), list(audited[1])
    before = state(run.workspace)
    changes: dict[str, dict[str, Any]] = {
        "rows are lost": {"rows_in": items[source].rows_in + 1},
        "files are gone": {"staged": ("data/none.parquet",)},
        "no file was staged": {"staged": ()},
        "the quarantine is lost": {"quarantine": (), "rows_quarantined": 7, "rows_in": items[source].rows_in + 7},
    }
    items[source] = replace(items[source], **changes[how])
    with pytest.raises(PermanentError, match=items[source].table):
        ingestion.publish_all(run, items)
    assert state(run.workspace) == before


def test_a_type_that_the_table_does_not_have_is_found_before_anything_is_published(
    audited: tuple[Path, list[Audited]], tmp_path: Path, use_case: UseCase
) -> None:
    run, items = copied(audited[0], tmp_path, use_case), list(audited[1])
    path = f"{run.lake.uri(items[-1].table)}/{items[-1].staged[0]}"
    pq.write_table(pq.read_table(path).set_column(1, "rating", pa.array(["x"] * 3)), path)
    versions = [run.lake.version(table) for table in TABLES if run.lake.exists(table)]
    with pytest.raises(PermanentError, match="parcels/carriers: a column's type changed"):
        ingestion.publish_all(run, items)
    assert [run.lake.version(table) for table in TABLES if run.lake.exists(table)] == versions, "not even for a moment"


# storage that fails --------------------------------------------------------------------------------------------------


class PanicException(BaseException):
    """By this name a library in Rust panics."""


DISK: list[Callable[[], BaseException]] = [
    lambda: OSError(errno.ENOSPC, "No space left on device"),
    lambda: OSError(errno.EIO, "Input/output error"),
    lambda: PermissionError(errno.EACCES, "Permission denied"),
    lambda: NotADirectoryError(errno.ENOTDIR, "Not a directory"),
]
LIBRARY: list[Callable[[], BaseException]] = [
    *DISK,
    lambda: DeltaError("Generic S3 error"),
    lambda: DeltaProtocolError("Invalid log"),
    lambda: CommitFailedError("Version 3 exists"),
    lambda: Exception("External error: Schema error"),
    lambda: pa.ArrowInvalid("Parquet magic bytes not found"),
    lambda: pa.ArrowKeyError("no such field"),
    lambda: ValueError("Unexpected end of JSON"),
    lambda: PanicException("called unwrap on an Err"),
]
POINTS: dict[str, tuple[Any, str, list[Callable[[], BaseException]]]] = {
    "read": (Path, "read_bytes", DISK),
    "open": (Path, "open", DISK),
    "rename": (Path, "replace", DISK),
    "folder": (Path, "mkdir", DISK),
    "Delta: open": (deltalake, "DeltaTable", LIBRARY),
    "Delta: commit": (deltalake.DeltaTable, "create_write_transaction", LIBRARY),
    "Delta: files": (deltalake.DeltaTable, "get_add_actions", LIBRARY),
    "Delta: schema": (deltalake.DeltaTable, "schema", LIBRARY),
    "Delta: newest": (deltalake.DeltaTable, "update_incremental", LIBRARY),
    "Delta: create": (deltalake.DeltaTable, "create", LIBRARY),
    "Parquet: metadata": (pq, "read_metadata", LIBRARY),
    "Parquet: read": (pq, "ParquetFile", LIBRARY),
    "Parquet: write": (pq, "ParquetWriter", LIBRARY),
}
FAILURES = [(point, number) for point, (_, _, raised) in POINTS.items() for number in range(len(raised))]


@contextmanager
def failing(point: str, which: int, number: int) -> Iterator[list[int]]:
    """The `number`th call raises, once; those of before and after do what they did."""
    owner, name, raised = POINTS[point]
    original, calls = getattr(owner, name), [0]

    def call(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            raise raised[which]()
        return original(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, call)
        yield calls


@settings(max_examples=60)
@given(
    step=st.sampled_from(["land", "publish"]),
    failure=st.sampled_from(FAILURES),
    number=st.integers(1, 25),
)
def test_whatever_storage_raises_is_explained_and_leaves_nothing_half_published(
    step: str,
    failure: tuple[str, int],
    number: int,
    audited: tuple[Path, list[Audited]],
    tmp_path_factory: pytest.TempPathFactory,
    use_case: UseCase,
) -> None:
    run = copied(audited[0], tmp_path_factory.mktemp("storage"), use_case)
    before = state(run.workspace)

    def attempt() -> None:
        if step == "land":
            ingestion.land(run, "shipments")
        else:
            ingestion.publish_all(run, audited[1])

    with failing(*failure, number):
        try:
            attempt()
        except (PermanentError, TransientError) as error:
            failed = str(error)
        else:
            failed = ""
    if failed:
        assert "parcels/" in failed or str(run.lake.root) in failed
        assert state(run.workspace) == before
        attempt()
    assert step == "land" or len(state(run.workspace)) == 14, "two days of two sources with two tables beside, and carriers"


def test_an_exception_of_a_library_comes_out_as_one_of_ours(
    audited: tuple[Path, list[Audited]], tmp_path: Path, use_case: UseCase
) -> None:
    """The fuzz is not one that never fails anything: this very failure reaches the publication."""
    run = copied(audited[0], tmp_path, use_case)
    with failing("Parquet: metadata", 7, 2) as calls, pytest.raises(PermanentError, match="External error"):
        ingestion.publish_all(run, audited[1])
    assert calls[0] >= 2


def test_a_source_of_the_run_that_cannot_be_taken_back_is_named(
    audited: tuple[Path, list[Audited]], tmp_path: Path, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, items = copied(audited[0], tmp_path, use_case), list(audited[1])
    items[-1] = replace(items[-1], rows_in=9)

    def broken(*_: Any) -> None:
        raise TransientError("the disk is full")

    monkeypatch.setattr(type(run.lake), "put_back", broken)
    with pytest.raises(PermanentError, match=r"parcels/shipments 2024-03-02.* stays published without the rest"):
        ingestion.publish_all(run, items)


def test_the_invariant_of_a_snapshot_is_compared_with_what_is_published(tmp_path: Path, use_case: UseCase) -> None:
    run = StageRun(make_workspace(tmp_path), use_case, synthetic.days(use_case, 1)[0])
    volume = {"id": "volume", "measure": "row_count", "max_ratio": 2.0}
    run = replace(run, use_case=contracted(use_case, "carriers", invariants=[volume]))
    arrive(run.workspace, run)
    ingestion.ingest_all(run)
    synthetic.put(run.workspace, "carriers", run.partition, synthetic.carriers().head(1))
    with pytest.raises(PermanentError, match=r"carriers snapshot: invariant volume is broken: 1 rows where 3 are usual"):
        ingestion.ingest_all(run)
