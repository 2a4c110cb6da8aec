"""A signed-in and an anonymous visitor of a real API server, on a lake with three months of history."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from visitor import Server

from pipelines.local.settings import settings
from pipelines.monitoring import Drift, Performance, publish
from pipelines.use_case import ROOT
from pipelines.workspace import Decision, StageRun, Workspace, open_workspace

_SECONDS = 120


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "airflow").mkdir()
    (folder / "use_cases").mkdir()
    known = (ROOT / "conf/use_cases/flight_delay.yaml").read_text()
    for name in ("flight_delay", "hidden"):
        (folder / f"use_cases/{name}.yaml").write_text(known.replace("name: flight_delay", f"name: {name}"))
    return folder


@pytest.fixture(scope="session")
def workspace(state: Path) -> Workspace:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINYARD_STATE", str(state))
        patch.setenv("TRAINYARD_ENVIRONMENT", "local")
        patch.setenv("TRAINYARD_USE_CASES", str(state / "use_cases"))
        opened = open_workspace("test")
    fill(opened)
    return opened


def fill(workspace: Workspace) -> None:
    from pipelines.use_case import load_use_case

    use_case = load_use_case("flight_delay")
    passed = Decision("first", "flight_delay", "promoted", "2013-03", "it passes all <gates>", "gates", "run", {"auc": 0.7})
    champion = replace(passed, model_version=1, effective_from="2013-04", effect=120345.0, effect_unit="USD")
    workspace.ledger.record(champion)
    fill_runs(workspace, champion)
    for month, auc in ((4, 0.71234), (5, 0.69876), (6, None)):
        key = f"2013-{month:02d}"
        report = f"flight_delay/drift/{key}-v1.html"
        drift = Drift(1, 0.0244 * month, ("humid",), 0.01, {"humid": 0.4}, report)
        seen = None if auc is None else Performance(1, 25000, 24000 + month, auc, 0.47011, 0.2, 0.2, 0.01, 1000.5 * month)
        publish(StageRun(workspace, use_case, use_case.period(key)), drift, seen)
        file = Path(workspace.environment.reports) / report
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<h1>drift of {key}</h1><script>1</script>")


def fill_runs(workspace: Workspace, champion: Decision) -> None:
    """A run that kept the champion, and two of one name in different DAGs."""
    gates = [
        {"gate": "quality", "passed": False, "sentence": "AUC < 0.6."},
        {"gate": "overfit", "passed": True, "sentence": ""},
    ]
    kept = replace(champion, id="k", kind="kept", run="manual__2013-05-01T00:00:00+00:00", evidence={"verdicts": gates})
    workspace.ledger.record(
        replace(kept, why="v1 stays. logistic failed quality: AUC < 0.6.", effective_from=None, effect=None)
    )
    earlier = replace(champion, run="scheduled__1", model_version=2, effective_from="2013-01")
    for kind in ("promoted", "training started"):
        workspace.ledger.record(replace(earlier, id=kind, kind=kind))


@pytest.fixture(scope="session")
def server(state: Path, workspace: Workspace) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINYARD_USE_CASES", str(state / "use_cases"))
        environment = settings(state, port, 1)
    facts, log = state / "facts.json", state / "server.log"
    command = [sys.executable, str(Path(__file__).with_name("server.py")), str(port), str(facts)]
    with log.open("wb") as out, subprocess.Popen(command, env=environment, cwd=state, stdout=out, stderr=out) as process:
        try:
            wait(process, port, log)
            yield Server(f"http://127.0.0.1:{port}", json.loads(facts.read_text()), state, environment)
        finally:
            process.terminate()


def wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"the API server did not start:\n{log.read_text()[-4000:]}")
