"""One row and a thousand rows by HTTP: the API beside MLflow's own server and a bare FastAPI route, with one champion.

    .venv/bin/python benchmarks/serving.py [--use-case flight_delay] [--seconds 10] [--rounds 3] [--load 0]

Works on a copy of the state folder (var/, or TRAINYARD_STATE), whose use case needs a champion. The three servers are asked in
turn, by one client for latency and by four for requests per second; rows are those of the newest published features. The bare
route checks the same types, makes a DataFrame and calls `predict_proba`: no contract, no token, nothing kept.

`--load MINUTES` instead asks ours alone, at half of what it can do, moves the champion every minute between two versions of the
registry (by rows of the copy's ledger), and counts what failed and how memory grew; it ends with 1 where something failed.
Goals: p50 of one row at most 1.3 times the bare route's and half of MLflow's; no failed request, memory flat.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow starts `uvicorn` by its name

from pipelines.use_case import UseCase, features_table, load_use_case  # noqa: E402
from pipelines.workspace import Decision, Kind, Workspace, open_workspace, state_folder  # noqa: E402

Rows = list[dict[str, Any]]


def copied(state: Path, use_case: str, folder: Path) -> Workspace:
    """The use case's tables and the models, where the benchmark may move the champion."""
    shutil.copytree(state / "lake" / use_case, folder / "lake" / use_case)
    shutil.copytree(state / "mlflow", folder / "mlflow")
    os.environ |= {"TRAINYARD_STATE": str(folder)}
    workspace = open_workspace("benchmark")
    assert workspace.registry.database
    workspace.registry.database.relocate(f"file://{state}/mlflow/artifacts")
    os.environ["MLFLOW_TRACKING_URI"] = workspace.registry.tracking_uri
    return workspace


def some_rows(workspace: Workspace, use_case: UseCase, features: list[str], count: int) -> Rows:
    table = features_table(use_case)
    newest = list(workspace.lake.partitions(table))[-10:]
    rows = workspace.lake.read(table, newest).to_pandas()[features].sample(count, replace=True, random_state=0)
    return plain(rows)


def plain(rows: pd.DataFrame) -> Rows:
    """As a client sends them."""
    found = rows.astype(dict.fromkeys(rows.select_dtypes("number"), float)).to_dict("records")
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in found]


def serve_words(use_case: str) -> list[str]:
    return [sys.executable, "-m", "pipelines", "serve", use_case, "--port", "PORT"]


# servers -------------------------------------------------------------------------------------------------------------


def bare(use_case: str, version: int, port: int) -> None:
    """A route around `predict_proba`, with types and nothing else."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import create_model

    model = open_workspace().registry.load(use_case, version)
    kinds: Any = {n: ((str if t == "string" else float) | None, None) for n, t in (model.signature or {}).items()}
    row, app = create_model("Row", **kinds), FastAPI()

    def predict(rows: Any) -> list[float]:
        frame = pd.DataFrame([each.model_dump() for each in rows])
        numbers = [name for name, kind in (model.signature or {}).items() if kind != "string"]
        return model.pipeline.predict_proba(frame.astype(dict.fromkeys(numbers, float)))[:, 1].tolist()

    predict.__annotations__["rows"] = list[row]
    app.post("/invocations")(predict)
    app.get("/ping")(lambda: None)
    uvicorn.run(app, port=port, access_log=False, log_level="error")


@contextlib.contextmanager
def running(words: list[str]) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    child = subprocess.Popen([word.replace("PORT", str(port)) for word in words], cwd=ROOT, stdout=subprocess.DEVNULL)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.TransportError):
                if client.get("/ping").status_code == 200:
                    break
            time.sleep(0.2)
        else:
            raise SystemExit(f"{words} never answered")
        yield client, psutil.Process(child.pid)
    finally:
        for each in [*psutil.Process(child.pid).children(recursive=True), child]:
            each.terminate()
        child.wait(60)


# measures ------------------------------------------------------------------------------------------------------------


def asked(client: httpx.Client, body: Any, seconds: float, pause: float = 0.0) -> tuple[list[float], Counter[int]]:
    """Seconds of each request, one after the other; how many had which status."""
    taken, statuses, until = list[float](), Counter[int](), time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        statuses[client.post("/invocations", json=body).status_code] += 1
        taken.append(time.perf_counter() - start)
        time.sleep(max(0.0, pause - taken[-1]))
    return taken, statuses


def by_four(client: httpx.Client, body: Any, seconds: float, pause: float = 0.0) -> tuple[float, Counter[int]]:
    """Requests per second of four clients."""
    with ThreadPoolExecutor(4) as pool:
        clients = [httpx.Client(base_url=client.base_url, timeout=60) for _ in range(4)]
        done = list(pool.map(lambda each: asked(each, body, seconds, pause), clients))
    return sum(len(taken) for taken, _ in done) / seconds, sum((found for _, found in done), Counter[int]())


def compare(servers: dict[str, list[str]], rows: Rows, seconds: float, rounds: int) -> None:
    taken, cpu, rates = (defaultdict[Any, list[float]](list) for _ in range(3))
    with contextlib.ExitStack() as stack:
        asking = {name: stack.enter_context(running(words)) for name, words in servers.items()}
        for number in range(rounds + 1):  # the first warms up
            for count, (name, (client, process)) in ((count, each) for count in (1, 1000) for each in asking.items()):
                before, wait = _cpu(process), seconds if number else 1.0
                found, statuses = asked(client, _body(name, rows[:count]), wait)
                assert set(statuses) == {200}, (name, statuses)
                if number:
                    taken[name, count] += found
                    cpu[name, count].append((_cpu(process) - before) / len(found))
            for name, (client, _) in asking.items():
                rate, _ = by_four(client, _body(name, rows[:1]), seconds if number else 1.0)
                rates[name] += [rate] if number else []
    print("| server | one row: p50, p99 ms | CPU ms | 1,000 rows: p50, p99 ms | CPU ms | four clients, one row: requests/s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in servers:
        cells = [f"{_quantiles(taken[name, n])} | {1000 * statistics.median(cpu[name, n]):.1f}" for n in (1, 1000)]
        print(f"| {name} | {cells[0]} | {cells[1]} | {statistics.median(rates[name]):.0f} |")
    for what, found in (("p50", taken), ("CPU", cpu)):
        ours, plain, mlflow = (statistics.median(found[name, 1]) for name in ("ours", "bare", "mlflow"))
        print(f"{what} of one row: {ours / plain:.2f} times the bare route's, {ours / mlflow:.2f} times MLflow's")


def _body(name: str, rows: Rows) -> Any:
    return rows if name == "bare" else {"dataframe_records": rows}


def _cpu(process: psutil.Process) -> float:
    """Seconds of the server and its children: what others do on the machine matters less to it than to the clock."""
    used = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in used)


def _quantiles(found: list[float]) -> str:
    p50, p99 = statistics.median(found), sorted(found)[int(0.99 * len(found))]
    return f"{1000 * p50:.1f}, {1000 * p99:.1f}"


def load(workspace: Workspace, use_case: UseCase, words: list[str], rows: Rows, minutes: int) -> None:
    """Half of the maximum, and a promotion a minute."""
    versions = [v.version for v in workspace.registry.versions(use_case.name)][-2:]
    body, statuses, memory = {"dataframe_records": rows[:1]}, Counter[int](), list[float]()
    with running(words) as (client, process):
        most, _ = by_four(client, body, 10)
        for minute in range(minutes):
            promote(workspace, use_case, versions[minute % len(versions)], minute)
            _, found = by_four(client, body, 60, pause=4 / (most / 2))
            statuses += found
            memory.append(process.memory_info().rss / 2**20)
    print(f"\n{minutes} minutes at {most / 2:.0f} requests/s of at most {most:.0f}, between {versions}: {dict(statuses)}")
    print("MiB after each minute:", " ".join(f"{each:.0f}" for each in memory))
    if set(statuses) != {200}:
        raise SystemExit(1)


def promote(workspace: Workspace, use_case: UseCase, version: int, minute: int) -> None:
    now = workspace.ledger.champion(use_case.name)
    assert now
    workspace.ledger.move_champion(
        Decision(
            id=f"benchmark/{minute}", use_case=use_case.name, kind=Kind.PROMOTED, partition=now.effective_from, why="benchmark",
            actor="benchmark", run="benchmark", model_version=version, effective_from=now.effective_from,
        ),
        now.version,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--use-case", default="flight_delay")
    parser.add_argument("--seconds", type=float, default=10, help="of each measure in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--load", type=int, default=0, metavar="MINUTES")
    parser.add_argument("--bare", type=int, nargs=2, metavar=("VERSION", "PORT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        bare(given.use_case, *given.bare)
        return
    use_case, state = load_use_case(given.use_case), state_folder()
    with tempfile.TemporaryDirectory() as folder:
        workspace = copied(state, use_case.name, Path(folder))
        champion = workspace.ledger.champion(use_case.name)
        assert champion, f"{use_case.name} has no champion in {state}: run make demo first"
        features = list(workspace.registry.load(use_case.name, champion.version).meta["features"])
        rows = some_rows(workspace, use_case, features, 1000)
        print(f"{use_case.name} v{champion.version}, {len(features)} features, load of the machine {os.getloadavg()[0]:.1f}\n")
        python, name = sys.executable, use_case.name
        ours = serve_words(name)
        if given.load:
            load(workspace, use_case, ours, rows, given.load)
            return
        mlflow = [str(Path(python).with_name("mlflow")), "models", "serve", "-m", f"models:/{name}/{champion.version}"]
        compare(
            {
                "ours": ours,
                "bare": [python, __file__, "--use-case", name, "--bare", str(champion.version), "PORT"],
                "mlflow": [*mlflow, "--env-manager", "local", "--port", "PORT"],
            },
            rows, given.seconds, given.rounds,
        )  # fmt: skip


if __name__ == "__main__":
    main()
