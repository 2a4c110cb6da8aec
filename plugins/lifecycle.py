"""The page "ML lifecycle" inside Airflow. Every route asks who is there, and shows the use cases whose DAGs they may see."""

# Without `from __future__ import annotations`: FastAPI reads the annotations of the routes, which name local imports.
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
    from fastapi import FastAPI, Request, Response

    from pipelines.pages import Lifecycle, Unreadable
    from pipelines.use_case import UseCase

PREFIX = "/lifecycle"
_STAGES = ("features", "training", "scoring", "labels", "monitoring", "retraining", "experiments")
_LATEST, _ALL = 20, 1_000_000
_log = logging.getLogger(__name__)


class LifecyclePlugin(AirflowPlugin):
    """The app is built when Airflow's API server asks; a task process imports this file and asks for nothing."""

    name = "lifecycle"
    external_views = [  # noqa: RUF012
        {
            "name": "ML lifecycle",
            "href": f"{PREFIX.removeprefix('/')}/",
            "destination": "nav",
            "url_route": "ml-lifecycle",
            "nav_top_level": True,
        },
        {
            "name": "Decision",
            "href": f"{PREFIX.removeprefix('/')}/runs/{{DAG_ID}}/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "decision",
        },
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, object]]:  # type: ignore[override]
        return [{"app": build_app(), "url_prefix": PREFIX, "name": "ML lifecycle"}]


def build_app() -> "FastAPI":
    """The FastAPI application. It has no documentation pages: they would be public."""
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
    from airflow.api_fastapi.core_api.security import requires_access_view
    from fastapi import Depends, FastAPI

    signed_in = Depends(requires_access_view(AccessView.WEBSITE))
    app = FastAPI(title="ML lifecycle", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[signed_in])
    _add_routes(app)
    _add_problems(app)
    return app


def _add_routes(app: "FastAPI") -> None:
    from airflow.api_fastapi.core_api.security import GetUserDep
    from fastapi import Depends, Response

    from pipelines.use_case import UseCase

    asked = Annotated[UseCase, Depends(allowed())]
    of_dag = Annotated[UseCase, Depends(allowed_dag())]

    @app.get("/")
    def index(user: GetUserDep) -> Response:  # type: ignore[valid-type]
        from pipelines.pages import overview

        return _html(overview([_summary(each) for each in visible(user)]))

    @app.get("/use-cases/{use_case}")
    def one(use_case: asked, decisions: str = "") -> Response:  # type: ignore[valid-type]
        return _html(_use_case(use_case, _ALL if decisions == "all" else _LATEST))

    @app.get("/use-cases/{use_case}/reports")
    def reports(use_case: asked, partition: str | None = None) -> Response:  # type: ignore[valid-type]
        return _html(_reports(use_case, partition))

    @app.get("/use-cases/{use_case}/experiment")
    def experiment(use_case: asked, decisions: str = "") -> Response:  # type: ignore[valid-type]
        return _html(_experiment(use_case, _ALL if decisions == "all" else _LATEST))

    @app.get("/runs/{dag_id}/{run_id:path}")
    def run(use_case: of_dag, dag_id: str, run_id: str) -> Response:  # type: ignore[valid-type]
        return _html(_run(use_case, dag_id, run_id))

    @app.get("/reports/{use_case}/{kind}/{name}")
    def report(use_case: asked, kind: str, name: str) -> Response:  # type: ignore[valid-type]
        return _report(use_case, kind, name)


def shown(use_case: "UseCase") -> set[str]:
    """The DAGs of which the pages tell: who may not see one of them does not see the use case."""
    stages = (*_STAGES, *(f"ingestion.{source}" for source in use_case.sources))
    return {f"{use_case.name}.{stage}" for stage in stages}


def visible(user: "BaseUser") -> "list[UseCase]":
    """The use cases of which `user` may see every DAG that the pages tell of."""
    from pipelines.use_case import load_use_cases

    may_see = _dags_of(user)
    return [u for u in load_use_cases()[0] if shown(u) <= may_see]


def _dags_of(user: "BaseUser") -> set[str]:
    from airflow.api_fastapi.app import get_auth_manager

    return set(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def allowed() -> "Callable[..., UseCase]":
    """The dependency that turns the name in the address into a use case; a hidden one and none look the same."""
    from airflow.api_fastapi.core_api.security import GetUserDep
    from fastapi import HTTPException

    from pipelines.use_case import UseCase

    def find(use_case: str, user: GetUserDep) -> UseCase:  # type: ignore[valid-type]
        found = next((u for u in visible(user) if u.name == use_case), None)
        if found is None:
            raise HTTPException(404, "There is no such use case, or you may not see all of its DAGs.")
        return found

    return find


def allowed_dag() -> "Callable[..., UseCase]":
    """The same for a DAG's name; whoever may see the use case has to be allowed to see this DAG too."""
    from airflow.api_fastapi.core_api.security import GetUserDep

    from pipelines.use_case import UseCase

    find = allowed()

    def of_dag(dag_id: str, user: GetUserDep) -> UseCase:  # type: ignore[valid-type]
        return find(dag_id.partition(".")[0] if dag_id in _dags_of(user) else "", user)

    return of_dag


def _summary(use_case: "UseCase") -> "Lifecycle | Unreadable":
    from pipelines.pages import Unreadable, lifecycle
    from pipelines.workspace import open_workspace

    try:
        return lifecycle(open_workspace("page"), use_case, decisions=1)
    except Exception as error:
        _log.exception("the state of %s could not be read", use_case.name)
        return Unreadable(use_case=use_case.name, title=use_case.title, message=_words(error))


def _use_case(use_case: "UseCase", decisions: int) -> str:
    from pipelines.pages import cards, lifecycle, use_case_page
    from pipelines.workspace import open_workspace

    workspace = open_workspace("page")
    models = f"{workspace.environment.registry.page}/#/models/{use_case.name}"
    return use_case_page(lifecycle(workspace, use_case, decisions), models, cards(workspace, use_case.name))


def _run(use_case: "UseCase", dag_id: str, run_id: str) -> str:
    from pipelines.pages import decisions_of_run, run_page
    from pipelines.workspace import open_workspace

    stage = dag_id.split(".")[1]
    return run_page(use_case.title, stage, run_id, decisions_of_run(open_workspace("page"), use_case, stage, run_id))


def _reports(use_case: "UseCase", partition: str | None) -> str:
    from pipelines.pages import known_reports, reports_page
    from pipelines.workspace import open_workspace

    known = known_reports(open_workspace("page"), use_case.name)
    shown = [r for r in known if partition is None or r.partition == partition]
    return reports_page(use_case.title, use_case.name, shown, partition)


def _experiment(use_case: "UseCase", decisions: int) -> str:
    from pipelines.pages import experiment_page, experiment_view
    from pipelines.workspace import open_workspace

    view = experiment_view(open_workspace("page"), use_case, decisions)
    return experiment_page(use_case.title, use_case.name, view)


def _report(use_case: "UseCase", kind: str, name: str) -> "Response":
    from fastapi import HTTPException, Response

    from pipelines.errors import PermanentError
    from pipelines.pages import REPORT_HEADERS, read_report
    from pipelines.workspace import open_workspace

    try:
        page = read_report(open_workspace("page"), use_case.name, kind, name)
    except PermanentError as error:
        raise HTTPException(404, str(error)) from None
    return Response(page, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)


def _html(page: str, status: int = 200) -> "Response":
    from fastapi import Response

    from pipelines.pages import HEADERS

    return Response(page, status, HEADERS, "text/html; charset=utf-8")


def _add_problems(app: "FastAPI") -> None:
    """Errors as pages for people; who is not signed in gets Airflow's plain 401 or 403."""
    from fastapi import HTTPException
    from fastapi.exception_handlers import http_exception_handler

    async def not_found(request: "Request", error: HTTPException) -> "Response":
        if error.status_code != 404:
            return await http_exception_handler(request, error)
        return _problem(request, 404, "Not here", str(error.detail))

    async def unreadable(request: "Request", error: Exception) -> "Response":
        return _problem(request, 503, "The state could not be read", _words(error))

    app.add_exception_handler(HTTPException, not_found)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, unreadable)


def _problem(request: "Request", status: int, title: str, message: str) -> "Response":
    from pipelines.pages import problem

    return _html(problem(title, message, back=f"{request.scope['root_path']}/"), status)


def _words(error: Exception) -> str:
    """Our own errors say what to do; others may hold anything, and stay in the log."""
    from pipelines.errors import PermanentError, TransientError

    if isinstance(error, PermanentError | TransientError):
        return str(error)
    return f"{type(error).__name__}: the log of Airflow's API server has the details. Check that the lake can be reached."
