"""No answer is lost or told twice, whenever the process ends: in the spool until the table has it, by Delta's transaction."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.errors import PermanentError, TransientError
from pipelines.serving import spool as spooling
from pipelines.serving.answers import continue_numbers, write_answers
from pipelines.serving.spool import Spool
from pipelines.use_case import ROOT, UseCase
from pipelines.workspace import Workspace
from tests.conftest import USE_CASES, World, make_workspace
from tests.serving.serving_world import answers, row, served

DAY = "2024-03-15"


def told(number: int, rows: int = 2) -> list[dict[str, Any]]:
    about = {
        "answer": f"a{number}", "model_version": 1, "made_at": "2024-03-15T08:00:00+00:00", "run": "r",
        "features_version": None, "features_partition": None,
    }  # fmt: skip
    return [about | {"row": n, "shipment_id": None, "probability": 0.5, "act": True} for n in range(rows)]


def ids(workspace: Workspace) -> list[str]:
    found = workspace.lake.read("parcels/answers").to_pandas()
    assert not found.duplicated(["answer", "row"]).any()
    return sorted(set(found["answer"]))


def opened(workspace: Workspace, use_case: UseCase, folder: Path) -> Spool:
    """A spool as a server that starts has it."""
    spool = Spool(folder)
    continue_numbers(workspace, use_case, spool)
    return spool


class Killed(BaseException):
    """The process ends here."""


def test_answers_of_the_api_stand_in_their_table(one_champion: World, tmp_path: Path) -> None:
    world = one_champion
    with served(world, tmp_path) as (client, parts):
        first = client.post("/invocations", json={"instances": [row(shipment_id=f"{DAY}-0001"), row()]}).json()
        key = f"{world.days[9].key}-0003"
        second = client.post("/keys", json={"keys": [key], "partition": world.days[9].key}).json()
        assert answers(world).empty
        assert parts.write() == 3
        assert (parts.write(), parts.spool.bytes) == (0, 0)
        third = client.post("/invocations", json={"instances": [row()]}).json()
    found = answers(world).set_index(["answer", "row"])  # the third by the end
    assert len(found) == 4
    for answer in (first, second, third):
        mine = found.loc[answer["answer"]]
        assert list(mine["probability"]) == [each["probability"] for each in answer["predictions"]]
        assert list(mine["act"]) == [each["act"] for each in answer["predictions"]]
        assert set(mine["model_version"]) == {1}
    assert found.loc[first["answer"], "shipment_id"].to_list() == [f"{DAY}-0001", None]
    assert (
        found.loc[second["answer"], 0].to_dict().items()
        >= {"shipment_id": key, "features_partition": world.days[9].key}.items()
    )
    today = world.workspace.clock.now().date().isoformat()
    assert set(found["partition"]) == {today}


# every place where it may end -----------------------------------------------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch, Workspace], None]


def ends(*_: Any, **__: Any) -> Any:
    raise Killed


def before_the_commit(patch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    patch.setattr(type(workspace.lake), "_commit", ends)


def after_the_commit(patch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    patch.setattr(Spool, "drop", ends)


def after_the_first_segment(patch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    drop, dropped = Spool.drop, list[Any]()

    def once(self: Spool, segment: Any) -> None:
        if dropped:
            raise Killed
        dropped.append(drop(self, segment))

    patch.setattr(Spool, "drop", once)


@pytest.mark.parametrize("place", [before_the_commit, after_the_commit, after_the_first_segment], ids=lambda p: p.__name__)
def test_killed_while_it_writes_it_has_all_of_it_once_after_the_next_start(
    place: Plant, workspace: Workspace, use_case: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened(workspace, use_case, tmp_path / "spool")
    spool.append(DAY, told(1))
    write_answers(workspace, use_case, spool)
    for number, day in ((2, DAY), (3, "2024-03-16"), (4, "2024-03-16")):
        spool.append(day, told(number))
    with monkeypatch.context() as patched:
        place(patched, workspace)
        with pytest.raises(Killed):
            write_answers(workspace, use_case, spool)
    spool._owned.close()  # as the end of the process does
    again = opened(workspace, use_case, tmp_path / "spool")
    again.append("2024-03-16", told(5))
    write_answers(workspace, use_case, again)
    assert ids(workspace) == ["a1", "a2", "a3", "a4", "a5"]
    assert list((tmp_path / "spool").glob("*.jsonl")) == []


def test_a_folder_that_was_emptied_goes_on_with_numbers_that_the_table_does_not_have(
    workspace: Workspace, use_case: UseCase, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        spool = opened(workspace, use_case, tmp_path / "spool")
        spool.append(DAY, told(number))
        assert write_answers(workspace, use_case, spool) == 2
        spool.close()
    assert ids(workspace) == ["a1", "a2", "a3"]


def test_two_writers_of_one_table_have_all_of_theirs(workspace: Workspace, use_case: UseCase, tmp_path: Path) -> None:
    spools = [opened(workspace, use_case, tmp_path / name) for name in ("one", "two")]
    for number in range(6):
        spools[number % 2].append(DAY, told(number))
    threads = [threading.Thread(target=write_answers, args=(workspace, use_case, spool)) for spool in spools]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids(workspace)) == 6


def test_a_lake_that_fails_holds_up_no_answer_and_leaves_no_gap(
    workspace: Workspace, use_case: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second segment may not go before the first one, whose number would then count as written."""
    spool = opened(workspace, use_case, tmp_path / "spool")
    append, calls = type(workspace.lake).append, list[int]()

    def fails_once(self: Any, *how: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise TransientError("the lake is away")
        return append(self, *how)

    monkeypatch.setattr(type(workspace.lake), "append", fails_once)
    spool.append(DAY, told(1))
    spool.append("2024-03-16", told(2))
    with pytest.raises(TransientError):
        write_answers(workspace, use_case, spool)
    spool.append("2024-03-16", told(3))
    write_answers(workspace, use_case, spool)
    assert ids(workspace) == ["a1", "a2", "a3"]


def test_what_waits_is_written_in_parts_that_fit_in_memory(
    workspace: Workspace, use_case: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour without the lake was one segment, and seven times its size as objects."""
    monkeypatch.setattr(spooling, "_SEGMENT", 1000)
    spool = opened(workspace, use_case, tmp_path / "spool")
    for number in range(12):
        spool.append(DAY, told(number))
    sizes = [segment.file.stat().st_size for segment in spool.sealed()]
    assert len(sizes) > 2
    assert max(sizes) < 1000 + sum(sizes) / 12
    assert write_answers(workspace, use_case, spool) == 24
    assert len(ids(workspace)) == 12


# the disk ------------------------------------------------------------------------------------------------------------


def test_a_line_that_was_cut_off_was_not_answered_and_the_others_are_kept(
    workspace: Workspace, use_case: UseCase, tmp_path: Path
) -> None:
    spool = opened(workspace, use_case, tmp_path / "spool")
    spool.append(DAY, told(1))
    spool.append(DAY, told(2))
    spool.close()
    (file,) = (tmp_path / "spool").glob("*.jsonl")
    for cut in (1, 40):
        file.write_bytes(file.read_bytes()[:-cut])
        assert len(spooling.Segment(1, DAY, file).rows()) == 2
    write_answers(workspace, use_case, opened(workspace, use_case, tmp_path / "spool"))
    assert ids(workspace) == ["a1"]


def test_an_answer_is_on_the_disk_before_it_is_given(
    one_champion: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync
    with served(one_champion, tmp_path) as (client, parts):
        client.post("/invocations", json={"instances": [row()]})  # makes the segment
        monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size) or fsync(handle))
        client.post("/invocations", json={"instances": [row()]})
        assert synced == [parts.spool.bytes]


def test_a_disk_that_fails_is_no_answer_and_spoils_none_after_it(
    one_champion: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        os.ftruncate(handle, os.fstat(handle).st_size - 9)  # a part of it was written
        raise OSError(28, "No space left on device")

    with served(one_champion, tmp_path) as (client, _):
        good = [client.post("/invocations", json={"instances": [row()]}).json()["answer"]]
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            refused = client.post("/invocations", json={"instances": [row()]})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert str(tmp_path) in refused.text or "cannot be kept" in refused.text
        good.append(client.post("/invocations", json={"instances": [row()]}).json()["answer"])
    assert set(good) <= set(ids(one_champion.workspace))


def test_two_servers_do_not_share_a_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with pytest.raises(PermanentError, match="another server answers from it"):
        Spool(tmp_path / "spool")
    spool.close()
    Spool(tmp_path / "spool").close()


# for real ------------------------------------------------------------------------------------------------------------


class Server:
    """`python -m pipelines serve parcels` on a state folder."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        env = {**os.environ, "TRAINYARD_STATE": str(folder), "TRAINYARD_USE_CASES": str(USE_CASES), "PYTHONPATH": str(ROOT)}
        env.pop("TRAINYARD_ENVIRONMENT", None)
        words = ["serve", "parcels", "--port", str(self.port), "--write-every", "0.2"]
        self.process = subprocess.Popen([sys.executable, "-m", "pipelines", *words], cwd=ROOT, env=env)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        started = time.monotonic()
        while not self._answers():
            assert self.process.poll() is None
            assert time.monotonic() < started + 90
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return self.client.get("/ping").status_code == 200
        except httpx.TransportError:
            return False

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("kills", [1, pytest.param(12, marks=pytest.mark.long)])
def test_kill_9_under_load_loses_no_answered_prediction(kills: int, one_champion: World, tmp_path: Path) -> None:
    """A client keeps what it was told; whatever it was told is in the table once, and nothing is there twice."""
    kept: dict[str, list[float]] = {}

    def ask(server: Server) -> None:
        client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30)
        try:
            while True:
                answer = client.post("/invocations", json={"instances": [row(), row(distance=800.0)]}).json()
                kept[answer["answer"]] = [each["probability"] for each in answer["predictions"]]
        except (httpx.TransportError, json.JSONDecodeError):
            return

    for number in range(kills + 1):
        server = Server(tmp_path)
        before = len(kept)
        asking = [threading.Thread(target=ask, args=(server,)) for _ in range(3)]
        for thread in asking:
            thread.start()
        time.sleep(0.7 + 0.13 * number)
        status = server.end(signal.SIGKILL if number < kills else signal.SIGTERM)
        for thread in asking:
            thread.join()
        assert status == (-signal.SIGKILL if number < kills else 0)
        assert len(kept) > before
    found = make_workspace(tmp_path).lake.read("parcels/answers").to_pandas()
    assert max(Counter(zip(found["answer"], found["row"], strict=True)).values()) == 1
    probabilities = found.sort_values("row").groupby("answer")["probability"].apply(list).to_dict()
    assert {answer: probabilities.get(answer) for answer in kept} == kept
    assert list((tmp_path / "serving" / "parcels").glob("*.jsonl")) == []
