"""Buttons on a task's page in Airflow: its MLflow run, the reports that it wrote, the decision that it made.

Airflow asks for them in its API server, after it has checked that the user may see the task; nothing runs in the task.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from airflow.models.taskinstancekey import TaskInstanceKey

# Which reports a task writes, by stage and task.
_REPORTS = {("ingestion", "ingest"): "contracts", ("training", "assess"): "assessment", ("monitoring", "drift"): "drift"}
_DECIDING = {"training": ("gates", "keep", "approve", "promote", "decline"), "retraining": ("decide",)}
_log = logging.getLogger(__name__)


class Link(ABC):
    """What Airflow asks of an extra link. One that cannot be found leaves the task's page as it is."""

    name: str

    def get_link(self, operator: object, *, ti_key: TaskInstanceKey) -> str:
        try:
            return self.address(ti_key, *_split(ti_key.dag_id)) or ""
        except Exception:
            _log.exception("no link '%s' for %s", self.name, ti_key)
            return ""

    @abstractmethod
    def address(self, ti_key: TaskInstanceKey, use_case: str, stage: str) -> str | None:
        """Where it leads; None for a task that has none."""


class MlflowRun(Link):
    """The run that a candidate's training logged; the task's result has its id."""

    name = "MLflow run"

    def address(self, ti_key: TaskInstanceKey, use_case: str, stage: str) -> str | None:
        from pipelines.workspace import load_environment

        if (stage, ti_key.task_id) != ("training", "train"):
            return None
        run = _result(ti_key).get("run_id")
        return f"{load_environment().registry.page}/#/runs/{run}" if run else None


class Reports(Link):
    """The task's report, or the list of them; a partition that broke its contract has one too."""

    name = "Report"

    def address(self, ti_key: TaskInstanceKey, use_case: str, stage: str) -> str | None:
        from pipelines.pages import reports_of
        from pipelines.workspace import open_workspace

        if (stage, ti_key.task_id) == ("training", "register"):
            return _card(ti_key, use_case)
        kind = _REPORTS.get((stage, ti_key.task_id))
        partition = _partition(ti_key) if kind else None
        if kind is None or partition is None:
            return None
        source = ti_key.dag_id.split(".")[2:]
        found = [r for r in reports_of(open_workspace("page"), use_case, kind, partition) if not source or r.subject in source]
        if len(found) == 1:
            return _below_the_page(f"reports/{found[0].path}")
        return _below_the_page(f"use-cases/{use_case}/reports?partition={partition}") if found else None


class Decision(Link):
    """What the run decided, on a page of its own."""

    name = "Decision"

    def address(self, ti_key: TaskInstanceKey, use_case: str, stage: str) -> str | None:
        from urllib.parse import quote

        if ti_key.task_id not in _DECIDING.get(stage, ()):
            return None
        return _below_the_page(f"runs/{ti_key.dag_id}/{quote(ti_key.run_id, safe='')}")


class TaskLinksPlugin(AirflowPlugin):
    name = "task_links"
    # For all tasks on purpose: the other kind needs the operators' classes here, in every task process. A task without
    # a link shows none.
    global_operator_extra_links = [MlflowRun(), Reports(), Decision()]  # noqa: RUF012


def _card(ti_key: TaskInstanceKey, use_case: str) -> str | None:
    """The card of the version that the task registered."""
    version = _result(ti_key).get("version")
    return _below_the_page(f"reports/{use_case}/models/v{version}.html") if version else None


def _split(dag_id: str) -> tuple[str, str]:
    """Use case and stage; a source's ingestion is `<use case>.ingestion.<source>`."""
    use_case, stage, *_ = [*dag_id.split("."), ""]
    return use_case, stage


def _below_the_page(path: str) -> str:
    """Below the lifecycle page, also where Airflow itself is served below a path."""
    from urllib.parse import urlsplit

    from airflow.configuration import conf

    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return f"{base}/lifecycle/{path}"


def _result(ti_key: TaskInstanceKey) -> dict[str, object]:
    """What the task returned; nothing where it has not."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    wanted = XComModel.get_many(
        key="return_value",
        run_id=ti_key.run_id,
        dag_ids=ti_key.dag_id,
        task_ids=ti_key.task_id,
        map_indexes=ti_key.map_index,
    )
    with create_session() as session:
        found = session.scalars(wanted.with_only_columns(XComModel.value)).first()
    return (json.loads(found) if isinstance(found, str) else found) or {}


def _partition(ti_key: TaskInstanceKey) -> str | None:
    """The partition that a mapped task is named by; the run's key; a training's stands in its conf."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        if ti_key.map_index >= 0:
            mine = {"dag_id": ti_key.dag_id, "run_id": ti_key.run_id, "task_id": ti_key.task_id, "map_index": ti_key.map_index}
            return session.scalars(select(TaskInstance).filter_by(**mine)).one().rendered_map_index
        wanted = select(DagRun.partition_key, DagRun.conf).where(DagRun.dag_id == ti_key.dag_id, DagRun.run_id == ti_key.run_id)
        found = session.execute(wanted).one_or_none()
    return (found.partition_key or (found.conf or {}).get("partition")) if found else None
