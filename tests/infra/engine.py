"""docker-compose.yaml on a real container engine, from a checkout made for it: own project, own image, own ports."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from tests.infra.reading import ask, read_env, wait_for

ROOT = Path(__file__).resolve().parents[2]


def run(*words: str, cwd: Path = ROOT, **more: Any) -> str:
    """What a command that must succeed wrote to its standard output."""
    done = subprocess.run(
        words, **{"cwd": cwd, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}, text=True, check=False
    )
    said = f"{done.stdout}{done.stderr or ''}"
    assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}:\n{said[-6000:]}"
    return str(done.stdout)


def private_checkout(folder: Path) -> Path:
    """This checkout as it stands, uncommitted edits included, made with umask 077: nobody but its owner may read it."""
    run("git", "clone", "--quiet", str(ROOT), str(folder), umask=0o077)
    changed, gone = (_listed("--modified", "--others"), _listed("--deleted"))
    for name in changed - gone:
        (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
        (folder / name).chmod((ROOT / name).stat().st_mode & 0o700)
    for name in gone:
        (folder / name).unlink()
    return folder


def _listed(*which: str) -> set[str]:
    return set(run("git", "ls-files", "-z", "--exclude-standard", *which).split("\0")) - {""}


def free_port() -> str:
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@dataclass
class Stack:
    """One project of Compose. Its image, containers, networks and volumes bear its name."""

    checkout: Path
    name: str
    output: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        quiet = {k: v for k, v in os.environ.items() if not k.startswith(("TRAINYARD", "AIRFLOW", "MLFLOW", "COMPOSE"))}
        return quiet | {"COMPOSE_PROJECT_NAME": self.name, "TRAINYARD_IMAGE": self.name, "BUILDKIT_PROGRESS": "plain"}

    @cached_property
    def settings(self) -> dict[str, str]:
        return read_env(self.checkout / ".env")

    @property
    def secrets(self) -> dict[str, str]:
        return {name: value for name, value in self.settings.items() if not name.endswith("_PORT")}

    def shell(self, line: str, **environment: str) -> str:
        """A line as README has it, in the checkout; all that it says."""
        return run("bash", "-c", f"set -euo pipefail; exec 2>&1; {line}", cwd=self.checkout, env=self.environment | environment)

    def compose(self, *words: str, **more: Any) -> str:
        return run("docker", "compose", *words, cwd=self.checkout, env=self.environment, **more)

    def inside(self, *words: str, service: str = "scheduler") -> str:
        return self.compose("exec", "-T", service, *words)

    def up(self) -> float:
        """Seconds until all are healthy. It must not build and not pull: the image is there."""
        began = time.monotonic()
        self.output["up"] = self.compose("up", "--wait", "--no-build", stderr=subprocess.STDOUT)
        return time.monotonic() - began

    def move_ports(self) -> None:
        """What README says of a taken port: one number each, in `.env`."""
        text = (self.checkout / ".env").read_text()
        for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "SERVING_PORT"):
            text, changed = re.subn(rf"(?m)^{name}=\d+$", f"{name}={free_port()}", text)
            assert changed == 1
        (self.checkout / ".env").write_text(text)

    @property
    def services(self) -> list[str]:
        """Those that stay up."""
        return self.compose("ps", "--services", "--status", "running").split()

    def container(self, service: str) -> dict[str, Any]:
        found = json.loads(run("docker", "inspect", self.compose("ps", "--all", "--quiet", service).strip()))
        return dict(found[0])

    def kill(self, service: str) -> None:
        """Kill a service's first process from outside, as the kernel does it: Docker knows nothing of it and restarts it."""
        pid = str(self.container(service)["State"]["Pid"])
        run("docker", "run", "--rm", "--pid=host", "--user=0", "--entrypoint=kill", self.name, "-9", pid)

    def left(self) -> list[str]:
        """What the engine still has of this project."""
        mine = f"label=com.docker.compose.project={self.name}"
        lists = [["ps", "--all"], ["volume", "ls"], ["network", "ls"]]
        kept = [run("docker", *words, "--quiet", "--filter", mine).split() for words in lists]
        images = run("docker", "image", "ls", "--quiet", "--filter", f"reference={self.name}*").split()
        return [*(each for some in kept for each in some), *images]

    def remove(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "10")
        if images := run("docker", "image", "ls", "--quiet", "--filter", f"reference={self.name}*").split():
            run("docker", "image", "rm", "--force", *images)

    @property
    def airflow(self) -> str:
        return f"http://127.0.0.1:{self.settings['AIRFLOW_PORT']}"

    @property
    def mlflow(self) -> str:
        return f"http://127.0.0.1:{self.settings['MLFLOW_PORT']}"

    @cached_property
    def token(self) -> str:
        login = {"username": "admin", "password": self.secrets["AIRFLOW_ADMIN_PASSWORD"]}
        status, answer = ask(f"{self.airflow}/auth/token", login)
        assert status == 201, answer
        return str(answer["access_token"])

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """One call of Airflow's API through the published port, as admin; asked again while its database comes back."""
        answers: list[Any] = []

        def answered() -> bool:
            answers[:] = ask(f"{self.airflow}/api/v2/{path}", body, {"Authorization": f"Bearer {self.token}"})
            return bool(answers[0] < 500)

        wait_for(answered, 60)
        assert answers[0] < 300, f"{path}: {answers}"
        return answers[1]


def require_engine() -> None:
    """Fails where no engine answers, so that nobody takes silence for a pass."""
    for words in (("docker", "info"), ("docker", "compose", "version")):
        if not shutil.which("docker") or subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.fail(f"NOTHING WAS TESTED: `{' '.join(words)}` does not answer, there is no container engine here")
