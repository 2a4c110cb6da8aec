"""Airflow and MLflow on this machine: loopback only, generated secrets, everything below the state folder."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import ROOT
from pipelines.environment import state_folder
from pipelines.errors import PermanentError, TransientError
from pipelines.local.api import Airflow

_STOP_SECONDS = 20
_START_SECONDS = 240
_AIRFLOW_PORT, _MLFLOW_PORT = 8080, 5000


@dataclass(frozen=True)
class Service:
    """A started process, in a session of its own so that it can be stopped with all its children."""

    name: str
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Addresses:
    airflow: str
    mlflow: str
    user: str
    password: str
    viewer_password: str


def secrets_of(state: Path) -> dict[str, str]:
    """Generated once, kept in a file that only the owner reads."""
    file = state / "secrets.json"
    if not file.exists():
        lengths = {"jwt": 48, "session": 24, "admin": 24, "viewer": 24}  # SHA-512 wants a key of 64 characters
        made = {name: secrets.token_urlsafe(length) for name, length in lengths.items()}
        made["fernet"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        write_private(file, json.dumps(made))
    return dict(json.loads(file.read_text()))


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)


def settings(state: Path, airflow_port: int, mlflow_port: int) -> dict[str, str]:
    """The environment of every process: `infra/services.env`, and what is of this machine only."""
    kept = secrets_of(state)
    home = state / "airflow"
    passwords = home / "passwords.json"
    write_private(passwords, json.dumps({"admin": kept["admin"], "viewer": kept["viewer"]}))
    airflow = {
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "CORE__FERNET_KEY": kept["fernet"],
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{airflow_port}/execution/",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(airflow_port),
        "API__BASE_URL": f"http://127.0.0.1:{airflow_port}",
        "API__SECRET_KEY": kept["session"],
        "API_AUTH__JWT_SECRET": kept["jwt"],
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
    }
    # Without its bytecode every task compiles its libraries anew.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        **shared_settings(),
        **{f"AIRFLOW__{name}": value for name, value in airflow.items()},
        "AIRFLOW_HOME": str(home),
        "TRAINYARD_STATE": str(state),
        "MLFLOW_PAGE": f"http://127.0.0.1:{mlflow_port}",
        "PYTHONPATH": str(ROOT),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
    }


def shared_settings() -> dict[str, str]:
    """What the local services and the containers both need."""
    lines = (ROOT / "infra" / "services.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@contextmanager
def running(state: Path | None = None) -> Iterator[Addresses]:
    """Start Airflow and MLflow, wait until they answer, stop them at the end whatever happens."""
    state = state or state_folder()
    stop_left_over(state)
    ports = free_port(_AIRFLOW_PORT), free_port(_MLFLOW_PORT)
    environment = settings(state, *ports)
    initialise(state, environment)
    kept = secrets_of(state)
    addresses = Addresses(
        f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}", "admin", kept["admin"], kept["viewer"]
    )
    services: list[Service] = []
    try:
        for name, command in commands(state, *ports).items():
            services.append(start(state, name, command, environment))
            _remember(state, services)
        wait_until_healthy(state, services, addresses)
        yield addresses
    finally:
        stop(services)
        (state / "services.json").unlink(missing_ok=True)


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
        list(pool.map(lambda name: run(state, name, migrations[name], environment), migrations))


def run(state: Path, name: str, command: list[str], environment: dict[str, str]) -> None:
    log = state / "logs" / f"{name}.log"
    with log.open("wb") as out:
        done = subprocess.run(command, env=environment, cwd=state, stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise PermanentError(f"`{' '.join(command)}` failed; its last words, from {log}:\n{_tail(log)}")


def start(state: Path, name: str, command: list[str], environment: dict[str, str]) -> Service:
    log = (state / "logs" / f"{name}.log").open("wb")
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
    return Service(name, subprocess.Popen(command, env=environment, cwd=state, start_new_session=True, **streams))


def wait_until_healthy(state: Path, services: list[Service], addresses: Addresses) -> None:
    """Until every part of Airflow reports itself healthy.

    Raises:
        PermanentError: a service ended; its last words are in the message.
        TransientError: it takes too long.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        for service in services:
            if service.process.poll() is not None:
                log = state / "logs" / f"{service.name}.log"
                raise PermanentError(f"{service.name} ended by itself; its last words, from {log}:\n{_tail(log)}")
        client = Airflow(addresses.airflow, addresses.user, addresses.password)
        if client.healthy():
            _ours(client)
            return
        time.sleep(0.5)
    raise TransientError(f"Airflow did not become healthy within {_START_SECONDS} s; look into {state / 'logs'}")


def _ours(client: Airflow) -> None:
    """Two starts in the same second may choose the same port: the other one's Airflow refuses our password.

    Raises:
        PermanentError: it is somebody else's that answers.
    """
    try:
        client.dags()
    except PermanentError as error:
        raise PermanentError(
            f"{client.address} is another Airflow, started at the same moment; run this again ({error})"
        ) from None


def stop(services: list[Service]) -> None:
    """Ask all to end, then end those that did not, with their children."""
    for service in reversed(services):
        _signal(service.process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for service in services:
        with suppress(subprocess.TimeoutExpired):
            service.process.wait(max(deadline - time.monotonic(), 0.1))
    for service in services:
        _signal(service.process.pid, signal.SIGKILL)
        service.process.wait()


def stop_left_over(state: Path) -> None:
    """End what a killed run of this checkout left behind.

    Raises:
        PermanentError: another run is at work here right now.
    """
    file = state / "services.json"
    if not file.exists():
        return
    left = json.loads(file.read_text())
    if _alive(left["owner"], "pipelines"):
        raise PermanentError(f"another demo or `make airflow` (process {left['owner']}) is running in {state}; stop it first")
    for pid in left["services"]:
        _signal(pid, signal.SIGKILL, only_if="airflow mlflow warm_scheduler")
    file.unlink()


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
    stop_left_over(state)
    shutil.rmtree(state, ignore_errors=True)


def _remember(state: Path, services: list[Service]) -> None:
    known = {"owner": os.getpid(), "services": [s.process.pid for s in services]}
    (state / "services.json").write_text(json.dumps(known))


def _alive(pid: int, word: str) -> bool:
    return any(w in _command_of(pid) for w in word.split())


def _command_of(pid: int) -> str:
    """The command line of a process, empty when there is none: a number may belong to somebody else by now."""
    done = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout


def _signal(pid: int, number: int, only_if: str | None = None) -> None:
    if only_if and not _alive(pid, only_if):
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _bin(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
