"""The page in a real API server: nobody sees it without signing in, and it tells what the command line tells."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from visitor import Answer, Server

from pipelines.pages.rendering import UNKNOWN

PAGE = "/lifecycle/use-cases/flight_delay"
REPORT = "/lifecycle/reports/flight_delay/drift/2013-04-v1.html"
RUN = "/lifecycle/runs/flight_delay.training"
EXAMPLES = {
    "use_case": "flight_delay",
    "kind": "drift",
    "name": "2013-04-v1.html",
    "dag_id": "flight_delay.training",
    "run_id": "manual__1",
}


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
    views = {v["name"]: v for v in by_name["lifecycle"]["external_views"]}
    assert {name: v["destination"] for name, v in views.items()} == {"ML lifecycle": "nav", "Decision": "dag_run"}
    assert views["Decision"]["href"] == "lifecycle/runs/{DAG_ID}/{RUN_ID}"
    assert [a["url_prefix"] for a in by_name["lifecycle"]["fastapi_apps"]] == ["/lifecycle"]
    assert len(by_name["task_links"]["global_operator_extra_links"]) == 3
    assert json.loads(server.ask("/api/v2/plugins/importErrors", **token).text)["import_errors"] == []


def test_the_page_tells_what_the_command_line_tells(server: Server, page: Answer) -> None:
    told = command(server, "status")
    wanted = re.findall(r"^(\S+)  v(\d+)  AUC +(\S+) +log loss +(\S+) +drifted +(\S+)(?: +worth (.+))?$", told, re.M)
    assert len(wanted) == 3
    for partition, version, *figures in wanted:
        row = re.search(rf'<tr[^>]* data-partition="{partition}">(.*?)</tr>', page.text, re.DOTALL)
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


def test_a_runs_page_tells_what_it_decided(server: Server, viewer: dict[str, str]) -> None:
    kept = server.ask(f"{RUN}/manual__2013-05-01T00%3A00%3A00%2B00%3A00", **viewer)
    assert kept.status == 200
    assert "<h1>Kept v1</h1>" in kept.text
    assert "v1 stays. logistic failed quality: AUC &lt; 0.6." in kept.text
    assert re.findall(r'data-gate="(\w+)" data-outcome="(\w+)"', kept.text) == [("quality", "failed"), ("overfit", "passed")]
    assert "script-src" not in kept.headers["content-security-policy"]


def test_a_run_of_the_same_name_in_another_dag_decided_something_else(server: Server, viewer: dict[str, str]) -> None:
    """Two DAGs that are scheduled for the same minute have runs of one name."""
    told = {stage: server.ask(f"/lifecycle/runs/flight_delay.{stage}/scheduled__1", **viewer).text
            for stage in ("training", "retraining", "scoring")}  # fmt: skip
    assert "<h1>Promoted v2</h1>" in told["training"]
    assert "<h1>Training started</h1>" in told["retraining"]
    assert "Retrained" not in told["training"]
    assert "<h1>No decision</h1>" in told["scoring"]


def test_a_run_without_a_decision_says_so(server: Server, viewer: dict[str, str]) -> None:
    answer = server.ask(f"{RUN}/manual__none", **viewer)
    assert answer.status == 200
    assert "This run has recorded no decision." in answer.text


@pytest.mark.parametrize("dag", ["hidden.features", "hidden.training", "none.training", "flight_delay", "flight_delay.secret"])
def test_a_run_shows_only_to_who_may_see_its_dag(server: Server, viewer: dict[str, str], dag: str) -> None:
    answer = server.ask(f"/lifecycle/runs/{dag}/manual__1", **viewer)
    assert answer.status == 404
    assert "There is no such use case, or you may not see all of its DAGs." in answer.text


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
