"""Fresh processes for the inference test, without paying for their imports each time.

A server process imports what scoring needs and nothing else; for each request it forks a process that has seen neither
the training nor any other model. It starts in the background (`warm_up`) and ends with the process that asked for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from pipelines.use_case import ROOT

ERRORS = "errors.txt"
_COMMAND = [sys.executable, "-m", "pipelines.gates.inference"]


class _Server:
    """At most one per process; one that was forked from another process starts its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner = 0
        self.process: subprocess.Popen[bytes] | None = None

    def running(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.owner != os.getpid() or self.process.poll() is not None:
            # One thread: boosting's threads wait for each other where the cores are busy, and one row needs no second one.
            env = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.owner = os.getpid()
            self.process = subprocess.Popen(
                _COMMAND, cwd=ROOT, env=env, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        return self.process

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """Kill it and whatever it forked; its exit status, which is never 0."""
        self.process = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        return process.wait() or 1


_SERVER = _Server()


def warm_up() -> None:
    """Start the server, if it does not run, and do not wait for it."""
    with _SERVER.lock:
        _SERVER.running()


def ask(request: Path, timeout: float) -> int | None:
    """The exit status of the process that answered; None where none did in time. One request at a time."""
    with _SERVER.lock:
        process = _SERVER.running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{request}\n".encode())
            process.stdin.flush()
        except BrokenPipeError:
            return _SERVER.stop(process)
        ready, _, _ = select.select([process.stdout], [], [], timeout)
        if not ready:
            _SERVER.stop(process)
            return None
        said = process.stdout.readline()
        return int(said) if said else _SERVER.stop(process)


def serve(answer: Callable[[Path], None]) -> None:
    """In the server: fork a process for each request on standard input; say on standard output how it ended."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_answered(answer, Path(line.strip())))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _answered(answer: Callable[[Path], None], request: Path) -> int:
    """In the fresh process: what it prints, and why it failed, goes to a file beside the request."""
    with (request.parent / ERRORS).open("w") as errors:
        os.dup2(errors.fileno(), 1)
        os.dup2(errors.fileno(), 2)
        try:
            answer(request)
        except SystemExit as stopped:
            errors.write(str(stopped))
            return 1
        except BaseException:  # whatever it is, it is the answer
            errors.write(traceback.format_exc())
            return 1
    return 0
