"""Fresh processes for what a gate tries there, without paying for their imports each time.

A server process imports what its gate needs and nothing else; for each request it forks a process that has seen neither
the training nor any other model. It starts in the background (`warm_up`) and ends with the process that asked for it.
A request is a folder's `request.json`; its answer stands beside it.
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

from pipelines.errors import TransientError
from pipelines.use_case import ROOT

_ERRORS, _TRANSIENT = "errors.txt", 75


class FreshProcesses:
    """At most one server per process and gate; one that was forked from another process starts its own."""

    def __init__(self, module: str) -> None:
        self._command = [sys.executable, "-m", module]
        self._lock = threading.Lock()
        self._owner = 0
        self._process: subprocess.Popen[bytes] | None = None

    def warm_up(self) -> None:
        """Start the server, if it does not run, and do not wait for it."""
        with self._lock:
            self._running()

    def problem(self, request: Path, timeout: float) -> str | None:
        """Have the request answered; what went wrong, in words. One request at a time.

        Raises:
            TransientError: something outside did not answer; it is to be tried again.
        """
        code = self._ask(request, timeout)
        if code is None:
            return f"it did not answer within {timeout:g} seconds"
        if code == 0:
            return None
        errors = request.parent / _ERRORS
        lines = errors.read_text().strip().splitlines() if errors.is_file() else []
        said = (lines or [f"the process ended with {code}"])[-1][:500]
        if code == _TRANSIENT:
            raise TransientError(said)
        return said

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            # One thread: boosting's threads wait for each other where the cores are busy, and one row needs no second one.
            env = {**os.environ, "OMP_NUM_THREADS": "1"}
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=env, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        return self._process

    def _stop(self, process: subprocess.Popen[bytes]) -> int:
        """Kill it and whatever it forked; its exit status, which is never 0."""
        self._process = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        return process.wait() or 1

    def _ask(self, request: Path, timeout: float) -> int | None:
        """The exit status of the process that answered; None where none did in time."""
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(f"{request}\n".encode())
                process.stdin.flush()
            except BrokenPipeError:
                return self._stop(process)
            ready, _, _ = select.select([process.stdout], [], [], timeout)
            if not ready:
                self._stop(process)
                return None
            said = process.stdout.readline()
            return int(said) if said else self._stop(process)


def serve(answer: Callable[[Path], None]) -> None:
    """In the server: fork a process for each request on standard input; say on standard output how it ended."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_answered(answer, Path(line.strip())))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _answered(answer: Callable[[Path], None], request: Path) -> int:
    """In the fresh process: what it prints, and why it failed, goes to a file beside the request."""
    with (request.parent / _ERRORS).open("w") as errors:
        os.dup2(errors.fileno(), 1)
        os.dup2(errors.fileno(), 2)
        try:
            answer(request)
        except TransientError as error:
            errors.write(str(error))
            return _TRANSIENT
        except SystemExit as stopped:
            errors.write(str(stopped))
            return 1
        except BaseException:  # whatever it is, it is the answer
            errors.write(traceback.format_exc())
            return 1
    return 0
