"""Files on disk, and on S3 against a real server that speaks its protocol; the lake on S3 with the environment's settings."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import DEVNULL, PIPE
from threading import Barrier

import boto3
import pyarrow as pa
import pytest
from google.api_core.exceptions import NotFound, ServiceUnavailable
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from pipelines.errors import PermanentError, TransientError
from pipelines.workspace import CommitRecord, files
from pipelines.workspace.environment import load_environment
from pipelines.workspace.lake import Lake
from pipelines.workspace.ledger import Decision, Kind, Ledger
from pipelines.workspace.registry import Registry
from tests.workspace.test_registry import META, fitted, rows

BUCKET = "workspace"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of an S3 server on this machine.

    In a process of its own: deltalake's `history` holds Python's lock while it waits for the network.
    """
    code = (
        "import sys, moto.server as m; s = m.ThreadedMotoServer('127.0.0.1', 0, verbose=False); s.start();"
        "print(*s.get_host_and_port(), flush=True); sys.stdin.read(); s.stop()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True) as server:
        assert server.stdout is not None
        host, port = server.stdout.readline().split()
        yield f"http://{host}:{port}"
        server.communicate("")


@pytest.fixture
def s3(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket, with the process's environment as on AWS but for the address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", store)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv("LAKE_BUCKET", BUCKET)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    files._s3.cache_clear()
    bucket = boto3.resource("s3").Bucket(BUCKET)
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield f"s3://{BUCKET}"
    bucket.objects.all().delete()
    bucket.delete()
    files._s3.cache_clear()


@pytest.fixture(params=["local", "file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("s3"))
    return f"file://{tmp_path}" if request.param == "file" else str(tmp_path)


def test_what_was_written_is_read_and_replaced_as_a_whole(place: str) -> None:
    uri = f"{place}/a/b.bin"
    assert not files.file_exists(uri)
    files.write_bytes(uri, b"first, and longer")
    files.write_bytes(uri, b"second")
    assert files.file_exists(uri)
    assert files.read_bytes(uri) == b"second"


def test_a_missing_file_is_a_permanent_error_that_names_it(place: str) -> None:
    with pytest.raises(PermanentError, match=r"a/none\.bin: no such (file|object)"):
        files.read_bytes(f"{place}/a/none.bin")


def test_neither_a_folder_nor_the_start_of_a_name_exists(place: str) -> None:
    files.write_bytes(f"{place}/a/part-10", b"x")
    assert not files.file_exists(f"{place}/a/part-1")
    assert not files.file_exists(f"{place}/a")


def test_files_are_listed_below_a_folder_and_not_beside_it(place: str) -> None:
    for name in ("a/2", "a/b/1", "ab/3"):
        files.write_bytes(f"{place}/{name}", name.encode())
    found = files.list_files(f"{place}/a")
    assert [uri.rsplit("/a/", 1)[1] for uri, _ in found] == ["2", "b/1"]
    assert [files.stamp_of(uri) for uri, _ in found] == [stamp for _, stamp in found]
    files.write_bytes(f"{place}/a/2", b"another")
    assert files.stamp_of(f"{place}/a/2") != found[0].stamp
    assert files.list_files(f"{place}/none") == []


def test_a_disk_that_fails_leaves_the_old_content_and_no_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_bytes(f"{tmp_path}/a", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TransientError, match=r"No space left on device.*free space"):
        files.write_bytes(f"{tmp_path}/a", b"new")
    assert [f.name for f in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_missing_bucket_is_a_permanent_error(s3: str) -> None:
    for act in (files.read_bytes, files.file_exists, files.list_files, lambda uri: files.write_bytes(uri, b"x")):
        with pytest.raises(PermanentError, match=r"s3://no-such-bucket.*no such bucket"):
            act("s3://no-such-bucket/a")


def test_a_store_that_does_not_answer_is_a_transient_error(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    files._s3.cache_clear()
    with pytest.raises(TransientError, match="s3://workspace/a"):
        files.read_bytes("s3://workspace/a")
    with pytest.raises(TransientError, match="s3://workspace/a"):
        files.write_bytes("s3://workspace/a", b"x")


@pytest.mark.parametrize(("raised", "seen"), [(NotFound("no"), PermanentError), (ServiceUnavailable("no"), TransientError)])
def test_google_errors_are_told_apart(raised: Exception, seen: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    class Blob:
        def download_as_bytes(self) -> bytes:
            raise raised

    monkeypatch.setattr(files, "_gs_blob", lambda uri: Blob())
    with pytest.raises(seen, match="gs://workspace/a"):
        files.read_bytes("gs://workspace/a")


def test_the_lake_on_s3_publishes_and_reads_with_the_aws_environment(s3: str) -> None:
    settings = load_environment("aws").lake
    lake = Lake(settings.root, settings.options)
    for day, value in (("2024-03-01", 1), ("2024-03-02", 2), ("2024-03-01", 3)):
        staged = lake.stage("parcels/x", day, pa.table({"a": [value]}))
        lake.publish("parcels/x", day, [staged], CommitRecord(plan=str(value)))
    assert lake.partitions("parcels/x") == {"2024-03-01": 1, "2024-03-02": 1}
    assert lake.read("parcels/x").column("a").to_pylist() == [3, 2]
    assert lake.published("parcels/x", "2024-03-01").record.plan == "3"
    assert lake.read("parcels/x", version=1).to_pylist() == [{"a": 1, "partition": "2024-03-01"}]


def test_of_two_writers_of_one_partition_on_s3_one_wins(s3: str) -> None:
    settings = load_environment("aws").lake
    start = Barrier(2)

    def publish(value: int) -> str:
        lake = Lake(settings.root, settings.options)
        staged = lake.stage("parcels/x", "2024-03-01", pa.table({"a": [value]}))
        start.wait()
        try:
            lake.publish("parcels/x", "2024-03-01", [staged], CommitRecord(plan=str(value)))
        except TransientError:
            return "lost"
        return "won"

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(publish, (1, 2)))
    lake = Lake(settings.root, settings.options)
    last = lake.published("parcels/x", "2024-03-01").record.plan
    assert "won" in outcomes
    assert lake.read("parcels/x").column("a").to_pylist() == [int(last)]
    assert outcomes.count("won") == lake.version("parcels/x")


def test_the_ledger_on_s3_takes_one_of_two_promotions(s3: str) -> None:
    settings = load_environment("aws").lake
    start = Barrier(2)

    def promote(version: int) -> bool:
        ledger = Ledger(Lake(settings.root, settings.options))
        decision = Decision(
            f"p{version}", "parcels", Kind.PROMOTED, "2024-03-01", "better", "test", "run",
            model_version=version, effective_from="2024-03-02",
        )  # fmt: skip
        start.wait()
        try:
            return ledger.move_champion(decision, expected=None)
        except PermanentError:
            return False

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(promote, (1, 2))) == [False, True]
    assert len(Ledger(Lake(settings.root, settings.options)).decisions("parcels")) == 1


def test_a_model_from_a_store_elsewhere_leaves_nothing_on_this_machine(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow downloads it into a new folder each time, and removes none of them."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db", f"{s3}/models")
    with registry.run("parcels", "test"):
        uri = registry.log_model(fitted(make_pipeline(SimpleImputer(), LogisticRegression())), rows().head(), META)
    assert (registry.load_uri("parcels", uri).predict(rows()) >= 0).all()
    assert not list((tmp_path / "temporary").iterdir())
