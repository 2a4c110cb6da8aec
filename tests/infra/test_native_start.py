"""Every service of docker-compose.yaml starts: its own command, its own environment, its own health check, no containers.

What a container engine would do is done here by hand and no more: variables are filled in, the image's and the volumes'
paths become folders of the test, each service gets a loopback address of its own, which is what it finds at `127.0.0.1`
and the others at its name, ports become free ones, and Postgres's first start does what its image's entry point does.
Airflow is only spoken to over HTTP.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.reading import ask, read_env, wait_for

ROOT = Path(__file__).resolve().parents[2]
PORTS = ("5432", "8080", "5000")
PATIENCE = 150.0
# Whichever test comes first pays for the start of the stack.
pytestmark = pytest.mark.timeout(300)

# From the image's entry point.
FIRST_START = 'initdb --username=postgres --pwfile=<(printf "%s\\n" "$POSTGRES_PASSWORD") $POSTGRES_INITDB_ARGS'
# Runs in the scheduler's task process: proves the executor, the execution API, the environment file and the registry.
PROBE_DAG = """
from airflow.sdk import dag, task

@dag(schedule=None, is_paused_upon_creation=False)
def infra_probe():
    @task
    def log_a_note() -> str:
        from pipelines.workspace import open_workspace

        workspace = open_workspace("infra")
        with workspace.registry.run("infra_probe", "probe"):
            workspace.registry.mlflow.log_text("written by a task", "note.txt")
        return workspace.environment.lake.root

    log_a_note()

infra_probe()
"""


class NotReady(RuntimeError):
    """A service ended, or was not healthy in time; the message ends with its log."""


@dataclass
class NativeStack:
    """The services of a Compose document as processes of this machine. `up` starts them in order, `down` leaves none."""

    document: dict[str, Any]
    folder: Path
    secrets: dict[str, str]
    binaries: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ready: set[str] = field(default_factory=set)

    @property
    def services(self) -> dict[str, Any]:
        """Those that `up` starts when it is told no profile."""
        return {name: s for name, s in self.document["services"].items() if "profiles" not in s}

    @cached_property
    def ports(self) -> dict[str, str]:
        """Port in the file to a free one. They are let go before use: nothing else on a test machine takes them so fast."""
        sockets = {port: socket.socket() for port in PORTS}
        for sock in sockets.values():
            sock.bind(("", 0))
        free = {port: str(sock.getsockname()[1]) for port, sock in sockets.items()}
        for sock in sockets.values():
            sock.close()
        return free

    def address(self, service: str) -> str:
        """All of 127.0.0.0/8 is this machine: a service that asks itself for what another one has finds nothing, as in a
        container."""
        return f"127.0.0.{list(self.services).index(service) + 2}"

    @cached_property
    def paths(self) -> dict[str, Path]:
        """Container path to folder: the image's code is the checkout, each named volume a folder of the test."""
        mounts = [mount.split(":") for service in self.services.values() for mount in service.get("volumes", [])]
        volumes = {m[1]: self.folder / m[0] for m in mounts if m[0] in self.document.get("volumes", {})}
        return {"/opt/trainyard/dags": self.folder / "dags", "/opt/trainyard": ROOT, **volumes}

    def native(self, service: str, text: str) -> str:
        """A word of a service's command or environment, as it is on this machine. Secrets come last, untouched."""
        names = "|".join(map(re.escape, self.services))
        text = re.sub(r"127\.0\.0\.1|0\.0\.0\.0", self.address(service), text)
        text = re.sub(rf"(?<=[@/])({names})(?=:\d)", lambda m: self.address(m[0]), text)
        text = re.sub(rf"(?<!\d)({'|'.join(PORTS)})(?!\d)", lambda m: self.ports[m[0]], text)
        for path, folder in self.paths.items():
            text = text.replace(path, str(folder))
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")
        return re.sub(r"\$\{(\w+):\?([^}]+)\}", lambda m: self.secret(m[1], m[2]), text)

    def secret(self, name: str, mend: str) -> str:
        if not self.secrets.get(name):
            raise LookupError(f"{name} is not set: {mend}")
        return self.secrets[name]

    def environment(self, service: str) -> dict[str, str]:
        """What the file says, and of this machine no more than where programs are: nothing leaks in from the tester."""
        said = self.services[service]
        shared = read_env(ROOT / said["env_file"]) if "env_file" in said else {}
        given = {k: self.native(service, v) for k, v in {**shared, **said.get("environment", {})}.items()}
        path = os.pathsep.join([str(Path(sys.executable).parent), self.binaries, os.environ["PATH"]])
        return {"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8", **given}

    def command(self, service: str, words: list[str]) -> list[str]:
        return [self.native(service, word) for word in words]

    def log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def start(self, service: str, **extra: Any) -> None:
        with self.log(service).open("wb") as log:
            self.processes[service] = subprocess.Popen(
                self.command(service, self.services[service]["command"]),
                **{"env": self.environment(service), "cwd": self.folder, **extra},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def up(self, patience: float = PATIENCE) -> None:
        """Start each service once what it depends on is ready, until all are.

        Raises:
            NotReady: one ended, or took too long.
        """
        deadline = time.monotonic() + patience
        while waiting := [name for name in self.services if name not in self.ready]:
            for name in waiting:
                self.advance(name)
            if time.monotonic() > deadline:
                raise NotReady(self.report(f"not ready after {patience:.0f} s", waiting))
            time.sleep(0.3)

    def advance(self, service: str) -> None:
        if service not in self.processes:
            if self.ready.issuperset(self.services[service].get("depends_on", {})):
                self.start(service)
        elif self.is_ready(service):
            self.ready.add(service)

    def is_ready(self, service: str) -> bool:
        """Ended well, for a one-shot service; else still running and healthy by its own check."""
        code = self.processes[service].poll()
        one_shot = self.services[service].get("restart") == "no"
        if code not in (None, 0) or (code == 0 and not one_shot):
            raise NotReady(self.report(f"ended with {code}", [service]))
        return code == 0 if one_shot else self.is_healthy(service)

    def is_healthy(self, service: str) -> bool:
        kind, *words = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        check = subprocess.run(
            self.command(service, words), env=self.environment(service), capture_output=True, timeout=30, check=False
        )
        return check.returncode == 0

    def report(self, what: str, services: list[str]) -> str:
        tails = [f"--- {s}\n{self.log(s).read_text(errors='replace')[-4000:]}" for s in services if self.log(s).exists()]
        return "\n".join([f"{', '.join(services)}: {what}", *tails])

    def down(self) -> None:
        """Clients before the database, as Compose does: each by its stop signal, then whatever is left of its session."""
        for wave in (True, False):
            names = [n for n in self.processes if bool(self.services[n].get("depends_on")) is wave]
            for name in names:
                self.processes[name].send_signal(signal.Signals[self.services[name].get("stop_signal", "SIGTERM")])
            for name in names:
                end(self.processes[name])


def end(process: subprocess.Popen[bytes], grace: float = 4.0) -> None:
    """Shorter than the triggerer's ten seconds of leave-taking: nothing here is worth waiting for."""
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    while left := session(process.pid):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def session(leader: int) -> list[int]:
    """Processes of the session that a service was started in, by any parent: an orphan keeps its session."""
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and session_of(p) == leader]


def session_of(process: Path) -> int | None:
    try:
        # After the name, which may hold blanks: state, parent, group, session. A zombie (Z) runs no more.
        state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return None
    return None if state == "Z" else int(session)


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    return document


def postgres_binaries(document: dict[str, Any]) -> Path:
    """Debian's programs of the major version that the file's image has."""
    image: str = document["services"]["postgres"]["image"]
    major = image.removeprefix("postgres:").partition("-")[0].partition(".")[0]
    folder = Path("/usr/lib/postgresql") / major / "bin"
    if not (folder / "initdb").is_file():
        pytest.skip(f"Postgres {major} is not installed, so that no service was started: apt-get install postgresql-{major}")
    return folder


def owner() -> dict[str, Any]:
    """Postgres refuses to run as root: as root, its processes are the `postgres` user's, like in the image."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def first_postgres_start(stack: NativeStack) -> Iterator[None]:
    """What the image's entry point does on an empty volume: initdb with the superuser's password, start."""
    # Not below tmp_path, which is closed to other users; short, for the socket's name has at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="trainyard-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(home, "postgres", "postgres")
        environment = stack.environment("postgres") | {"PGDATA": str(home / "data")}
        run_as_owner(["bash", "-c", FIRST_START], home, environment)
        listen_like_the_image(home, stack.address("postgres"))
        stack.start("postgres", env=environment, cwd=home, **owner())
        yield
    finally:
        stack.down()
        shutil.rmtree(home)


def listen_like_the_image(home: Path, address: str) -> None:
    with (home / "data" / "postgresql.conf").open("a") as settings:
        settings.write(f"listen_addresses = '{address}'\nunix_socket_directories = '{home}'\nfsync = off\n")
    with (home / "data" / "pg_hba.conf").open("a") as access:
        access.write("host all all all scram-sha-256\n")


def run_as_owner(command: list[str], home: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False, **owner())
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


def new_secrets(folder: Path) -> dict[str, str]:
    subprocess.run([sys.executable, ROOT / "infra" / "docker" / "make-env", folder / ".env"], check=True, capture_output=True)
    return {name: value for name, value in read_env(folder / ".env").items() if not name.endswith("_PORT")}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeStack]:
    document = compose()
    binaries = postgres_binaries(document)
    folder = tmp_path_factory.mktemp("stack")
    (folder / "dags").mkdir()
    (folder / "dags" / "infra_probe.py").write_text(PROBE_DAG)
    stack = NativeStack(document, folder, new_secrets(folder), str(binaries))
    with first_postgres_start(stack):
        stack.up()
        yield stack
    assert [name for name, process in stack.processes.items() if session(process.pid)] == []


def airflow(stack: NativeStack, path: str) -> str:
    return f"http://{stack.address('api-server')}:{stack.ports['8080']}{path}"


def log_in(stack: NativeStack, password: str) -> tuple[int, Any]:
    return ask(airflow(stack, "/auth/token"), {"username": "admin", "password": password})


@pytest.mark.e2e
def test_every_service_is_healthy_by_its_own_check(stack: NativeStack) -> None:
    assert stack.ready == set(stack.services)
    assert [name for name in stack.services if name != "init" and not stack.is_healthy(name)] == []


@pytest.mark.e2e
def test_only_the_admin_password_opens_airflow(stack: NativeStack) -> None:
    assert log_in(stack, "admin")[0] == 401
    assert ask(airflow(stack, "/api/v2/dags"))[0] == 401
    assert log_in(stack, stack.secrets["AIRFLOW_ADMIN_PASSWORD"])[0] == 201


@pytest.mark.e2e
def test_mlflow_answers_to_its_own_names_only(stack: NativeStack) -> None:
    url = f"http://{stack.address('mlflow')}:{stack.ports['5000']}/api/2.0/mlflow/experiments/search?max_results=1"
    assert ask(url, headers={"Host": f"mlflow:{stack.ports['5000']}"})[0] == 200
    assert ask(url, headers={"Host": "rebound.example"})[0] == 403


@pytest.mark.e2e
def test_no_secret_is_in_a_log_or_a_command_line(stack: NativeStack) -> None:
    logs = {name: stack.log(name).read_text(errors="replace") for name in stack.services}
    lines = {name: Path(f"/proc/{p.pid}/cmdline").read_text() for name, p in stack.processes.items() if p.poll() is None}
    texts = [*logs.items(), *lines.items()]
    assert [(name, secret) for name, text in texts for secret, value in stack.secrets.items() if value in text] == []


@pytest.mark.e2e
def test_a_task_runs_and_reaches_the_lake_and_the_registry(stack: NativeStack) -> None:
    token = log_in(stack, stack.secrets["AIRFLOW_ADMIN_PASSWORD"])[1]["access_token"]
    runs = airflow(stack, "/api/v2/dags/infra_probe/dagRuns")
    bearer = {"Authorization": f"Bearer {token}"}
    wait_for(lambda: ask(airflow(stack, "/api/v2/dags/infra_probe"), headers=bearer)[0] == 200, 60)
    run = ask(runs, {"logical_date": None}, headers=bearer)[1]["dag_run_id"]
    wait_for(lambda: ask(f"{runs}/{run}", headers=bearer)[1]["state"] in ("success", "failed"), 90)
    assert ask(f"{runs}/{run}", headers=bearer)[1]["state"] == "success", stack.report("the probe failed", ["scheduler"])
    notes = list((stack.folder / "state" / "mlflow" / "artifacts").rglob("note.txt"))
    assert [note.read_text() for note in notes] == ["written by a task"]


def test_a_service_that_never_gets_healthy_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    sleepy = {"command": ["bash", "-c", "echo yawn; sleep 300 & sleep 300"], "healthcheck": {"test": ["CMD", "false"]}}
    stack = NativeStack({"services": {"sleepy": sleepy}}, tmp_path, {})
    try:
        with pytest.raises(NotReady, match=r"sleepy: not ready after 1 s\n--- sleepy\nyawn"):
            stack.up(patience=1)
        assert len(session(stack.processes["sleepy"].pid)) >= 2
    finally:
        stack.down()
    assert session(stack.processes["sleepy"].pid) == []


def test_a_missing_secret_stops_the_start_and_says_the_mend(tmp_path: Path) -> None:
    stack = NativeStack(compose(), tmp_path, {})
    with pytest.raises(LookupError, match="POSTGRES_PASSWORD is not set: run infra/docker/make-env"):
        stack.start("postgres")
