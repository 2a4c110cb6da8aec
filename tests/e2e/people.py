"""Who answers approvals in these tests: signed in with a password, or with a token of Airflow's own making."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_client.client import (
    AssetApi,
    AssetEventResponse,
    ClearTaskInstancesBody,
    ClearTaskInstancesBodyTaskIdsInner,
    DagRunApi,
    ExtraLinksApi,
    HITLDetail,
    PatchTaskInstanceBody,
    TaskInstanceApi,
    TaskInstanceState,
    UpdateHITLDetailPayload,
    XComApi,
    XComCreateBody,
)

from pipelines.local.api import Airflow
from pipelines.local.credentials import secrets_of

_PATIENCE = 300


class Person(Airflow):
    """What somebody can do on the pages of one run, by the REST API that the pages call."""

    def tasks(self, dag: str, run: str) -> dict[str, str]:
        """The state of each task that is not mapped."""
        found = TaskInstanceApi(self).get_task_instances(dag, run).task_instances
        return {t.task_id: t.state.value if t.state else "None" for t in found if t.map_index == -1}

    def state(self, dag: str, run: str) -> str:
        return DagRunApi(self).get_dag_run(dag, run).state.value

    def question(self, dag: str, run: str) -> HITLDetail:
        return TaskInstanceApi(self).get_hitl_detail(dag, run, "approve", -1)

    def answer(self, dag: str, run: str, option: str, note: str | None = None) -> None:
        chosen = UpdateHITLDetailPayload(chosen_options=[option], params_input={} if note is None else {"note": note})
        TaskInstanceApi(self).update_hitl_detail(dag, run, "approve", -1, chosen)

    def mark_success(self, dag: str, run: str, task: str) -> None:
        body = PatchTaskInstanceBody(new_state=TaskInstanceState.SUCCESS)
        TaskInstanceApi(self).patch_task_instance(dag, run, task, body)

    def forge(self, dag: str, run: str, option: str) -> None:
        """Write an answer of one's own making into the task's result."""
        answer = {
            "chosen_options": [option],
            "params_input": {},
            "responded_at": "2013-04-01T12:00:00Z",
            "responded_by_user": {"id": "admin", "name": "admin"},
        }
        body = XComCreateBody(key="return_value", value=answer, map_index=-1)
        XComApi(self).create_xcom_entry(dag_id=dag, dag_run_id=run, task_id="approve", x_com_create_body=body)

    def ask_again(self, dag: str, run: str, task: str = "approve") -> None:
        """Clear the question, or a task before it, and what follows it."""
        tasks = [ClearTaskInstancesBodyTaskIdsInner(task)]
        chosen = ClearTaskInstancesBody(
            dag_run_id=run, task_ids=tasks, include_downstream=True, dry_run=False, only_failed=False
        )
        TaskInstanceApi(self).post_clear_task_instances(dag, chosen)

    def links(self, dag: str, run: str, task: str, map_index: int = -1) -> dict[str, str]:
        # Read as it came: the client's model refuses a link that leads nowhere (null), which Airflow does send.
        answer = ExtraLinksApi(self).get_extra_links_without_preload_content(dag, run, task, map_index)
        return dict(json.loads(answer.data)["extra_links"])

    def events(self, dag: str) -> list[AssetEventResponse]:
        """The asset events that the DAG's tasks have emitted."""
        return AssetApi(self).get_asset_events(source_dag_id=dag).asset_events

    def page(self, path: str) -> str:
        """A page below Airflow's address, as the signed-in browser gets it."""
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {self.token()}"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return str(answer.read().decode())

    def wait(self, what: str, happened: Callable[[], Any]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not happened():
            assert time.monotonic() < deadline, f"{what} did not happen in {_PATIENCE} s"
            time.sleep(0.5)

    def wait_for_question(self, dag: str, run: str, scheduler_log: Path) -> None:
        """Until it is asked, and the scheduler knows that the process that asked has ended.

        Airflow takes a task that was answered within that second, and is queued again, for one that was killed.
        """
        self.wait("the question", lambda: self._waits(dag, run))
        tries = TaskInstanceApi(self).get_task_instance(dag, run, "approve").try_number
        ended = re.compile(rf"dag_id={dag}, task_id=approve, run_id={run}, .* executor_state=success, try_number={tries},")
        self.wait("the end of the asking process", lambda: ended.search(scheduler_log.read_text()))

    def wait_for_end(self, dag: str, run: str) -> None:
        self.wait(f"the end of {dag} {run}", lambda: self.state(dag, run) not in ("queued", "running"))

    def _waits(self, dag: str, run: str) -> bool:
        assert self.state(dag, run) in ("queued", "running"), f"{dag} {run} ended with {self.tasks(dag, run)}"
        return self.tasks(dag, run).get("approve") == "awaiting_input"


def outsider(person: Person, state: Path, name: str, role: str) -> Person:
    """Somebody with an account and a role, whom nobody has put into a group."""
    import jwt

    token = person.token()
    claims = jwt.decode(token, options={"verify_signature": False}) | {"sub": name, "role": role}
    made = Person(person.address, name, "")
    made._token = jwt.encode(claims, secrets_of(state)["jwt"], algorithm=jwt.get_unverified_header(token)["alg"])
    return made
