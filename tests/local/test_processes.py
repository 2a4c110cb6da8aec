"""Services are stopped with everything that they started, also what left their process group or lost its parent."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.errors import PermanentError
from pipelines.local import processes
from pipelines.local.processes import Service

# As Airflow's scheduler has it: a task leads a process group of its own, and its parent may be gone before it.
TASK = "import os, signal, time; os.setpgid(0, 0); signal.signal(signal.SIGTERM, signal.SIG_IGN); print('task', flush=True)"
SCHEDULER = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {TASK + '; time.sleep(600)'!r}]); "


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    """Starts a Python program as a service; whatever is left at the end is ended by its number."""
    started: list[Service] = []

    def start(code: str) -> Service:
        log = tmp_path / f"service{len(started)}.log"
        started.append(processes.start("scheduler", log, [sys.executable, "-c", code], os.environ, tmp_path))
        return started[-1]

    yield start
    for each in started:
        for process in processes.members([each.process.pid]):
            process.kill()
        each.process.wait()


def alive(service: Service) -> int:
    return len(processes.members([service.process.pid]))


def task_runs(service: Service) -> bool:
    return "task" in service.log.read_text()


def test_a_service_and_its_tasks_are_gone_after_the_stop(service: Callable[[str], Service]) -> None:
    busy = service(SCHEDULER + "time.sleep(600)")
    until(lambda: task_runs(busy))
    assert alive(busy) == 2
    processes.stop([busy])
    assert alive(busy) == 0
    assert busy.process.returncode is not None


def test_an_orphan_of_a_service_that_ended_is_found(service: Callable[[str], Service]) -> None:
    ended = service(SCHEDULER + "time.sleep(1)")
    until(lambda: task_runs(ended) and ended.process.poll() is not None)
    assert alive(ended) == 1
    with pytest.raises(PermanentError, match=r"scheduler ended by itself; its last words, from \S+:\ntask"):
        processes.refuse_ended([ended])
    processes.stop([ended])
    assert alive(ended) == 0


def test_what_a_killed_run_left_behind_is_ended_by_the_next(service: Callable[[str], Service], tmp_path: Path) -> None:
    left, known = service(SCHEDULER + "time.sleep(600)"), tmp_path / "services.json"
    until(lambda: task_runs(left))
    processes.remember(known, [left])
    with pytest.raises(PermanentError, match=rf"\(process {os.getpid()}\) is running in {tmp_path}; stop it first"):
        processes.stop_left_over(known)
    assert alive(left) == 2
    owner_is_gone(known)
    processes.stop_left_over(known)
    assert alive(left) == 0
    assert not known.exists()


def test_a_number_that_is_somebody_else_s_by_now_is_left_alone(service: Callable[[str], Service], tmp_path: Path) -> None:
    other, known = service("import time; time.sleep(600)"), tmp_path / "services.json"
    processes.remember(known, [other])
    owner_is_gone(known, earlier=3600)
    processes.stop_left_over(known)
    assert alive(other) == 1


def test_nothing_remembered_is_nothing_to_do(tmp_path: Path) -> None:
    processes.stop_left_over(tmp_path / "services.json")
    assert not list(tmp_path.iterdir())


def owner_is_gone(known: Path, earlier: float = 0) -> None:
    """As if its owner had been killed; with `earlier`, as if the services had been started so many seconds before."""
    found = json.loads(known.read_text())
    found["owner"] = {"pid": psutil.Process().pid, "created": 0.0}
    found["services"] = [{**each, "created": each["created"] - earlier} for each in found["services"]]
    known.write_text(json.dumps(found))


def test_a_command_that_fails_says_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no such table'); raise SystemExit(3)"]
    with pytest.raises(PermanentError, match=r"failed; its last words, from \S+db.log:\nno such table"):
        processes.run(tmp_path / "db.log", command, os.environ, tmp_path)
