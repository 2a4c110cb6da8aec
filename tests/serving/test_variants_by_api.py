"""While an experiment runs the API assigns as bulk does: the same variant of the same key, and that version's numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.errors import TransientError
from pipelines.experiments import measure, open_declared, plan_of, variants_of
from pipelines.experiments.running import record
from pipelines.scoring import score
from pipelines.serving import champion as champion_module
from pipelines.serving.champion import Follower, Served, load
from pipelines.serving.trial import ByFeatures
from pipelines.use_case import Column, ColumnType
from pipelines.workspace import CommitRecord, Kind, Registry, served_rows
from tests import synthetic
from tests.conftest import World
from tests.experiments.test_experiment_rules import FIRST, at, days, declared, moved, told
from tests.serving.serving_world import answers, feature_rows, listening, served

SECOND = "2024-03-16"


@pytest.fixture
def world(two_champions: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """v1 serves from day 15 on, and v2 is compared with it; days 15 to 18 are there."""
    monkeypatch.setattr(champion_module, "_AGAIN", 0.0)
    moved(two_champions, 1, FIRST, Kind.ROLLED_BACK)
    for day in days(two_champions.use_case, 4):
        synthetic.publish(two_champions.workspace, two_champions.use_case, day, flip=True)
    return two_champions


def begun(world: World, **values: Any) -> World:
    world = declared(world, **values)
    open_declared(at(world, FIRST))
    set_clock(world, FIRST)
    return world


def set_clock(world: World, key: str) -> None:
    day = world.use_case.partition(key)
    world.workspace.clock.set(day.starts_at("UTC") + (day.ends_at("UTC") - day.starts_at("UTC")) / 4)


def bulk(world: World, key: str) -> pd.DataFrame:
    score(at(world, key))
    return served_rows(world.workspace, world.use_case, [key]).set_index("shipment_id")


def rows_of(world: World, key: str) -> list[dict[str, Any]]:
    return feature_rows(replace(world, days=[world.use_case.partition(key)]), 0)


def alike(answer: dict[str, Any], wanted: pd.DataFrame) -> None:
    found = pd.DataFrame(answer["predictions"]).set_index("key")
    wanted = wanted.loc[found.index]
    for name in ("variant", "unit", "assigned", "model_version", "act"):
        assert found[name].tolist() == wanted[name].tolist(), name
    assert (found["probability"] - wanted["probability"]).abs().max() <= 1e-12


def shares_of(world: World, owners: list[tuple[str, int]], effective: str) -> None:
    record(at(world, FIRST), "v2_worth", Kind.EXPERIMENT_WEIGHTS, f"/{effective}/{owners}", "by hand", effective, owners=owners)


def test_the_same_keys_get_by_bulk_and_by_api_the_same_variant_and_numbers_before_and_after_a_change_of_weights(
    world: World, tmp_path: Path
) -> None:
    world = begun(world, policy="thompson", shares=[0.3])
    with served(world, tmp_path) as (client, parts):
        for key in [day.key for day in days(world.use_case, 4)]:
            set_clock(world, key)
            wanted, rows = bulk(world, key), rows_of(world, key)
            looked = client.post("/keys", json={"keys": list(wanted.index[::-1]), "partition": key}).json()
            alike(looked, wanted)
            alike(client.post("/invocations", json={"instances": rows}).json(), wanted)
            for each in rows[:3]:
                alike(client.post("/invocations", json={"instances": [each]}).json(), wanted)
            measure(at(world, key))
            parts.follower.look()
        shares = [plan_of(world.workspace.ledger.decisions("parcels"), key).weights["newer"] for key in (FIRST, key)]  # type: ignore[union-attr]
        assert shares == [pytest.approx(0.3), pytest.approx(0.95)], "the weights have changed meanwhile"
        first = served_rows(world.workspace, world.use_case, [FIRST]).set_index("shipment_id")
        alike(client.post("/keys", json={"keys": list(first.index), "partition": FIRST}).json(), first)
        assert set(first["variant"]) == {"champion", "newer"}
        parts.write()
    kept = answers(world)
    kept = kept[kept["features_partition"] == FIRST].drop_duplicates("shipment_id").set_index("shipment_id").loc[first.index]
    for name in ("variant", "unit", "weight", "assigned", "model_version"):
        assert kept[name].tolist() == first[name].tolist(), name


@pytest.fixture
def by_customer(world: World) -> World:
    """Units are customers, whole numbers, of which no feature tells; the first row has none."""
    contract = dict(world.use_case.contract)
    columns = {**contract["shipments"].columns, "customer": Column(type=ColumnType.INTEGER, nullable=True)}
    contract["shipments"] = contract["shipments"].model_copy(update={"columns": columns})
    world = replace(world, use_case=world.use_case.model_copy(update={"contract": contract}))
    shipments, _ = synthetic.parcels(world.use_case.partition(FIRST), flip=True)
    customers = pa.array([None, *(n % 9 for n in range(1, len(shipments)))], pa.int64())
    rows = pa.table({"shipment_id": shipments["shipment_id"].tolist(), "customer": customers})
    staged = world.workspace.lake.stage("parcels/shipments", FIRST, rows)
    world.workspace.lake.publish("parcels/shipments", FIRST, [staged], CommitRecord())
    return begun(world, unit="customer", shares=[0.5])


def test_who_does_not_say_its_unit_is_answered_by_the_champion_and_told_so(by_customer: World, tmp_path: Path) -> None:
    wanted, rows = bulk(by_customer, FIRST), rows_of(by_customer, FIRST)
    assert set(wanted["variant"]) == {"champion", "newer"}
    saying = [row | {"customer": None if i == 0 else float(i % 9)} for i, row in enumerate(rows)]
    with served(by_customer, tmp_path) as (client, _):
        alike(client.post("/keys", json={"keys": list(wanted.index), "partition": FIRST}).json(), wanted)
        alike(client.post("/invocations", json={"instances": saying}).json(), wanted)
        silent = client.post("/invocations", json={"instances": rows}).json()["predictions"]
        wrong = client.post("/invocations", json={"instances": [rows[0] | {"customer": "nine"}]})
    assert {(each["variant"], each["model_version"], each["unit"], each["assigned"]) for each in silent} == {
        ("champion", 1, None, None)
    }
    assert (wrong.status_code, wrong.json()["detail"][0]["field"]) == (422, "customer")


def test_without_a_key_nobody_is_assigned_where_the_key_is_the_unit(world: World, tmp_path: Path) -> None:
    with served(begun(world, shares=[1.0]), tmp_path) as (client, _):
        rows = rows_of(world, FIRST)[:2]
        del rows[0]["shipment_id"]
        found = client.post("/invocations", json={"instances": rows}).json()["predictions"]
    assert [(each["variant"], each["assigned"]) for each in found] == [("champion", None), ("newer", "newer")]


def test_without_an_experiment_answers_and_table_are_as_they_were(world: World, tmp_path: Path) -> None:
    with served(world, tmp_path) as (client, parts):
        answer = client.post("/invocations", json={"instances": rows_of(world, FIRST)[:2]}).json()
        parts.write()
    assert set(answer["predictions"][0]) == {"key", "probability", "act"}
    assert set(world.workspace.lake.column_types("parcels/answers")).isdisjoint({"variant", "unit", "weight", "assigned"})


def of_v2(monkeypatch: pytest.MonkeyPatch, predict: Any = None) -> None:
    """Planted: v2 does not load, or it does and predicts so."""
    right = Registry.load

    def loaded(self: Registry, use_case: str, version: int) -> Any:
        if version == 2 and predict is None:
            raise OSError("torn")
        return right(self, use_case, version)

    monkeypatch.setattr(Registry, "load", loaded)
    if predict is not None:
        told = Served.told
        monkeypatch.setattr(Served, "told", lambda self, rows: (predict if self.model.version == 2 else told)(self, rows))


def test_a_challenger_that_does_not_load_leaves_the_champion_answering_and_is_an_alarm(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, body = begun(world, shares=[1.0]), {"instances": rows_of(world, FIRST)[:3]}
    with monkeypatch.context() as planted:
        of_v2(planted)
        with served(world, tmp_path) as (client, parts):
            found = client.post("/invocations", json=body).json()["predictions"]
            assert {(each["variant"], each["model_version"], each["assigned"]) for each in found} == {("champion", 1, "newer")}
            assert "the champion answers for newer, v2, of 'v2_worth' (OSError: torn)" in client.get("/").json()["alarm"]
            planted.undo()
            parts.follower.look()
            assert client.get("/").json()["alarm"] is None
            found = client.post("/invocations", json=body).json()["predictions"]
    assert {(each["variant"], each["model_version"]) for each in found} == {("newer", 2)}


def test_a_challenger_that_cannot_answer_is_taken_out_and_nobody_is_refused(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, body = begun(world, shares=[1.0]), {"instances": rows_of(world, FIRST)[:3]}
    of_v2(monkeypatch, lambda *_: 1 / 0)
    with served(world, tmp_path) as (client, parts):
        for _ in range(2):
            found = client.post("/invocations", json=body).json()["predictions"]
            assert {(each["variant"], each["assigned"]) for each in found} == {("champion", "newer")}
            parts.follower.look()
        set_clock(world, SECOND)
        found = client.post("/invocations", json=body).json()["predictions"]
    assert {(each["variant"], each["assigned"]) for each in found} == {("champion", "champion")}
    (guard,) = told(world, Kind.EXPERIMENT_GUARD)
    assert (guard.effective_from, guard.model_version) == (SECOND, 2)
    assert "could not score 2024-03-15 (ZeroDivisionError" in guard.why


def test_what_does_not_answer_says_nothing_about_the_challenger(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise TransientError("busy")

    world = begun(world, shares=[1.0])
    of_v2(monkeypatch, busy)
    with served(world, tmp_path) as (client, parts):
        (found,) = client.post("/invocations", json={"instances": rows_of(world, FIRST)[:1]}).json()["predictions"]
        parts.follower.look()
    assert (found["variant"], found["assigned"]) == ("champion", "newer")
    assert told(world, Kind.EXPERIMENT_GUARD) == []


def test_a_challenger_is_not_asked_about_rows_that_lack_its_features(world: World) -> None:
    champion = world.workspace.ledger.champion("parcels")
    assert champion
    v2, rows = load(world.workspace, world.use_case, replace(champion, version=2)), rows_of(world, FIRST)[:2]
    names = frozenset(v2.model.meta["features"])
    assert ByFeatures(rows, names - {"depot"}).rows_for(v2, [0]) is None
    found = ByFeatures(rows, names).rows_for(v2, [1])
    assert found
    assert found.keys == [rows[1]["shipment_id"]]


def test_the_experiment_ends_with_a_move_of_the_champion_and_with_its_end(world: World, tmp_path: Path) -> None:
    world, body = begun(world, shares=[1.0]), {"instances": rows_of(world, FIRST)[:2]}

    def variants() -> set[tuple[int, object]]:
        parts.follower.look()
        found = client.post("/invocations", json=body).json()
        return {(each.get("model_version", found["model_version"]), each.get("variant")) for each in found["predictions"]}

    with served(world, tmp_path) as (client, parts):
        assert client.get("/").json()["experiment"]["versions"] == {"champion": 1, "newer": 2}
        assert variants() == {(2, "newer")}
        record(at(world, FIRST), "v2_worth", Kind.EXPERIMENT_ENDED, "", "by hand", SECOND)
        assert variants() == {(2, "newer")}, "as bulk, until the partition that it ends with"
        set_clock(world, SECOND)
        assert variants() == {(1, None)}
        set_clock(world, FIRST)
        moved(world, 2, FIRST, Kind.PROMOTED)
        assert variants() == {(2, None)}


def test_changes_of_weights_under_load_fail_no_request_and_mix_no_answer(world: World, tmp_path: Path) -> None:
    """Each answer is by the shares that stood before or after a change, for all of its rows; and within five seconds."""
    world = begun(world, shares=[0.5])
    keys = [row["shipment_id"] for row in rows_of(world, FIRST)]
    wanted = [[("champion", 10_000 - n), ("newer", n)] for n in (5000, 2000, 8000, 3000)]
    known = {tuple(variants_of("v2_worth", keys, owners).tolist()) for owners in wanted}
    assert len(known) == 4
    ended, seen = threading.Event(), list[tuple[str, ...]]()

    def ask(port: int) -> None:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        while not ended.is_set():
            answer = client.post("/keys", json={"keys": keys, "partition": FIRST})
            assert answer.status_code == 200, answer.text
            seen.append(tuple(each["variant"] for each in answer.json()["predictions"]))

    with asking(world, tmp_path, ask, ended):
        for owners in wanted[1:]:
            shares_of(world, owners, FIRST)
            now = tuple(variants_of("v2_worth", keys, owners).tolist())
            assert any(now in seen or ended.wait(0.1) for _ in range(50)), "within five seconds"
    assert set(seen) == known


@contextmanager
def asking(world: World, tmp_path: Path, ask: Callable[[int], None], ended: threading.Event) -> Iterator[None]:
    """Two clients of a real server, until this ends; what they trip over is raised then."""
    with served(world, tmp_path) as (_, parts), listening(parts.edge) as port, ThreadPoolExecutor(2) as pool:
        clients = [pool.submit(ask, port) for _ in range(2)]
        try:
            yield
        finally:
            ended.set()
        for each in clients:
            each.result()


def test_what_did_not_change_is_not_loaded_again(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, versions = begun(world), []
    right = Registry.load
    monkeypatch.setattr(Registry, "load", lambda self, name, version: versions.append(version) or right(self, name, version))
    with served(world, tmp_path) as (_, parts):
        adopted: list[object] = []
        follower: Follower = parts.follower
        monkeypatch.setattr(follower, "adopt", adopted.append)
        shares_of(world, [("champion", 2000), ("newer", 8000)], FIRST)
        follower.look()
        follower.look()
    assert (versions, len(adopted)) == ([1, 2], 1)
