"""Airflow and MLflow on this machine: loopback only, generated secrets, everything below the state folder."""

from __future__ import annotations

import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pipelines.errors import PermanentError, TransientError
from pipelines.features import spark_environment, warm_server
from pipelines.local import processes
from pipelines.local.credentials import secrets_of, write_private
from pipelines.local.processes import Service
from pipelines.local.settings import settings
from pipelines.use_case import ROOT
from pipelines.workspace import load_environment, state_folder

_START_SECONDS = 240
_AIRFLOW_PORT, _MLFLOW_PORT, _SPARK_PORT = 8080, 5000, 15002


@dataclass(frozen=True)
class Addresses:
    airflow: str
    mlflow: str
    user: str
    password: str
    viewer_password: str


@contextmanager
def running(state: Path | None = None, changed: Mapping[str, str] = MappingProxyType({})) -> Iterator[Addresses]:
    """Start Airflow, MLflow and a warm Spark, wait until the first two answer, stop all at the end whatever happens.

    `changed` are variables of their environment that are not as usual.
    """
    state = state or state_folder()
    known = _known(state)
    processes.stop_left_over(known)
    ports = free_port(_AIRFLOW_PORT), free_port(_MLFLOW_PORT)
    environment = {**settings(state, *ports), **changed}
    initialise(state, environment)
    services: list[Service] = []
    try:
        for name, command in commands(state, *ports).items():
            services.append(processes.start(name, _log(state, name), command, environment, state))
            processes.remember(known, services)
        addresses = _addresses(state, *ports)
        with warm_spark(state, environment) as spark:
            processes.remember(known, [*services, *spark])
            wait_until_healthy(services, addresses)
            yield addresses
    finally:
        processes.stop(services)
        known.unlink(missing_ok=True)


@contextmanager
def warm_spark(state: Path, environment: dict[str, str]) -> Iterator[list[Service]]:
    """A warm Spark where the environment's file asks for one. Nobody waits for it, and without it all goes on."""
    settings = load_environment().spark
    if not settings.connect:
        yield []
        return
    port, token = free_port(_SPARK_PORT), secrets.token_urlsafe(32)
    environment = {**spark_environment(), **environment, "SPARK_CONNECT_AUTHENTICATE_TOKEN": token}
    service = processes.start("spark", _log(state, "spark"), warm_server(settings, port), environment, state)
    address = Path(settings.connect)
    try:
        write_private(address, f"sc://localhost:{port}/;token={token}")  # by this name its client sends a token without TLS
        yield [service]
    finally:
        address.unlink(missing_ok=True)
        processes.stop([service])


def _addresses(state: Path, airflow_port: int, mlflow_port: int) -> Addresses:
    kept = secrets_of(state)
    return Addresses(
        airflow=f"http://127.0.0.1:{airflow_port}",
        mlflow=f"http://127.0.0.1:{mlflow_port}",
        user="admin",
        password=kept["admin"],
        viewer_password=kept["viewer"],
    )


def commands(state: Path, airflow_port: int, mlflow_port: int) -> dict[str, list[str]]:
    """What is started, by name. Without `--skip-serve-logs` the log servers would listen on every address."""
    return {
        "api-server": [_bin("airflow"), "api-server", "--host", "127.0.0.1", "--port", str(airflow_port)],
        "scheduler": [sys.executable, str(ROOT / "infra" / "local" / "warm_scheduler.py"), "--skip-serve-logs"],
        "dag-processor": [_bin("airflow"), "dag-processor"],
        "triggerer": [_bin("airflow"), "triggerer", "--skip-serve-logs"],
        "mlflow": [
            _bin("mlflow"), "server", "--host", "127.0.0.1", "--port", str(mlflow_port),
            "--backend-store-uri", mlflow_database(state), "--default-artifact-root", f"file://{state}/mlflow/artifacts",
        ],
    }  # fmt: skip


def mlflow_database(state: Path) -> str:
    return f"sqlite:///{state}/mlflow/mlflow.db"


def initialise(state: Path, environment: dict[str, str]) -> None:
    """Both databases at the versions of the installed packages; safe to repeat."""
    for folder in ("airflow/logs", "mlflow/artifacts", "logs", "reports", "lake"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    # MLflow's before its first use: two first users at once would race on the migration.
    migrations = {
        "airflow-db": [_bin("airflow"), "db", "migrate"],
        "mlflow-db": [_bin("mlflow"), "db", "upgrade", mlflow_database(state)],
    }
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: processes.run(_log(state, name), migrations[name], environment, state), migrations))


def wait_until_healthy(services: list[Service], addresses: Addresses) -> None:
    """Until every part of Airflow reports itself healthy.

    Raises:
        PermanentError: a service ended, or it is somebody else's Airflow that answers: two starts in the same second may
            choose the same port, and then it refuses our password.
        TransientError: it takes too long.
    """
    from pipelines.local.api import Airflow

    airflow = Airflow(addresses.airflow, addresses.user, addresses.password, tries_again=0)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        processes.refuse_ended(services)
        try:
            if airflow.healthy():
                return
        except PermanentError as error:
            raise PermanentError(
                f"{addresses.airflow} is another Airflow, started at the same moment; run this again ({error})"
            ) from None
        time.sleep(0.5)
    raise TransientError(f"Airflow did not become healthy within {_START_SECONDS} s; look into {services[0].log.parent}")


def free_port(wanted: int) -> int:
    """`wanted`, or another free port on loopback where it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise PermanentError("no free port on 127.0.0.1")


def erase(state: Path) -> None:
    """Remove everything that runs have made."""
    processes.stop_left_over(_known(state))
    shutil.rmtree(state, ignore_errors=True)


def _known(state: Path) -> Path:
    """Where it stands what is running."""
    return state / "services.json"


def _log(state: Path, name: str) -> Path:
    return state / "logs" / f"{name}.log"


def _bin(name: str) -> str:
    return str(Path(sys.executable).parent / name)
