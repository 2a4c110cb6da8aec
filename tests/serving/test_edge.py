"""Who may ask, how much at a time, how long; and what of it is written down."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import PermanentError
from pipelines.serving import server
from pipelines.serving.edge import Door, Edge, Limits
from pipelines.serving.meters import Meters
from pipelines.serving.tokens import Tokens
from tests.conftest import World
from tests.serving.serving_world import listening, row, served

GOOD = {"instances": [row(shipment_id="2024-03-09-0001")]}


# tokens --------------------------------------------------------------------------------------------------------------


def test_a_token_opens_its_use_case_only_and_its_revocation_shuts_it_at_once(one_champion: World, tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    mine, other = tokens.add("parcels", "crew"), tokens.add("flights", "crew")
    with served(one_champion, tmp_path, loopback=False) as (client, _):

        def status(header: str | bytes | None, path: str = "/invocations") -> int:
            headers = {} if header is None else {"authorization": header}
            method = "POST" if path == "/invocations" else "GET"
            return client.request(method, path, json=GOOD, headers=headers).status_code

        assert status(f"Bearer {mine}") == status(f"bearer  {mine}") == 200
        assert [status(h) for h in (None, "", mine, f"Basic {mine}", f"Bearer {mine}x", "Bearer ", b"Bearer \xff")] == [401] * 7
        assert status(f"Bearer {other}") == 403
        for path in ("/", "/metrics", "/version", "/docs", "/openapi.json", "/nowhere"):
            assert status(None, path) == 401
        assert status(None, "/ping") == 200
        tokens.revoke("parcels", "crew")
        assert status(f"Bearer {mine}") == 401


def test_on_the_loopback_a_token_is_needed_as_soon_as_there_is_one(one_champion: World, tmp_path: Path) -> None:
    with served(one_champion, tmp_path) as (client, _):
        assert client.post("/invocations", json=GOOD).status_code == 200
        assert client.post("/invocations", json=GOOD, headers={"host": "evil.example"}).status_code == 421
        mine = Tokens(tmp_path / "tokens.json").add("parcels", "crew")
        assert client.post("/invocations", json=GOOD).status_code == 401
        assert client.post("/invocations", json=GOOD, headers={"authorization": f"Bearer {mine}"}).status_code == 200


def test_what_is_kept_of_a_token_is_its_digest_for_the_owner_s_eyes(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "serving" / "tokens.json")
    text = tokens.add("parcels", "crew")
    assert len(text) >= 43  # 32 random bytes
    assert text not in tokens.file.read_text()
    assert tokens.file.stat().st_mode & 0o777 == 0o600
    assert tokens.of("parcels") == ["crew"]
    with pytest.raises(PermanentError, match="there is a token 'crew' already"):
        tokens.add("parcels", "crew")
    with pytest.raises(PermanentError, match="no token 'crwe'; there are crew"):
        tokens.revoke("parcels", "crwe")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "serving", "localhost.example.com"])
def test_without_a_token_nothing_but_the_loopback_is_listened_on(
    host: str, one_champion: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("uvicorn.Server.run", lambda self: started.append(self.config.host))
    with pytest.raises(PermanentError, match=f"whoever reaches {host} could ask, and there is no token"):
        server.serve(one_champion.workspace, one_champion.use_case, host, 1, 60)
    server.tokens_file().add("flights", "of another use case")
    with pytest.raises(PermanentError, match="there is no token"):
        server.serve(one_champion.workspace, one_champion.use_case, host, 1, 60)
    assert started == []
    server.tokens_file().add("parcels", "crew")
    server.serve(one_champion.workspace, one_champion.use_case, host, 1, 60)
    assert started == [host]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_the_loopback_is_known(host: str) -> None:
    assert server.is_loopback(host)


# limits --------------------------------------------------------------------------------------------------------------


class Slow:
    """An application that answers when it is let go; and a client of the edge before it, whose body may come slowly."""

    def __init__(self, tmp_path: Path, **limits: Any) -> None:
        self.edge = Edge(Door("parcels", Tokens(tmp_path / "none"), True), Meters(), Limits(**limits))
        self.edge.app = self.answer
        self.go, self.at_once, self.most = asyncio.Event(), 0, 0

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.go.wait()
        self.at_once -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(self, delay: float = 0.0) -> tuple[int, dict[bytes, bytes]]:
        sent: list[Any] = []
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers, "query_string": b""}

        async def receive() -> Any:
            await asyncio.sleep(delay)
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.edge(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"])


def test_more_requests_than_may_wait_are_sent_away_and_fewer_are_answered_in_turn(tmp_path: Path) -> None:
    async def run() -> None:
        slow = Slow(tmp_path, at_once=2, waiting=5)
        asked = [asyncio.create_task(slow.ask()) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert (await slow.ask())[0] == 429
        assert (await slow.ask())[1][b"retry-after"] == b"1"
        slow.go.set()
        assert [status for status, _ in await asyncio.gather(*asked)] == [200] * 5
        assert slow.most == 2
        assert (await slow.ask())[0] == 200  # nobody's place was lost

    asyncio.run(run())


def test_who_gets_no_turn_in_time_is_told_when_to_come_again(tmp_path: Path) -> None:
    async def run() -> None:
        slow = Slow(tmp_path, at_once=1, patience=0.1)
        first = asyncio.create_task(slow.ask())
        await asyncio.sleep(0.02)
        status, headers = await asyncio.wait_for(slow.ask(), 2)
        assert (status, headers[b"retry-after"]) == (503, b"2")
        slow.go.set()
        assert (await first)[0] == 200
        assert (await slow.ask())[0] == 200

    asyncio.run(run())


def test_a_client_that_sends_too_slowly_keeps_no_place(tmp_path: Path) -> None:
    async def run() -> None:
        slow = Slow(tmp_path, reading=0.1, waiting=1)
        slow.go.set()
        assert (await asyncio.wait_for(slow.ask(delay=5), 2))[0] == 408
        assert (await slow.ask())[0] == 200

    asyncio.run(run())


def test_before_a_model_was_looked_for_and_while_the_spool_is_full_it_is_503(one_champion: World, tmp_path: Path) -> None:
    edge = Edge(Door("parcels", Tokens(tmp_path / "none"), True), Meters())
    from starlette.testclient import TestClient

    early = TestClient(edge, base_url="http://localhost").get("/")
    assert (early.status_code, early.headers["retry-after"]) == (503, "1")
    with served(one_champion, tmp_path) as (client, parts):
        parts.spool.most_bytes = 10
        full = client.post("/invocations", json=GOOD)
        assert (full.status_code, full.headers["retry-after"]) == (503, "5")
        parts.spool.most_bytes = 10_000
        assert client.post("/invocations", json=GOOD).status_code == 200


# what is told --------------------------------------------------------------------------------------------------------


def test_the_log_has_no_values_and_no_token(one_champion: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token = Tokens(tmp_path / "tokens.json").add("parcels", "crew planning")
    caplog.set_level(logging.INFO, "pipelines.serving")
    sent = {"instances": [row(shipment_id="2024-03-09-0001", distance=1234.5)]}
    with served(one_champion, tmp_path) as (client, _):
        headers = {"authorization": f"Bearer {token}"}
        assert client.post("/invocations?distance=1234.5", json=sent, headers=headers).status_code == 200
        assert client.post("/invocations", json={"instances": [row(distance="1234.5")]}, headers=headers).status_code == 422
        assert client.get("/1234.5", headers=headers).status_code == 404
    assert "POST /invocations 200" in caplog.text
    assert "crew planning" in caplog.text
    for secret in ("1234.5", "2024-03-09-0001", token):
        assert not [r for r in caplog.records if r.name.startswith("pipelines.") and secret in r.getMessage()]


def test_prometheus_is_told(one_champion: World, tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families as parse

    with served(one_champion, tmp_path) as (client, _):
        client.post("/invocations", json={"instances": [row(), row(carrier="ZZ")]})
        client.post("/invocations", json={})
        client.get("/nowhere/at/all")
        found = {(s.name, *sorted(s.labels.values())): s.value for f in parse(client.get("/metrics").text) for s in f.samples}
    name = "trainyard_serving"
    assert found[f"{name}_requests_total", "/invocations", "200"] == found[f"{name}_requests_total", "/invocations", "422"] == 1
    assert found[f"{name}_requests_total", "404", "other"] == 1
    assert found[f"{name}_request_seconds_count", "/invocations"] == 2
    assert found[f"{name}_rows_total",] == 2
    assert found[f"{name}_odd_values_total", "carrier", "unknown"] == 1
    assert found[f"{name}_model_version",] == 1
    assert found[f"{name}_model_age_seconds",] > 0
    assert found[f"{name}_alarm",] == 0
    assert found[f"{name}_spool_bytes",] > 0


def test_a_page_and_a_schema_say_what_is_served(one_champion: World, tmp_path: Path) -> None:
    with served(one_champion, tmp_path) as (client, _):
        about = client.get("/").json()
        schema = client.get("/openapi.json").json()
        body = schema["components"]["schemas"]["Invocation"]
        answer = client.post("/invocations", json=body["examples"][0])
        assert client.get("/docs").status_code == client.get("/ping").status_code == 200
    assert (about["model_version"], about["alarm"]) == (1, None)
    assert about["model_card"] == "lifecycle/reports/parcels/models/v1.html"
    assert about["champion_since"] == one_champion.workspace.ledger.champion("parcels").at  # type: ignore[union-attr]
    assert schema["info"]["version"] == "v1"
    features = schema["components"]["schemas"]["Row"]["properties"]
    assert features["depot"]["enum"] == ["north", "south", "east"]
    assert {"minimum": 0, "maximum": 1000}.items() <= features["weight"]["anyOf"][0].items()
    assert features["carrier"]["pattern"] == "^[A-Z]{2}$"
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 1


def test_mlflow_s_own_client_is_answered(one_champion: World, tmp_path: Path) -> None:
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    with served(one_champion, tmp_path) as (_, parts), listening(parts.edge) as port:
        client = ScoringServerClient("127.0.0.1", port)
        client.ping()
        assert client.get_version()
        rows = pd.DataFrame([row(), row(weight=None, distance=900.0)])
        found = client.invoke(rows).get_predictions()
    assert list(found.columns) == ["key", "probability", "act"]
    assert found["probability"].between(0, 1).all()
