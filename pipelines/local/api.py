"""Airflow's REST API, the few calls that the replay needs."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from pipelines.errors import PermanentError, TransientError

_TIMEOUT = 30
_TRIES = 5
# Loopback only: a proxy of the environment has no business between this process and its own children.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Run:
    """One DAG run."""

    dag: str
    id: str
    state: str
    partition: str | None
    seconds: float | None
    queued_at: str

    @property
    def stage(self) -> str:
        return self.dag.rpartition(".")[2]

    @property
    def active(self) -> bool:
        return self.state in ("queued", "running")


class Airflow:
    """A signed-in client. The token is fetched at first use and again when it has expired."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self.address, self.user, self.password = address, user, password
        self._token: str | None = None

    def healthy(self) -> bool:
        """Whether API server, scheduler, DAG processor and triggerer all report themselves healthy."""
        try:
            with _OPENER.open(f"{self.address}/api/v2/monitor/health", timeout=5) as answer:
                parts = json.load(answer)
        except (urllib.error.URLError, ConnectionError, TimeoutError, json.JSONDecodeError):
            return False
        return all(part.get("status") in ("healthy", None) for part in parts.values()) and _all_known(parts)

    def trigger(self, dag: str, run_id: str, partition: str | None = None, conf: dict[str, Any] | None = None) -> None:
        body = {"dag_run_id": run_id, "logical_date": None, "partition_key": partition, "conf": conf or {}}
        self._call("POST", f"dags/{dag}/dagRuns", body)

    def runs(self, dag: str = "~") -> list[Run]:
        """The newest 40 runs of a DAG, or of all, newest first."""
        found = self._call("GET", f"dags/{dag}/dagRuns?limit=40&order_by=-id")
        return [_run(r) for r in found["dag_runs"]]

    def failed_tasks(self, run: Run) -> list[str]:
        found = self._call("GET", f"dags/{run.dag}/dagRuns/{urllib.parse.quote(run.id, safe='')}/taskInstances")
        return [t["task_id"] for t in found["task_instances"] if t["state"] == "failed"]

    def discard_run(self, run: Run) -> None:
        """Stop a run and forget it."""
        path = f"dags/{run.dag}/dagRuns/{urllib.parse.quote(run.id, safe='')}"
        self._call("PATCH", path, {"state": "failed"})
        self._call("DELETE", path)

    def dags(self) -> set[str]:
        return {d["dag_id"] for d in self._call("GET", "dags?limit=500")["dags"]}

    def import_errors(self) -> list[str]:
        return [f"{e['filename']}: {e['stack_trace']}" for e in self._call("GET", "importErrors")["import_errors"]]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request; a busy server (SQLite has one writer) is asked again."""
        for attempt in range(_TRIES):
            try:
                return self._request(method, f"{self.address}/api/v2/{path}", body)
            except urllib.error.HTTPError as error:
                text = error.read().decode(errors="replace")[:500]
                if error.code == 401 and attempt == 0:
                    self._token = None
                elif error.code < 500:
                    raise PermanentError(f"Airflow refused {method} {path} ({error.code}): {text}") from None
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(attempt)
        raise TransientError(f"Airflow did not answer {method} {path} in {_TRIES} tries")

    def _request(self, method: str, url: str, body: dict[str, Any] | None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._sign_in()}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        with _OPENER.open(request, timeout=_TIMEOUT) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _sign_in(self) -> str:
        if self._token is None:
            body = json.dumps({"username": self.user, "password": self.password}).encode()
            request = urllib.request.Request(f"{self.address}/auth/token", body, {"Content-Type": "application/json"})
            with _OPENER.open(request, timeout=_TIMEOUT) as answer:
                self._token = str(json.load(answer)["access_token"])
        return self._token


def _all_known(parts: dict[str, Any]) -> bool:
    wanted = ("metadatabase", "scheduler", "dag_processor", "triggerer")
    return all(parts.get(name, {}).get("status") == "healthy" for name in wanted)


def _run(record: dict[str, Any]) -> Run:
    return Run(
        record["dag_id"],
        record["dag_run_id"],
        record["state"],
        record.get("partition_key"),
        record.get("duration"),
        record.get("queued_at") or record.get("run_after") or "",
    )
