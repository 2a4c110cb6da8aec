"""Where a Spark job runs: on the warm Spark that the environment tells of, if it answers; else in a JVM of its own.

The warm one is a Spark Connect server (`warm_server`, which the local services start): a job there is a plain Python process
that waits for no JVM. Its address, with the token that it asks for, is in the file that `spark.connect` names.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.errors import PermanentError, TransientError
from pipelines.features.planning import FeaturePlan
from pipelines.use_case import ROOT
from pipelines.workspace import SparkSettings, Workspace

WHY = "build_features failed: "  # as spark_jobs/build_features.py has it
JOB = ROOT / "spark_jobs" / "build_features.py"
_ANSWER_SECONDS, _LOOK_SECONDS, _STOP_SECONDS = 1, 0.5, 5
_log = logging.getLogger(__name__)


def build(workspace: Workspace, plan: FeaturePlan) -> None:
    """Run the Spark job here, without Airflow.

    Raises:
        PermanentError: it failed; its last lines are in the message.
        TransientError: the warm Spark ended in mid-job.
    """
    settings, arguments = workspace.environment.spark, ["--plan", plan.uri]
    if run_warm(settings, JOB, arguments):
        return
    command = [*_submit(settings, settings.properties), str(JOB), *arguments]
    done = subprocess.run(command, env=spark_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise _failed(arguments, done.stdout + done.stderr)


def run_warm(settings: SparkSettings, job: Path, arguments: list[str]) -> bool:
    """Run a job on the warm Spark. False, and nothing is done, where there is none or it does not answer.

    Raises:
        PermanentError: the job failed; its last lines are in the message.
        TransientError: that Spark ended in mid-job.
    """
    address = warm_address(settings)
    if address is None:
        return False
    with tempfile.TemporaryFile("w+") as out:
        command, environment = [sys.executable, str(job), *arguments], {**spark_environment(), "SPARK_REMOTE": address}
        with subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT) as child:
            try:
                _watch(child, address)
            finally:
                _end(child)
        out.seek(0)
        said = out.read()
    for line in (f"{job.name} on the warm Spark", *said.splitlines()):
        _log.info("%s", line)
    if child.returncode and not _answers(address):
        raise TransientError(f"{job.name}: the warm Spark ended in mid-job")
    if child.returncode:
        raise _failed(arguments, said)
    return True


def warm_address(settings: SparkSettings) -> str | None:
    """Of the warm Spark, if there is one and it answers. It holds the token: not for logs."""
    file = Path(settings.connect) if settings.connect else None
    address = file.read_text() if file and file.exists() else ""
    return address if address and _answers(address) else None


def _answers(address: str) -> bool:
    at = urlsplit(address)
    with suppress(OSError), socket.create_connection((at.hostname, at.port), _ANSWER_SECONDS):
        return True
    return False


def _watch(child: subprocess.Popen[bytes], address: str) -> None:
    """Until the job ends, or that Spark does: for which the job's client would wait ten minutes."""
    while child.poll() is None and _answers(address):
        with suppress(subprocess.TimeoutExpired):
            child.wait(_LOOK_SECONDS)


def _end(child: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does, so that its session is closed, and with it ends what the job has running there."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def warm_server(settings: SparkSettings, port: int) -> list[str]:
    """The command of a warm Spark: on loopback only, for who has the token in SPARK_CONNECT_AUTHENTICATE_TOKEN.

    A heap that is full ends it, so that the next job finds none and goes its own way.
    """
    options = f"{settings.properties.get('spark.driver.extraJavaOptions', '')} -XX:+ExitOnOutOfMemoryError".strip()
    own = {
        "spark.driver.extraJavaOptions": options,
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
    }
    server = "org.apache.spark.sql.connect.service.SparkConnectServer"
    return [*_submit(settings, {**settings.properties, **own}), "--class", server, "spark-internal"]


def _submit(settings: SparkSettings, properties: dict[str, str]) -> list[str]:
    """pip's `spark-submit`, next to the interpreter in use, as far as all jobs have it."""
    flags = [part for name, value in properties.items() for part in ("--conf", f"{name}={value}")]
    return [str(Path(sys.executable).parent / "spark-submit"), *flags, "--driver-memory", settings.driver_memory]


def spark_environment() -> dict[str, str]:
    """The process's environment with Spark's workers on this very interpreter."""
    found = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    found.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    return found


def _failed(arguments: list[str], said: str) -> PermanentError:
    return PermanentError(f"{arguments[-1]}: the Spark job failed: {_why(said)}")


def _why(text: str) -> str:
    """The job's own explanation; without one, it did not come that far. `spark-submit` prints a job's stderr on its stdout."""
    _, found, why = text.rpartition(WHY)
    return why.splitlines()[0].strip() if found else text[-500:]
