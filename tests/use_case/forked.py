"""A test in a process of its own that need not import the libraries again: forked from one that has nothing but them."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import pytest

# Not `tests.conftest`, which each process reads anew: it obeys the environment that the process was given.
LIBRARIES = (
    *("deltalake", "evidently", "fastapi.testclient", "great_expectations", "hypothesis", "mlflow.sklearn", "optuna", "pandas"),
    *("mlflow.store.tracking.sqlalchemy_store", "pyarrow.compute", "pyspark.sql", "scipy.stats", "sklearn.ensemble"),
    *("sklearn.linear_model", "tests.use_case.forked"),
)


def in_a_process(test: str, out: Path, **environment: str) -> int:
    """The exit code of pytest with the test; what it says goes to `out`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    process = context.Process(target=_run, args=(test, out, environment))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run(test: str, out: Path, environment: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]
    os.environ |= environment
    with out.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(pytest.main(["-q", "-x", "-m", "not long", test]))
