"""Airflow's API application with the repository's plugins, served for the tests: `python server.py PORT FACTS`.

A process of its own, because Airflow reads its settings once, when it is first imported. FACTS is where it writes the
routes that it has mounted. Next to the plugins it serves `/planted`: the lifecycle page with two doors left open.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pipelines.use_case import load_use_case

USE_CASE, HIDDEN = "flight_delay", "hidden"


def main(port: int, facts: Path) -> None:
    import uvicorn
    from airflow.api_fastapi.app import create_app
    from airflow.plugins_manager import get_fastapi_plugins
    from airflow.utils.db import initdb

    initdb()
    add_dags([*_plugin().shown(load_use_case(USE_CASE)), f"{HIDDEN}.features"])
    app = create_app(apps="core")
    mounted = {each["url_prefix"]: each["app"] for each in get_fastapi_plugins()[0]}
    mounted["/planted"] = planted()
    app.mount("/planted", mounted["/planted"])
    app.router.routes.insert(0, app.router.routes.pop())  # before the UI, which answers for every other address
    facts.write_text(json.dumps({prefix: routes(each.routes, prefix) for prefix, each in mounted.items()}))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def planted() -> Any:
    """The defect that the walk must find: a route and a folder of files that ask nobody who they are."""
    from starlette.responses import PlainTextResponse
    from starlette.staticfiles import StaticFiles

    app = _plugin().build_app()
    app.add_route("/open", lambda request: PlainTextResponse("hello"))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent))
    return app


def routes(found: list[Any], prefix: str) -> list[dict[str, Any]]:
    """Every route with its methods; a mount of something without routes of its own is one route."""
    known: list[dict[str, Any]] = []
    for route in found:
        inner = getattr(route, "routes", None)
        if inner:
            known += routes(inner, prefix + route.path)
        else:
            known.append({"path": prefix + route.path, "methods": sorted(getattr(route, "methods", None) or {"GET"})})
    return known


def add_dags(dag_ids: list[str]) -> None:
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.add(DagBundleModel(name="tests"))
        session.flush()
        for dag_id in dag_ids:
            session.add(DagModel(dag_id=dag_id, bundle_name="tests", fileloc="tests", relative_fileloc="tests"))


def _plugin() -> Any:
    from airflow.plugins_manager import ensure_plugins_loaded

    ensure_plugins_loaded()
    return sys.modules["lifecycle"]


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
