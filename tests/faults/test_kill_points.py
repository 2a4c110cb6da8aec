"""Kill -9 and full disks at every step of land, audit, publish, quarantine and replay: a re-run mends everything.

How: tests/faults/kill_harness.py.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long  # some dozens of processes are killed
ROOT = Path(__file__).parents[2]
CLEAR = ("TransientError", "PermanentError")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What came of every trial."""
    folder = tmp_path_factory.mktemp("kill")
    command = [sys.executable, "-m", "tests.faults.kill_harness", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads((folder / "report.json").read_text())
    print(f"{len(found['trials'])} trials in {found['seconds']:.0f} s")
    return found["trials"]


def of(report: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [trial for trial in report if trial["kind"] == kind]


def wrong(trials: list[dict[str, Any]]) -> list[str]:
    return [f"{t['scenario']}, point {t['number']} ({t['point']}): {w}" for t in trials for w in t["wrong"]]


def test_a_kill_at_any_point_leaves_whole_partitions_and_a_rerun_mends_all(report: list[dict[str, Any]]) -> None:
    trials = of(report, "kills")
    assert len(trials) >= 60
    assert {t["signal"] for t in trials} == {signal.SIGKILL}
    assert wrong(trials) == []


def test_kill_points_are_at_every_boundary(report: list[dict[str, Any]]) -> None:
    """So that a renamed function does not quietly take its points away."""
    points = {t["point"] for t in of(report, "kills")}
    assert points == {
        "a file's bytes: half written",
        "a file: written, not yet in place",
        "workspace.files.write_bytes: after",
        "validation.check.check_rows: before",
        "Lake._open_or_create: before",
        "Lake._open_or_create: after",
        "Lake._commit: before",
        "Lake._commit: half written",
        "Lake._commit: after",
    }


def test_a_failing_write_is_told_clearly_and_a_rerun_mends_all(report: list[dict[str, Any]]) -> None:
    trials = of(report, "disk")
    assert {t["point"] for t in trials} == {"a file's bytes: half written", "Lake._commit: no space for the log"}
    assert {t["signal"] for t in trials} == {0}
    assert [f"{t['point']}: {t['told']}" for t in trials if t["told"].get("error") not in CLEAR] == []
    assert wrong(trials) == []


def test_a_publish_by_plain_overwrite_is_found_out(report: list[dict[str, Any]]) -> None:
    """The planted defect: delete in one commit, add in the next."""
    found = wrong(of(report, "planted"))
    assert any(re.search(r"parcels/shipments:.* readable, but (\d+) of \1 rows are missing", w) for w in found), found
