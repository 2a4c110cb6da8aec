"""The ledger's champion answers within seconds of its change; nobody is refused for it, or answered by two models."""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.errors import PermanentError
from pipelines.promotion import retire, rollback
from pipelines.serving import champion as champion_module
from pipelines.serving import server
from pipelines.serving.champion import load
from pipelines.workspace import Decision, Kind, Registry
from tests.conftest import World
from tests.serving.serving_world import feature_rows, listening, row, served

GOOD = {"instances": [row(), row(distance=900.0)]}


def move(world: World, version: int | None, kind: Kind = Kind.PROMOTED) -> None:
    """A move of the champion, as a promotion or rollback appends it."""
    ledger, number = world.workspace.ledger, len(world.workspace.ledger.decisions("parcels"))
    now = ledger.champion("parcels")
    ledger.move_champion(
        Decision(
            id=f"{kind}/{number}", use_case="parcels", kind=kind, partition=world.days[13].key, why=f"move {number}",
            actor="test", run="test", model_version=version, effective_from="2024-03-15",
        ),
        now.version if now else None,
    )  # fmt: skip


def until(found: Callable[[], bool], seconds: float = 60.0) -> float:
    started = time.monotonic()
    while not found():
        assert time.monotonic() < started + seconds, "it never came"
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(champion_module, "_AGAIN", 0.2)


def test_a_rollback_is_followed_within_five_seconds(two_champions: World, tmp_path: Path) -> None:
    """At the pace that a server has; the answer says by which version it is, and the numbers are that version's."""
    rows = feature_rows(two_champions, 13)[:5]
    with served(two_champions, tmp_path) as (client, _):
        before = client.post("/invocations", json={"instances": rows}).json()
        rollback(two_champions.workspace, two_champions.use_case, 1, "a test", "test")
        until(lambda: client.get("/").json()["model_version"] == 1, 5.0)
        after = client.post("/invocations", json={"instances": rows}).json()
    assert (before["model_version"], after["model_version"]) == (2, 1)
    for answer in (before, after):
        served_by = load_version(two_champions, answer["model_version"])
        wanted = served_by.predict(served_by.rows(rows))["probability"]
        assert [each["probability"] for each in answer["predictions"]] == pytest.approx(list(wanted), abs=1e-12, rel=0)


def load_version(world: World, version: int) -> Any:
    found = world.workspace.ledger.champion("parcels")
    return load(world.workspace, world.use_case, found.__class__(**vars(found) | {"version": version}))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("moves", [6, pytest.param(40, marks=pytest.mark.long)])
def test_promotions_and_rollbacks_under_load_fail_no_request_and_mix_no_answer(
    moves: int, two_champions: World, tmp_path: Path
) -> None:
    """Each request has hundreds of rows, so that changes fall into its midst; every row must be of the version it names."""
    world, rows = two_champions, feature_rows(two_champions, 13)
    wanted = {v: load_version(world, v) for v in (1, 2)}
    known = {v: list(model.predict(model.rows(rows))["probability"]) for v, model in wanted.items()}
    assert max(abs(a - b) for a, b in zip(*known.values(), strict=True)) > 0.05
    ended, by_version, answered = threading.Event(), Counter[int](), list[weakref.ref[Any]]()

    def ask(port: int, body: dict[str, Any]) -> None:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        while not ended.is_set():
            answer = client.post("/keys" if "keys" in body else "/invocations", json=body)
            assert answer.status_code == 200, answer.text
            said = answer.json()
            found = [each["probability"] for each in said["predictions"]]
            assert found == pytest.approx(known[said["model_version"]], abs=1e-12, rel=0)
            by_version[said["model_version"]] += 1

    keys = {"keys": [each["shipment_id"] for each in rows], "partition": world.days[13].key}
    with served(world, tmp_path) as (client, parts), listening(parts.edge) as port, ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, port, body) for body in ({"instances": rows}, {"dataframe_records": rows}, keys)]
        try:
            for number in range(moves):
                version = 1 + number % 2
                move(world, version, (Kind.ROLLED_BACK, Kind.PROMOTED)[number % 2])
                until(lambda version=version: client.get("/").json()["model_version"] == version)
                answered.append(weakref.ref(parts.edge.app))
        finally:
            ended.set()
        for each in asking:
            each.result()
        # The last, and the one before it where a request was still in it: none of the others waits to be collected.
        until(lambda: sum(app() is not None for app in answered) <= 2, 2.0)
    assert len(answered) == moves
    assert min(by_version[1], by_version[2]) >= 3


def unloadable(*_: Any) -> Any:
    raise PermanentError("its file is gone")


DEFECTS = {
    "does not load": "its file is gone",
    "scores otherwise": "does not give its example the scores that it had",
    "gives no probability": "not every row gets a probability",
    "crashes": "ZeroDivisionError",
}


def planted(defect: str, load: Callable[..., Any]) -> Callable[..., Any]:
    """`Registry.load` with a defect."""

    def loaded(self: Registry, use_case: str, version: int) -> Any:
        model = load(self, use_case, version)
        if version != 2:
            return model
        if defect == "does not load":
            raise PermanentError("its file is gone")
        predict = model.pipeline.predict_proba
        crooked = {
            "scores otherwise": lambda rows: predict(rows) * [1, 1 - 1e-9],
            "gives no probability": lambda rows: predict(rows) * float("nan"),
            "crashes": lambda rows: 1 / 0,
        }[defect]
        model.pipeline.predict_proba = crooked
        return model

    return loaded


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_model_that_is_not_as_it_was_leaves_the_old_one_serving_and_is_an_alarm(
    defect: str, two_champions: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = two_champions
    monkeypatch.setattr(champion_module.gc, "collect", lambda: time.sleep(0.5))  # as on a busy machine
    move(world, 1, Kind.ROLLED_BACK)
    with served(world, tmp_path) as (client, _):
        with monkeypatch.context() as patched:
            patched.setattr(Registry, "load", planted(defect, Registry.load))
            move(world, 2)
            until(lambda: client.get("/").json()["alarm"] is not None)
            about, told = client.get("/").json(), client.get("/metrics").text
            answer = client.post("/invocations", json=GOOD).json()
        assert DEFECTS[defect] in about["alarm"]
        assert (about["model_version"], answer["model_version"]) == (1, 1)
        assert "trainyard_serving_alarm 1.0" in told
        assert [r for r in caplog.records if r.levelname == "ERROR" and DEFECTS[defect] in r.getMessage()]
        until(lambda: client.get("/").json()["model_version"] == 2)  # once it loads, though the ledger said nothing new
        assert client.get("/").json()["alarm"] is None


@pytest.mark.usefixtures("quick")
def test_a_server_whose_first_champion_does_not_load_says_so_and_waits_for_it(
    two_champions: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "load", planted("does not load", Registry.load))
        started = served(two_champions, tmp_path)
        client, _ = started.__enter__()
        assert client.get("/ping").status_code == client.post("/invocations", json=GOOD).status_code == 503
        assert "its file is gone" in client.get("/").json()["alarm"]
    until(lambda: client.get("/ping").status_code == 200)
    started.__exit__(None, None, None)


@pytest.mark.usefixtures("quick")
def test_after_a_retirement_nobody_is_answered_until_one_is_promoted(one_champion: World, tmp_path: Path) -> None:
    with served(one_champion, tmp_path) as (client, _):
        retire(one_champion.workspace, one_champion.use_case, "a test", "test")
        until(lambda: client.get("/ping").status_code == 503)
        refused = client.post("/invocations", json=GOOD)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert client.get("/").json()["model_version"] is None
        move(one_champion, 1)
        until(lambda: client.get("/ping").status_code == 200)
        assert client.post("/invocations", json=GOOD).status_code == 200


@pytest.mark.usefixtures("quick")
def test_a_lake_that_fails_is_an_alarm_and_the_model_answers_on(
    one_champion: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(one_champion, tmp_path) as (client, _):
        with monkeypatch.context() as patched:
            patched.setattr(type(one_champion.workspace.lake), "version", unloadable)
            until(lambda: client.get("/").json()["alarm"] is not None)
            assert client.post("/invocations", json=GOOD).status_code == 200
        until(lambda: client.get("/").json()["alarm"] is None)
