"""The page in a real API server: nobody sees it without signing in, and it tells what the command line tells."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from visitor import Answer, Server

from pipelines.pages.figures import UNKNOWN

PAGE = "/lifecycle/use-cases/flight_delay"
REPORT = "/lifecycle/reports/flight_delay/drift/2013-04-v1.html"
EXAMPLES = {"use_case": "flight_delay", "kind": "drift", "name": "2013-04-v1.html"}


def open_doors(server: Server, prefix: str, **headers: str) -> list[str]:
    """The routes of an application that do not answer 401 or 403."""
    asked = [(method, example(route["path"])) for route in server.routes[prefix] for method in route["methods"]]
    return [f"{m} {p}" for m, p in asked if server.ask(p, m, **headers).status not in (401, 403)]


def example(path: str) -> str:
    return re.sub(r"\{(\w+)[^}]*\}", lambda found: EXAMPLES[found[1]], path)


@pytest.fixture(scope="session")
def viewer(server: Server) -> dict[str, str]:
    """What the browser sends from inside Airflow's page: the cookie of the session."""
    return {"Cookie": f"_token={server.token('viewer')}"}


@pytest.fixture(scope="session")
def page(server: Server, viewer: dict[str, str]) -> Answer:
    return server.ask(PAGE, **viewer)


def test_no_route_of_any_plugin_answers_without_signing_in(server: Server) -> None:
    for prefix in server.routes.keys() - {"/planted"}:
        assert server.routes[prefix]
        assert open_doors(server, prefix) == []


def test_nor_with_a_token_that_is_not_good(server: Server) -> None:
    assert open_doors(server, "/lifecycle", Cookie="_token=made.up.token") == []
    assert open_doors(server, "/lifecycle", Authorization="Bearer made-up") == []


def test_the_walk_finds_doors_that_were_left_open(server: Server) -> None:
    assert open_doors(server, "/planted") == ["GET /planted/open", "HEAD /planted/open", "GET /planted/static"]


@pytest.mark.parametrize("path", ["docs", "redoc", "openapi.json"])
def test_there_is_no_public_documentation(server: Server, path: str) -> None:
    assert server.ask(f"/lifecycle/{path}").status == 404


def test_airflow_lists_every_view_and_no_plugin_failed(server: Server) -> None:
    token = {"Authorization": f"Bearer {server.token('admin')}"}
    listed = json.loads(server.ask("/api/v2/plugins", **token).text)["plugins"]
    by_name: dict[str, Any] = {each["name"]: each for each in listed}
    assert [v["name"] for v in by_name["lifecycle"]["external_views"]] == ["ML lifecycle"]
    assert [a["url_prefix"] for a in by_name["lifecycle"]["fastapi_apps"]] == ["/lifecycle"]
    assert len(by_name["task_links"]["global_operator_extra_links"]) == 2
    assert json.loads(server.ask("/api/v2/plugins/importErrors", **token).text)["import_errors"] == []


def test_the_page_tells_what_the_command_line_tells(server: Server, page: Answer) -> None:
    told = command(server, "status")
    wanted = re.findall(r"^(\S+)  v(\d+)  AUC +(\S+) +log loss +(\S+) +drifted +(\S+)(?: +worth (.+))?$", told, re.M)
    assert len(wanted) == 3
    for partition, version, *figures in wanted:
        row = re.search(rf'<tr[^>]* data-partition="{partition}">(.*?)</tr>', page.text)
        assert row
        shown = dict(re.findall(r'<td data-figure="([\w-]+)"[^>]*>([^<]*)</td>', row[1]))
        assert shown["version"] == f"v{version}"
        assert [shown[name] for name in ("auc", "log-loss", "drifted-share", "worth")] == [
            UNKNOWN if figure in ("-", "") else figure for figure in figures
        ]
    assert re.search(r"^champion +v1\b.*2013-04", told, re.M)
    assert 'data-figure="champion">v1<' in page.text
    assert "serves from 2013-04 on" in page.text
    for stage, partition in re.findall(r"^(\w+) +last partition (\S+)$", told, re.M):
        assert f'data-stage="{stage}" data-partition="{partition.replace("none", "")}"' in page.text


def test_so_do_the_decisions(server: Server, page: Answer) -> None:
    assert "promoted" in command(server, "decisions")
    assert 'data-decision="first" data-kind="promoted"' in page.text
    assert "it passes all &lt;gates&gt;" in page.text


def command(server: Server, verb: str) -> str:
    argv = [sys.executable, "-m", "pipelines", verb, "flight_delay"]
    return subprocess.run(argv, env=server.environment, capture_output=True, text=True, check=True).stdout


def test_the_overview_links_to_the_page_and_that_to_reports(server: Server, viewer: dict[str, str], page: Answer) -> None:
    assert 'href="use-cases/flight_delay"' in server.ask("/lifecycle/", **viewer).text
    assert 'href="../reports/flight_delay/drift/2013-04-v1.html"' in page.text
    listed = server.ask(f"{PAGE}/reports?partition=2013-05", **viewer).text
    assert re.findall(r'href="../../reports/([^"]+)"', listed) == ["flight_delay/drift/2013-05-v1.html"]


def test_a_report_is_served_in_a_sandbox(server: Server, viewer: dict[str, str]) -> None:
    report = server.ask(REPORT, **viewer)
    assert (report.status, report.text) == (200, "<h1>drift of 2013-04</h1><script>1</script>")
    assert report.headers["content-security-policy"].startswith("sandbox allow-scripts;")
    assert report.headers["x-content-type-options"] == "nosniff"


def test_a_page_runs_no_script(page: Answer) -> None:
    assert page.status == 200
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["content-security-policy"].startswith("default-src 'none';")
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    ["drift/2013-09-v1.html", "drift/..%2f..%2f..%2fsecrets.json", "..%2f..%2f/secrets.json", "%2e%2e/secrets.json",
     "drift/%2e%2e%2f%2e%2e%2f%2e%2e%2fsecrets.json", "drift/%00", "contracts/2013-04-v1.html"],
)  # fmt: skip
def test_no_other_file_is_served(server: Server, viewer: dict[str, str], path: str) -> None:
    answer = server.ask(f"/lifecycle/reports/flight_delay/{path}", **viewer)
    assert answer.status == 404
    assert server.token("viewer") not in answer.text


def test_a_use_case_shows_only_to_who_may_see_all_its_dags(server: Server, viewer: dict[str, str]) -> None:
    assert "hidden" not in server.ask("/lifecycle/", **viewer).text
    for path in ("use-cases/hidden", "use-cases/hidden/reports", "reports/hidden/drift/2013-04-v1.html", "use-cases/none"):
        answer = server.ask(f"/lifecycle/{path}", **viewer)
        assert answer.status == 404
        assert "There is no such use case, or you may not see all of its DAGs." in answer.text


def test_an_unreadable_lake_is_explained(server: Server, viewer: dict[str, str]) -> None:
    log = server.state / "lake/flight_delay/monitoring/_delta_log"
    away = log.rename(log.with_name("away"))
    log.mkdir()
    (log / f"{0:020d}.json").write_text("not a log")
    try:
        answer = server.ask(PAGE, **viewer)
        overview = server.ask("/lifecycle/", **viewer)
    finally:
        (log / f"{0:020d}.json").unlink()
        log.rmdir()
        away.rename(log)
    assert answer.status == 503
    assert "The state could not be read" in answer.text
    assert overview.status == 200
    assert "Its state could not be read." in overview.text
