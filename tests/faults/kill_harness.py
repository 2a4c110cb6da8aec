"""Kills ingestion and replay at every step, and reports what a reader saw then and what a re-run made of it.

`python -m tests.faults.kill_harness FOLDER` writes FOLDER/report.json. One process of its own, which only forks: neither
Great Expectations (10 s to import) nor the threads of deltalake (which do not survive a fork) are ever in it. Children do
all reading and writing; verdicts of Great Expectations are remembered on disk, by the rows and the contract judged.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Imported here, once, for all children; their threads start with their first use.
import deltalake.exceptions  # noqa: F401
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.pandas_compat
import pyarrow.parquet

from pipelines import ingestion
from pipelines.use_case import UseCase, read_use_case
from pipelines.validation import check as validation
from pipelines.workspace import Lake, StageRun, Workspace, files
from tests import synthetic
from tests.conftest import USE_CASES, make_workspace

Content = dict[str, list[str]]
ROWS, SECONDS, WORKERS = 60, 120, 2
USE_CASE = read_use_case(USE_CASES / "parcels.yaml")
BEFORE, DAY = synthetic.days(USE_CASE, 2)
SHIPMENTS, ASIDE = f"parcels/shipments:{DAY.key}", f"parcels/shipments_quarantine:{DAY.key}"


def _mended() -> UseCase:
    contract = USE_CASE.contract["shipments"]
    columns = {**contract.columns, "weight": contract.columns["weight"].model_copy(update={"max": 2000.0})}
    changed = {**USE_CASE.contract, "shipments": contract.model_copy(update={"columns": columns})}
    return USE_CASE.model_copy(update={"contract": changed})


# what is run ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """From which content the run starts, how it runs, and which of a source's two tables is published first."""

    name: str
    start: str
    run: Callable[[Workspace], Any]
    first: str


def _ingest(workspace: Workspace) -> Any:
    return ingestion.ingest_all(StageRun(workspace, USE_CASE, DAY))


def _replay(workspace: Workspace) -> Any:
    return ingestion.replay(StageRun(workspace, _mended(), DAY))


def _replay_sent_again(workspace: Workspace) -> Any:
    return ingestion.replay(StageRun(workspace, USE_CASE, DAY))


SCENARIOS = [
    Scenario("the first ingestion", "empty", _ingest, ASIDE),
    Scenario("an ingestion over older content", "older", _ingest, ASIDE),
    Scenario("a replay after the rule was mended", "ingested", _replay, SHIPMENTS),
    Scenario("a replay after a mended file was sent", "sent_mended", _replay_sent_again, ASIDE),
    Scenario("a replay after a faultless file was sent", "sent_faultless", _replay_sent_again, ASIDE),
]


def _arrive(workspace: Workspace, heavy: int, unreadable: int, drift: float, rating: float) -> None:
    """One day's files: so many shipments too heavy, so many that cannot be read; `drift` and `rating` tell contents apart."""
    shipments, deliveries = synthetic.parcels(DAY, ROWS, drift)
    shipments = shipments.astype({"pieces": object, "weight": object})
    shipments.loc[: heavy - 1, "weight"] = 1500.0
    shipments.loc[10 : 9 + unreadable, "pieces"] = "many"
    if heavy:
        deliveries.loc[2, "left_at"] = "2024-12-31T00:00:00Z"
    synthetic.put(workspace, "shipments", DAY, shipments)
    synthetic.put(workspace, "deliveries", DAY, deliveries)
    synthetic.put(workspace, "carriers", DAY, synthetic.carriers().assign(rating=rating))


def prepare(folder: Path) -> dict[str, Any]:
    """The starts, and for every scenario the content before and after an undisturbed run."""
    remember_checks(folder / "checks")
    workspace = make_workspace(folder / "empty")
    _arrive(workspace, 3, 1, 5.0, 2.0)
    shutil.copytree(folder / "empty", folder / "older")
    workspace = make_workspace(folder / "older")
    synthetic.arrive(workspace, BEFORE, rows=ROWS)
    ingestion.ingest_all(StageRun(workspace, USE_CASE, BEFORE))
    _arrive(workspace, 1, 2, 0.0, 1.0)
    ingestion.ingest_all(StageRun(workspace, USE_CASE, DAY))
    _arrive(workspace, 3, 1, 5.0, 2.0)
    shutil.copytree(folder / "older", folder / "ingested")
    ingestion.ingest_all(StageRun(make_workspace(folder / "ingested"), USE_CASE, DAY))
    for name, unreadable in (("sent_mended", 1), ("sent_faultless", 0)):
        shutil.copytree(folder / "ingested", folder / name)
        _arrive(make_workspace(folder / name), 0, unreadable, 5.0, 2.0)
    found = {}
    for scenario in SCENARIOS:
        target = folder / "undisturbed" / scenario.start
        shutil.copytree(folder / scenario.start, target)
        workspace = make_workspace(target)
        before = content(workspace)
        scenario.run(workspace)
        found[scenario.name] = {"before": before, "after": content(workspace)}
    return found


def content(workspace: Workspace) -> Content:
    """All rows of all tables, by table and partition, without what tells runs apart."""
    found: Content = {}
    for log in sorted(Path(workspace.lake.root).glob("*/*/_delta_log")):
        table = "/".join(log.parts[-3:-1])
        if not workspace.lake.exists(table) or not workspace.lake.partitions(table):
            continue
        for row in workspace.lake.read(table).to_pylist():
            told = _decision(row) if table.endswith("/decisions") else {k: v for k, v in row.items() if k not in ("run", "at")}
            found.setdefault(f"{table}:{row['partition']}", []).append(json.dumps(told, sort_keys=True, default=str))
    return {name: sorted(rows) for name, rows in found.items()}


def _decision(row: dict[str, Any]) -> dict[str, Any]:
    evidence = json.loads(row["evidence"])
    return {"kind": row["kind"], **{name: evidence[name] for name in ("table", "left")}}


def remember_checks(folder: Path) -> None:
    """Great Expectations judges the same rows under the same contract once."""
    folder.mkdir(exist_ok=True)
    real = validation.check_rows

    def check_rows(rows: Any, contract: Any, where: str) -> Any:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows.combine_chunks())
        digest = hashlib.sha256(sink.getvalue().to_pybytes() + (contract.model_dump_json() + where).encode())
        kept = folder / digest.hexdigest()
        if not kept.exists():
            kept.write_bytes(pickle.dumps(real(rows, contract, where)))
        return pickle.loads(kept.read_bytes())

    validation.check_rows = check_rows


# kill points ---------------------------------------------------------------------------------------------------------


@dataclass
class Points:
    """Counts the points passed, and does `harm` at the one that is armed."""

    armed: int | None = None
    harm: Callable[[], None] = field(default=lambda: os.kill(os.getpid(), signal.SIGKILL))
    passed: list[str] = field(default_factory=list)

    def reach(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) - 1 == self.armed:
            self.harm()

    def around(self, owner: Any, name: str, sides: str) -> None:
        real, label = getattr(owner, name), f"{getattr(owner, '__name__', owner)}.{name}".removeprefix("pipelines.")

        def wrapped(*args: Any, **how: Any) -> Any:
            if "before" in sides:
                self.reach(f"{label}: before")
            result = real(*args, **how)
            if "after" in sides:
                self.reach(f"{label}: after")
            return result

        setattr(owner, name, wrapped)


class _Halting:
    """An open file, with a point in the middle of every write."""

    def __init__(self, file: Any, points: Points) -> None:
        self.file, self.points = file, points

    def write(self, data: bytes) -> None:
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        self.points.reach("a file's bytes: half written")
        self.file.write(data[len(data) // 2 :])

    def __enter__(self) -> _Halting:
        return self

    def __exit__(self, *how: Any) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def kill_points(points: Points) -> None:
    """Points at every boundary between the process and its disk; between reads nothing changes."""
    points.around(files, "write_bytes", "after")
    points.around(validation, "check_rows", "before")
    points.around(Lake, "_open_or_create", "before after")
    commit_points(points)
    _half_commits(points)
    opened, replaced = Path.open, Path.replace

    def open_(path: Path, mode: str = "r", *args: Any, **how: Any) -> Any:
        file = opened(path, mode, *args, **how)
        return _Halting(file, points) if mode == "wb" and path.name.startswith(".") else file

    def replace(path: Path, target: Any) -> Any:
        points.reach("a file: written, not yet in place")
        return replaced(path, target)

    Path.open, Path.replace = open_, replace  # type: ignore[assignment,method-assign]


def commit_points(points: Points) -> None:
    points.around(Lake, "_commit", "before after")


def _half_commits(points: Points) -> None:
    """Half a commit under the scratch name that delta-rs writes it by, as a kill inside of its Rust code leaves it."""
    commit = Lake._commit

    def halting(self: Lake, delta: Any, actions: Any, *args: Any) -> None:
        if points.armed == len(points.passed):
            log = delta.table_uri.removeprefix("file://").rstrip("/") + "/_delta_log"
            with open(f"{log}/_commit_0b5a1a35-0000-4000-8000-000000000000.json.tmp", "w") as file:
                file.write('{"commitInfo":{"timestamp":1,"oper')
        points.reach("Lake._commit: half written")
        commit(self, delta, actions, *args)

    Lake._commit = halting  # type: ignore[method-assign]


def failing_writes(points: Points) -> None:
    """The disk is full in the middle of a file, or (by a limit on file sizes) when Delta writes its log."""
    opened, commit = Path.open, Lake._commit

    def open_(path: Path, mode: str = "r", *args: Any, **how: Any) -> Any:
        file = opened(path, mode, *args, **how)
        points.harm = _disk_full
        return _Halting(file, points) if mode == "wb" and path.name.startswith(".") else file

    def commit_(*args: Any) -> None:
        points.harm = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
        points.reach("Lake._commit: no space for the log")
        commit(*args)

    Path.open, Lake._commit = open_, commit_  # type: ignore[assignment,method-assign]


def _disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def plain_overwrite(points: Points) -> None:
    """The planted defect: a partition's old rows are deleted by one commit, and the new ones added by the next."""
    commit = Lake._commit

    def overwrite(self: Lake, delta: Any, actions: Any, mode: str, about: Any, seen: Any) -> None:
        if mode == "overwrite":
            filters: Any = [("partition", "in", list(seen))]
            delta.create_write_transaction([], mode, delta.schema(), partition_by=["partition"], partition_filters=filters)
            delta.update_incremental()
            points.reach("overwrite: old rows deleted")
        commit(self, delta, actions, "append", about, seen)

    Lake._commit = overwrite  # type: ignore[method-assign]


# children ------------------------------------------------------------------------------------------------------------


def in_child(work: Callable[[], Any], told: Path) -> tuple[int, Any]:
    """Fork, work, die; return the signal that ended it (0: none), and what it told by way of a file."""
    told.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        try:
            result = {"result": work()}
        except BaseException as error:
            result = {"error": type(error).__name__, "message": str(error), "trace": traceback.format_exc()}
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with open(told, "w") as file:
            json.dump(result, file)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, json.loads(told.read_text()) if told.exists() else None


def _result(ended: int, told: Any) -> Any:
    if ended or told is None or "error" in told:
        raise RuntimeError(f"a child that nobody harmed died of signal {ended}: {told and told['trace']}")
    return told["result"]


# the experiment ------------------------------------------------------------------------------------------------------


@dataclass
class Experiment:
    """One scenario under one kind of harm, at every point in turn."""

    folder: Path
    work: Path
    scenario: Scenario
    before: Content
    after: Content
    install: Callable[[Points], None]

    def points(self) -> list[str]:
        def count() -> list[str]:
            points = Points()
            self._run(points)
            return points.passed

        self._afresh()
        return list(_result(*in_child(count, self.work.with_suffix(".json"))))

    def harm(self, number: int) -> tuple[int, Any, list[str]]:
        """Run with harm at one point; return how it ended, and what is wrong with what a reader sees then and later."""
        self._afresh()
        ended, told = in_child(lambda: self._run(Points(number)), self.work.with_suffix(".json"))
        seen, again, last = _result(*in_child(self._look_and_run_again, self.work.with_suffix(".json")))
        wrong = self._half_published(seen)
        if again:
            wrong.append(f"the re-run failed: {again}")
        for name in sorted({*last, *self.after}):
            if last.get(name) != self.after.get(name):
                wrong.append(f"{name}: after the re-run {_unlike(last, self.after, name)}")
        return ended, told, wrong

    def _afresh(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.folder / self.scenario.start, self.work)

    def _run(self, points: Points) -> None:
        remember_checks(self.folder / "checks")
        self.install(points)
        self.scenario.run(make_workspace(self.work, "harmed"))

    def _look_and_run_again(self) -> tuple[Content, str, Content]:
        remember_checks(self.folder / "checks")
        seen, failed = content(make_workspace(self.work)), ""
        try:
            self.scenario.run(make_workspace(self.work, "again"))
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"
        return seen, failed, content(make_workspace(self.work))

    def _half_published(self, seen: Content) -> list[str]:
        """Every partition is as before or as after, as a whole, and a source's two tables came in the order documented."""
        wrong = []
        for name in sorted({*seen, *self.before, *self.after}):
            partly = "/decisions:" in name and set(seen.get(name, ())) <= set(self.after[name])  # one row a commit
            if seen.get(name) not in (self.before.get(name), self.after.get(name)) and not partly:
                wrong.append(f"{name}: readable, but {_unlike(seen, self.after, name)}")
        first = self.scenario.first
        second = ASIDE if first == SHIPMENTS else SHIPMENTS
        if seen.get(second) == self.after.get(second) and seen.get(first) != self.after.get(first):
            wrong.append(f"{second} is published, and {first} is not")
        return wrong


def _unlike(found: Content, wanted: Content, name: str) -> str:
    rows, right = found.get(name, []), wanted.get(name, [])
    missing, more, twice = len(set(right) - set(rows)), len(set(rows) - set(right)), len(rows) - len(set(rows))
    return f"{missing} of {len(right)} rows are missing, {more} are others, {twice} are twice"


def main(folder: Path) -> None:
    """Every kind of harm: two scenarios at all points, the others at commits. Two workers, half of it each."""
    start = time.monotonic()
    contents = _result(*in_child(lambda: prepare(folder), folder / "told.json"))
    first, older, mended, *sent = SCENARIOS
    plan = [
        *(("kills", scenario, kill_points) for scenario in (older, mended)),
        *(("kills", scenario, commit_points) for scenario in (first, *sent)),
        *(("disk", scenario, failing_writes) for scenario in (older, mended)),
        ("planted", older, plain_overwrite),
    ]
    workers = []
    for worker in range(WORKERS):
        child = os.fork()
        if child == 0:
            try:
                trials = _trials(folder, contents, plan, worker)
                (folder / f"trials-{worker}.json").write_text(json.dumps(trials))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        workers.append(child)
    assert [os.waitpid(worker, 0)[1] for worker in workers] == [0] * WORKERS, "a worker failed"
    trials = [t for worker in range(WORKERS) for t in json.loads((folder / f"trials-{worker}.json").read_text())]
    (folder / "report.json").write_text(json.dumps({"trials": trials, "seconds": time.monotonic() - start}))


def _trials(folder: Path, contents: dict[str, Any], plan: list[Any], worker: int) -> list[dict[str, Any]]:
    found = []
    for kind, scenario, install in plan:
        experiment = Experiment(folder, folder / f"work-{worker}", scenario, **contents[scenario.name], install=install)
        for number, point in list(enumerate(experiment.points()))[worker::WORKERS]:
            ended, told, wrong = experiment.harm(number)
            where = {"kind": kind, "scenario": scenario.name, "number": number, "point": point}
            found.append({**where, "signal": ended, "told": told, "wrong": wrong})
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
