"""The client of Airflow's API: signed in, patient with a busy server, plain about a refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from pipelines.errors import PermanentError, TransientError
from pipelines.local.api import Airflow

RUN = {
    "dag_id": "parcels.scoring",
    "dag_display_name": "parcels.scoring",
    "dag_run_id": "asset_triggered__1",
    "dag_versions": [],
    "run_after": "2013-05-01T00:00:00Z",
    "run_type": "asset_triggered",
    "state": "running",
    "partition_key": "2013-05",
}
Answers = list[tuple[int, Any]]


@contextmanager
def server(answers: Answers) -> Iterator[tuple[str, list[str]]]:
    """A real server that gives these answers, one per request, and a token whenever asked; and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            asked.append(f"{self.command} {self.path} {self.headers.get('Authorization')} {body}")
            signing_in = self.path == "/auth/token"
            token = {"access_token": f"token{sum('/auth/token' in line for line in asked)}"}
            status, answer = (201, token) if signing_in else answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST = do_PATCH = do_DELETE = reply

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()


def test_it_signs_in_once_and_asks_for_the_newest_runs() -> None:
    with server([(200, {"dag_runs": [RUN], "total_entries": 1})] * 2) as (address, asked):
        airflow = Airflow(address, "admin", "secret")
        (run,) = airflow.runs()
        assert (run.dag_id, run.state, run.partition_key, run.duration) == ("parcels.scoring", "running", "2013-05", None)
        airflow.runs("parcels.scoring")
    assert asked == [
        'POST /auth/token None {"username": "admin", "password": "secret"}',
        "GET /api/v2/dags/~/dagRuns?limit=40&order_by=-id Bearer token1 ",
        "GET /api/v2/dags/parcels.scoring/dagRuns?limit=40&order_by=-id Bearer token1 ",
    ]


def test_all_dags_are_asked_for_page_by_page() -> None:
    """Airflow gives a hundred of them at most, whatever limit is said."""
    no = dict.fromkeys(("is_paused", "is_stale", "is_backfillable", "has_task_concurrency_limits", "has_import_errors"), False)
    no |= {"timetable_partitioned": False, "timetable_periodic": False}
    about = {"fileloc": "x", "file_token": "", "owners": [], "tags": [], "max_active_tasks": 1}
    about |= {"max_consecutive_failed_dag_runs": 0, **no}
    every = [{"dag_id": f"d{n}", "dag_display_name": f"d{n}", **about} for n in range(120)]
    pages: Answers = [(200, {"dags": part, "total_entries": 120}) for part in (every[:100], every[100:], [])]
    with server(pages) as (address, asked):
        assert Airflow(address, "admin", "secret").dags() == {f"d{n}" for n in range(120)}
    assert [line.split()[1] for line in asked[1:]] == [f"/api/v2/dags?limit=100&offset={n}" for n in (0, 100, 120)]


def test_a_run_is_started_for_a_partition() -> None:
    with server([(200, RUN)]) as (address, asked):
        Airflow(address, "admin", "secret").trigger("parcels.scoring", "replay__2013-05", "2013-05")
    method, path, _, _, body = asked[1].split(" ", 4)
    assert (method, path) == ("POST", "/api/v2/dags/parcels.scoring/dagRuns")
    wanted = {"dag_run_id": "replay__2013-05", "partition_key": "2013-05", "logical_date": None, "conf": {}}
    assert json.loads(body) == wanted


def test_an_expired_token_is_fetched_anew() -> None:
    with server([(401, {"detail": "expired"}), (200, {"dag_runs": [], "total_entries": 0})]) as (address, asked):
        assert Airflow(address, "admin", "secret").runs() == []
    assert [line.split(" ")[3] for line in asked if "/dagRuns" in line] == ["token1", "token2"]


def test_a_busy_server_is_asked_again() -> None:
    with server([(500, "database is locked"), (503, ""), (200, {"dag_runs": [RUN], "total_entries": 1})]) as (address, asked):
        assert len(Airflow(address, "admin", "secret").runs()) == 1
    assert sum("/dagRuns" in line for line in asked) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 409])
def test_a_refusal_is_permanent_and_says_what_airflow_said(status: int) -> None:
    with server([(status, {"detail": "not yours"})] * 2) as (address, _), pytest.raises(PermanentError) as refused:
        Airflow(address, "viewer", "secret").trigger("parcels.scoring", "mine")
    assert f"/api/v2/dags/parcels.scoring/dagRuns ({status})" in str(refused.value)
    assert "not yours" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_no_answer_is_transient_and_not_healthy(unused: str) -> None:
    airflow = Airflow(unused, "admin", "secret", tries_again=0)
    assert not airflow.healthy()
    with pytest.raises(TransientError, match="did not answer POST"):
        airflow.runs()


def test_a_server_that_goes_on_failing_is_transient() -> None:
    with server([(500, "")]) as (address, _), pytest.raises(TransientError, match=r"failed at GET \S+dagRuns\S+ \(500\)"):
        Airflow(address, "admin", "secret", tries_again=0).runs()


@pytest.mark.parametrize("missing", [None, "scheduler", "dag_processor", "triggerer"])
def test_healthy_means_every_part(missing: str | None) -> None:
    parts: dict[str, Any] = {
        name: {"status": "healthy"} for name in ("metadatabase", "scheduler", "dag_processor", "triggerer")
    }
    if missing:
        parts[missing] = {"status": None}
    with server([(200, parts)]) as (address, _):
        assert Airflow(address, "admin", "secret").healthy() is (missing is None)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, unused: str) -> None:
    monkeypatch.setenv("http_proxy", unused)
    monkeypatch.setenv("HTTP_PROXY", unused)
    with server([(200, {"dag_runs": [], "total_entries": 0})]) as (address, _):
        assert Airflow(address, "admin", "secret", tries_again=0).runs() == []


@pytest.fixture
def unused() -> str:
    """An address where nobody answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as http:
        return f"http://127.0.0.1:{http.server_port}"
