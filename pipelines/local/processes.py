"""Processes on this machine: started each with a log, stopped with all that they started, found again after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipelines.errors import PermanentError

_STOP_SECONDS = 20
_KILL_SECONDS = 5
_CLOCK_SECONDS = 5  # by how much the start of one process may seem to differ from one look to the next


@dataclass(frozen=True)
class Service:
    """A started process, leader of a session of its own: what it starts stays in there, whoever its parent is by then."""

    name: str
    process: psutil.Popen
    log: Path


def run(log: Path, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
    """Until its end.

    Raises:
        PermanentError: it failed; its last words are in the message.
    """
    with log.open("wb") as out:
        done = subprocess.run(command, env=environment, cwd=folder, stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise PermanentError(f"`{' '.join(command)}` failed; its last words, from {log}:\n{_tail(log)}")


def start(name: str, log: Path, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Service:
    with log.open("wb") as out:
        process = psutil.Popen(
            command,
            env=environment,
            cwd=folder,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return Service(name, process, log)


def refuse_ended(services: Iterable[Service]) -> None:
    """
    Raises:
        PermanentError: one ended by itself; its last words are in the message.
    """
    for service in services:
        if service.process.poll() is not None:
            raise PermanentError(f"{service.name} ended by itself; its last words, from {service.log}:\n{_tail(service.log)}")


def stop(services: Sequence[Service]) -> None:
    """Ask all to end, then end whatever is left of them: tasks of the scheduler, Spark's JVMs."""
    for service in reversed(services):
        with suppress(ProcessLookupError):
            os.killpg(service.process.pid, signal.SIGTERM)
    psutil.wait_procs([service.process for service in services], _STOP_SECONDS)
    _end([service.process.pid for service in services])


def members(sessions: Iterable[int]) -> list[psutil.Process]:
    """The processes of these sessions, each named by its leader's number."""
    wanted = set(sessions)
    return [process for process in psutil.process_iter() if _session(process) in wanted]


def _session(process: psutil.Process) -> int | None:
    """None for a zombie, which has ended and only waits for its parent to notice, and for another user's."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (psutil.Error, OSError):
        return None


def _end(sessions: Sequence[int]) -> None:
    for _ in range(2):  # what was started between the look and the blow ends at the second
        left = members(sessions)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, _KILL_SECONDS)


def remember(file: Path, services: Iterable[Service]) -> None:
    """Write down who runs and who started it, for `stop_left_over`."""
    known = {"owner": _identity(psutil.Process()), "services": [_identity(service.process) for service in services]}
    file.write_text(json.dumps(known))


def stop_left_over(file: Path) -> None:
    """End what a killed run left behind.

    Raises:
        PermanentError: another run is at work right now.
    """
    if not file.exists():
        return
    known = json.loads(file.read_text())
    owner, services = known["owner"], known["services"]
    if psutil.pid_exists(owner["pid"]) and _is_same(owner):
        raise PermanentError(
            f"another demo or `make airflow` (process {owner['pid']}) is running in {file.parent}; stop it first"
        )
    _end([service["pid"] for service in services if _is_same(service)])
    file.unlink()


def _identity(process: psutil.Process) -> dict[str, float]:
    return {"pid": process.pid, "created": process.create_time()}


def _is_same(known: Mapping[str, float]) -> bool:
    """Whether the number still means that process: by now it may be somebody else's, or this machine was started anew.

    Of one that is gone the session may live on; until that ends as well, nobody else gets the number.
    """
    try:
        return abs(psutil.Process(int(known["pid"])).create_time() - known["created"]) < _CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return known["created"] > psutil.boot_time()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
