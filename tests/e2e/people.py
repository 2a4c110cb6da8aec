"""Who answers approvals in these tests: signed in with a password, or with a token of Airflow's own making."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.local import services
from pipelines.local.api import Airflow

_PATIENCE = 300


class Person(Airflow):
    """What somebody can do on the pages of one run, by the REST API that the pages call."""

    def tasks(self, dag: str, run: str) -> dict[str, str]:
        """The state of each task that is not mapped."""
        found = self._call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {t["task_id"]: str(t["state"]) for t in found if t["map_index"] == -1}

    def state(self, dag: str, run: str) -> str:
        return str(self._call("GET", f"dags/{dag}/dagRuns/{run}")["state"])

    def question(self, dag: str, run: str) -> Any:
        return self._call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails")

    def answer(self, dag: str, run: str, option: str, note: str | None = None) -> None:
        body = {"chosen_options": [option], "params_input": {} if note is None else {"note": note}}
        self._call("PATCH", f"dags/{dag}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails", body)

    def mark_success(self, dag: str, run: str, task: str) -> None:
        self._call("PATCH", f"dags/{dag}/dagRuns/{run}/taskInstances/{task}", {"new_state": "success"})

    def forge(self, dag: str, run: str, option: str) -> None:
        """Write an answer of one's own making into the task's result."""
        answer = {
            "chosen_options": [option],
            "params_input": {},
            "responded_at": "2013-04-01T12:00:00Z",
            "responded_by_user": {"id": "admin", "name": "admin"},
        }
        body = {"key": "return_value", "value": answer, "map_index": -1}
        self._call("POST", f"dags/{dag}/dagRuns/{run}/taskInstances/approve/xcomEntries", body)

    def ask_again(self, dag: str, run: str, task: str = "approve") -> None:
        """Clear the question, or a task before it, and what follows it."""
        chosen = {"dag_run_id": run, "task_ids": [task], "include_downstream": True}
        self._call("POST", f"dags/{dag}/clearTaskInstances", {**chosen, "dry_run": False, "only_failed": False})

    def links(self, dag: str, run: str, task: str) -> dict[str, str]:
        return dict(self._call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/links")["extra_links"])

    def events(self, dag: str) -> list[Any]:
        """The asset events that the DAG's tasks have emitted."""
        return list(self._call("GET", f"assets/events?source_dag_id={dag}")["asset_events"])

    def page(self, path: str) -> str:
        """A page below Airflow's address, as the signed-in browser gets it."""
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {self._sign_in()}"})
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
        tries = self._call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances/approve")["try_number"]
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

    token = person._sign_in()
    claims = jwt.decode(token, options={"verify_signature": False}) | {"sub": name, "role": role}
    made = Person(person.address, name, "")
    made._token = jwt.encode(claims, services.secrets_of(state)["jwt"], algorithm=jwt.get_unverified_header(token)["alg"])
    return made
