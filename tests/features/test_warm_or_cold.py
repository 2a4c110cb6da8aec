"""Which Spark takes a job, without any: a listening socket stands for the warm one, a small program for the job."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.errors import PermanentError, TransientError
from pipelines.features import run_warm, warm_server
from pipelines.workspace import SparkSettings

SETTINGS: dict[str, Any] = {"operator": "spark_submit", "connection": "x", "driver_memory": "1g", "dataproc": None}


@pytest.fixture
def settings(tmp_path: Path) -> SparkSettings:
    return SparkSettings(**SETTINGS, properties={}, connect=str(tmp_path / "spark"))


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[socket.socket]:
    """Something listens at the address that the file tells."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "spark").write_text(f"sc://localhost:{server.getsockname()[1]}/;token=abc")
        yield server


def job(folder: Path, code: str) -> Path:
    file = folder / "job.py"
    file.write_text(code)
    return file


def test_without_an_address_or_an_answer_nothing_is_run(settings: SparkSettings, tmp_path: Path) -> None:
    program = job(tmp_path, "raise SystemExit('it was run')")
    assert not run_warm(settings.model_copy(update={"connect": None}), program, [])
    assert not run_warm(settings, program, [])
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    (tmp_path / "spark").write_text(f"sc://localhost:{port}/;token=abc")
    assert not run_warm(settings, program, [])


@pytest.mark.usefixtures("answering")
def test_the_job_gets_address_and_arguments_and_is_heard(
    settings: SparkSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipelines")
    program = job(tmp_path, "import os, sys; print(os.environ['SPARK_REMOTE'].startswith('sc://localhost:'), *sys.argv[1:])")
    assert run_warm(settings, program, ["--plan", "plan.json"])
    said = [text for logger, _, text in caplog.record_tuples if logger.startswith("pipelines.")]  # others may say more
    assert said == ["job.py on the warm Spark", "True --plan plan.json"]
    assert "abc" not in caplog.text, "the token is nobody's business"


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "sys.exit('one frame\\nbuild_features failed: feature x = 1/0: [DIVIDE_BY_ZERO]\\nmore')",
            "feature x = 1/0: [DIVIDE_BY_ZERO]",
        ),
        ("sys.exit('no such module')", "no such module\n"),
    ],
)
def test_a_failure_is_told_in_the_job_s_words(
    code: str, said: str, settings: SparkSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(PermanentError) as failed:
        run_warm(settings, job(tmp_path, f"import sys; {code}"), ["--plan", "plan.json"])
    assert str(failed.value) == f"plan.json: the Spark job failed: {said}"
    assert said.strip() in caplog.text


def test_a_warm_spark_that_ends_in_mid_job_is_an_error_to_be_tried_again(
    answering: socket.socket, settings: SparkSettings, tmp_path: Path
) -> None:
    """Its client would ask again for ten minutes; the job's explanation of an error that is none of its own is not told."""
    program = job(tmp_path, "import time\ntry: time.sleep(60)\nfinally: print('build_features failed: feature x = 1: gone')")
    threading.Timer(1.0, answering.close).start()
    since = time.monotonic()
    with pytest.raises(TransientError, match="the warm Spark ended in mid-job"):
        run_warm(settings, program, [])
    assert time.monotonic() - since < 30


@pytest.mark.usefixtures("answering")
def test_who_is_interrupted_ends_the_job_which_says_good_bye(settings: SparkSettings, tmp_path: Path) -> None:
    program = job(
        tmp_path,
        f"import pathlib, time\npathlib.Path({str(tmp_path / 'begun')!r}).touch()\n"
        f"try: time.sleep(60)\nfinally: pathlib.Path({str(tmp_path / 'closed')!r}).touch()",
    )

    def interrupt() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_warm(settings, program, [])
    assert (tmp_path / "closed").exists()
    # Asked of all: what another test left may be a zombie, whose own `cmdline()` raises.
    assert [p.pid for p in psutil.process_iter(["cmdline"]) if str(program) in (p.info["cmdline"] or ())] == []


def test_the_server_is_started_as_the_environment_says_and_on_loopback() -> None:
    given = {"spark.driver.extraJavaOptions": "-XX:+UseParallelGC", "spark.sql.shuffle.partitions": "2"}
    command = warm_server(SparkSettings(**SETTINGS, properties=given), 15002)
    assert command[0] == str(Path(sys.executable).parent / "spark-submit")
    text = " ".join(command)
    for wanted in (
        "--conf spark.driver.extraJavaOptions=-XX:+UseParallelGC -XX:+ExitOnOutOfMemoryError",
        "--conf spark.sql.shuffle.partitions=2",
        "--conf spark.connect.grpc.binding.address=127.0.0.1",
        "--driver-memory 1g",
    ):
        assert wanted in text
