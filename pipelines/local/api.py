"""Airflow's REST API through Airflow's own client: signed in, patient, and with the two kinds of error.

It takes a second to import, so this module is imported where it is used (the linter refuses it at a module's top).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_client.client import (
    ApiClient,
    Configuration,
    DAGApi,
    DagRunApi,
    DagRunMutableStates,
    DAGRunPatchBody,
    DAGRunResponse,
    ImportErrorApi,
    MonitorApi,
    TaskInstanceApi,
    TriggerDAGRunPostBody,
)
from airflow_client.client.rest import RESTResponse
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from pipelines.errors import PermanentError, TransientError

_TIMEOUT, _PAGE = 30, 100
_TRIES_AGAIN = 5


class Airflow(ApiClient):
    """A client of one Airflow; `DagRunApi(airflow)` and its siblings have every call, the methods those of the replay.

    Raises, at every call:
        PermanentError: Airflow refuses; its words are in the message.
        TransientError: no answer, or a server's error, though a busy server (SQLite has one writer) was asked again.
    """

    def __init__(self, address: str, user: str, password: str, tries_again: int = _TRIES_AGAIN) -> None:
        again = Retry(
            tries_again, status_forcelist=range(500, 600), allowed_methods=None, backoff_factor=0.5, raise_on_status=False
        )
        # Loopback only: a proxy of the environment has no business between this process and its own children.
        super().__init__(Configuration(host=address, no_proxy="*", retries=again))
        self.address = address
        self._who = {"username": user, "password": password}
        self._token: str | None = None

    def call_api(
        self,
        method: str,
        url: str,
        header_params: Mapping[str, str] | None = None,
        body: object = None,
        post_params: object = None,
        _request_timeout: object = None,
    ) -> RESTResponse:
        """Every request of the client comes by here. A token is fetched at first use, and again when it has expired."""
        headers = dict(header_params or {})
        answer = self._ask(method, url, headers | {"Authorization": f"Bearer {self.token()}"}, body)
        if answer.status == 401:
            self._token = None
            answer = self._ask(method, url, headers | {"Authorization": f"Bearer {self.token()}"}, body)
        return _accepted(method, url, answer)

    def token(self) -> str:
        if self._token is None:
            url = f"{self.address}/auth/token"
            answer = _accepted("POST", url, self._ask("POST", url, {"Content-Type": "application/json"}, self._who))
            self._token = str(json.loads(_body(answer))["access_token"])
        return self._token

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: object) -> RESTResponse:
        try:
            answer = super().call_api(method, url, headers, body, _request_timeout=_TIMEOUT)
            _body(answer)  # here, so that an answer that breaks off is known as such
        except HTTPError as error:
            raise TransientError(f"Airflow did not answer {method} {url}: {error}") from None
        return answer

    def healthy(self) -> bool:
        """Whether API server, scheduler, DAG processor and triggerer all report themselves healthy."""
        try:
            health = MonitorApi(self).get_health()
        except TransientError:
            return False
        parts = (health.metadatabase, health.scheduler, health.dag_processor, health.triggerer)
        return all(part is not None and part.status == "healthy" for part in parts)

    def trigger(self, dag: str, run_id: str, partition: str | None = None, conf: dict[str, Any] | None = None) -> None:
        body = TriggerDAGRunPostBody(dag_run_id=run_id, partition_key=partition, conf=conf or {})
        DagRunApi(self).trigger_dag_run(dag, body)

    def runs(self, dag: str = "~") -> list[DAGRunResponse]:
        """The newest 40 runs of a DAG, or of all, newest first."""
        return DagRunApi(self).get_dag_runs(dag, limit=40, order_by=["-id"]).dag_runs

    def failed_tasks(self, run: DAGRunResponse) -> list[str]:
        found = TaskInstanceApi(self).get_task_instances(run.dag_id, run.dag_run_id, state=["failed"])
        return [task.task_id for task in found.task_instances]

    def discard_run(self, run: DAGRunResponse) -> None:
        """Stop a run and forget it."""
        runs = DagRunApi(self)
        runs.patch_dag_run(run.dag_id, run.dag_run_id, DAGRunPatchBody(state=DagRunMutableStates.FAILED))
        runs.delete_dag_run(run.dag_id, run.dag_run_id)

    def dags(self) -> set[str]:
        """All of them, page by page: Airflow gives no more than 100 at a time, whatever is asked for."""
        found: list[str] = []
        while page := DAGApi(self).get_dags(limit=_PAGE, offset=len(found)).dags:
            found += [dag.dag_id for dag in page]
        return set(found)

    def import_errors(self) -> list[str]:
        found = ImportErrorApi(self).get_import_errors()
        return [f"{each.filename}: {each.stack_trace}" for each in found.import_errors]


def _accepted(method: str, url: str, answer: RESTResponse) -> RESTResponse:
    if answer.status >= 500:
        raise TransientError(f"Airflow failed at {method} {url} ({answer.status})")
    if answer.status >= 400:
        text = _body(answer).decode(errors="replace")[:500]
        raise PermanentError(f"Airflow refused {method} {url} ({answer.status}): {text}")
    return answer


def _body(answer: RESTResponse) -> bytes:
    return bytes(answer.response.data)
