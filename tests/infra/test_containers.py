"""The containers for real: built, started, driven through their published ports, killed, stopped, started, removed.

`make test-compose`. The tests are one story, in this order; what each of them keeps from coming back stands in its name.
"""

from __future__ import annotations

import json
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.infra.engine import ROOT, Stack, private_checkout, require_engine, run
from tests.infra.reading import ask, read_env, wait_for

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]

USE_CASE = "flight_delay"
SOURCES = ("schedule", "outcomes", "weather", "planes", "airports", "airlines")
CHAIN = {*(f"ingestion.{source}" for source in SOURCES), "features", "scoring", "labels", "monitoring"}
# As README has them.
FILES_IN = "tar -C my-files -c . | docker compose exec -T scheduler tar -x -C /var/lib/trainyard/landing"
ANY_COMMAND = "docker compose exec scheduler python -m pipelines"
ERROR_NOBODY_CAN_ACT_ON = re.compile(
    r"py\.warnings|\w+Warning:|git executable|Downloading artifacts|View run|INFO (?!SparkContext)\w+: "
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A private checkout with its image built, nothing started. Two months are enough for a training here."""
    require_engine()
    stack = Stack(private_checkout(tmp_path_factory.mktemp("compose") / "checkout"), f"trainyard-test-{uuid.uuid4().hex[:8]}")
    train_on_two_months(stack.checkout / "conf" / "use_cases" / f"{USE_CASE}.yaml")
    stack.shell("infra/docker/make-env")
    stack.move_ports()
    before = dangling()
    try:
        stack.output["build"] = stack.shell("make --no-print-directory image")
        stack.output["dangling"] = " ".join(dangling() - before)
        yield stack
    finally:
        stack.remove()


def train_on_two_months(file: Path) -> None:
    text, changed = re.subn(r"min_history: P\d+D", "min_history: P59D", file.read_text())
    assert changed == 1
    file.write_text(text)


def dangling() -> set[str]:
    return set(run("docker", "image", "ls", "--quiet", "--filter", "dangling=true").split())


@pytest.fixture(scope="module")
def up(stack: Stack) -> Stack:
    """All of it, healthy; after a first start that was cut off when Postgres ran and nothing was in it."""
    stack.compose("up", "--wait", "postgres")
    stack.output["first logins"] = logins(stack)
    stack.kill("postgres")
    print(f"healthy after {stack.up():.0f} s")
    return stack


def logins(stack: Stack) -> str:
    query = ["psql", "-h", "127.0.0.1", "-U", "postgres", "-tAc", "SELECT rolname FROM pg_roles WHERE rolcanlogin"]
    return stack.inside("env", f"PGPASSWORD={stack.secrets['POSTGRES_PASSWORD']}", *query, service="postgres")


def commit_of(checkout: Path) -> str:
    return run("git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*", cwd=checkout).strip()


def said(log: str) -> list[str]:
    """What the build says of the commit, also when it takes the step from its cache."""
    return re.findall(r'(?m)^#\d+ \[.+\] RUN echo "model cards will name the code: (.+)"$', log)


def test_one_build_makes_one_image(stack: Stack) -> None:
    assert len(set(re.findall(r"(?m)^(#\d+) (?:\[.+\] )?exporting to image", stack.output["build"]))) == 1
    assert stack.output["dangling"] == ""


def test_the_image_knows_its_commit_and_a_build_without_says_so_once(stack: Stack) -> None:
    assert said(stack.output["build"]) == [commit_of(stack.checkout)]
    bare = Stack(stack.checkout, f"{stack.name}-bare")
    (line,) = said(bare.shell("docker compose build"))
    assert "unknown" in line
    assert "make image" in line


def test_the_image_holds_what_runs_and_no_more(stack: Stack) -> None:
    image = json.loads(run("docker", "image", "inspect", stack.name))[0]
    print(f"image: {image['Size'] / 1e9:.2f} GB")
    assert image["Size"] < 3.2e9
    assert image["Config"]["User"] == "trainyard"
    frozen = "import importlib.metadata as m, json; print(json.dumps([(d.name, d.version) for d in m.distributions()]))"
    # The first of a name is the one that is imported; the base image may have another one behind it.
    found = {plain(n): v for n, v in reversed(json.loads(run("docker", "run", "--rm", stack.name, "python", "-c", frozen)))}
    pins = re.findall(r"(?m)^([\w.-]+)(?:\[.*\])?==(\S+)", (ROOT / "requirements.lock").read_text())
    locked = {(plain(name), version) for name, version in pins}
    assert {(n, v) for n, v in found.items() if n in {name for name, _ in locked}} <= locked
    assert found.keys() >= {"apache-airflow", "mlflow", "pyspark", "deltalake", "evidently", "great-expectations"}
    assert found.keys() & {"pytest", "mypy", "ruff", "moto", "cfn-lint", "ray", "google-ads", "litellm", "uv"} == set()


def plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_a_half_made_database_is_never_healthy(stack: Stack) -> None:
    """A first start that was cut off after `initdb`: the server runs and answers, but nobody can log in."""
    half = Stack(stack.checkout, f"{stack.name}-half")
    try:
        half.compose("create", "postgres")
        data = half.container("postgres")["Mounts"][0]["Name"]
        image = half.container("postgres")["Config"]["Image"]
        initdb = ["--user=postgres", "--entrypoint=initdb", image, "--auth-host=scram-sha-256"]
        run("docker", "run", "--rm", "--volume", f"{data}:/var/lib/postgresql/data", *initdb)
        half.compose("start", "postgres")
        wait_for(lambda: "accepting connections" in half.inside("pg_isready", service="postgres"), 30)
        wait_for(lambda: len(half.container("postgres")["State"]["Health"]["Log"]) >= 3, 60)
        verdicts = [each["ExitCode"] for each in half.container("postgres")["State"]["Health"]["Log"]]
        assert 0 not in verdicts
    finally:
        half.remove()


def test_a_first_start_that_was_cut_off_is_finished_by_the_next(up: Stack) -> None:
    assert up.output["first logins"].split() == ["postgres"]
    assert set(logins(up).split()) == {"postgres", "airflow", "mlflow"}


def test_every_service_is_up_healthy_and_not_root(up: Stack) -> None:
    declared = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    assert set(up.services) == {name for name, service in declared.items() if "profiles" not in service} - {"init"}
    assert up.container("init")["State"]["ExitCode"] == 0
    for service in up.services:
        found = up.container(service)
        # Health checks and `exec` run as this user too.
        assert found["Config"]["User"] == ("postgres" if service == "postgres" else "trainyard"), service
        assert found["State"]["Health"]["Status"] == "healthy", service
        _, *processes = run("docker", "top", found["Id"], "-eo", "pid,uid,args").splitlines()
        assert [line for line in processes if line.split()[1] == "0"] == [], service


def test_moved_ports_are_all_that_is_published_and_all_else_follows(up: Stack) -> None:
    published = {s: up.container(s)["HostConfig"]["PortBindings"] for s in up.services}
    own = {"api-server": "AIRFLOW_PORT", "mlflow": "MLFLOW_PORT"}
    hosts = {s: [b for bound in ports.values() for b in bound] for s, ports in published.items() if ports}
    assert hosts == {s: [{"HostIp": "127.0.0.1", "HostPort": up.settings[name]}] for s, name in own.items()}
    assert up.inside("printenv", "AIRFLOW__API__BASE_URL", "MLFLOW_PAGE").split() == [up.airflow, up.mlflow]
    search = f"{up.mlflow}/api/2.0/mlflow/experiments/search?max_results=1"
    assert ask(search)[0] == 200
    assert ask(search, headers={"Host": "rebound.example"})[0] == 403
    assert ask(f"{up.airflow}/api/v2/dags")[0] == 401


def test_files_are_open_to_whom_they_must_be_and_to_nobody_else(up: Stack) -> None:
    assert (up.checkout / ".env").stat().st_mode & 0o777 == 0o600
    assert (up.checkout / "dags" / "training.py").stat().st_mode & 0o077 == 0
    assert up.inside("find", "/opt/trainyard", "!", "-readable") == ""
    assert up.inside("find", "/opt/trainyard", "!", "-user", "root", "-o", "-perm", "/022") == ""
    private = ["/var/lib/airflow/passwords.json", "/var/lib/trainyard/lake", "/var/lib/trainyard/landing"]
    assert up.inside("stat", "-c", "%a %U", *private).splitlines() == ["600 trainyard", "700 trainyard", "700 trainyard"]


def test_the_containers_have_the_settings_of_the_local_services(up: Stack) -> None:
    shared = {f"{name}={value}" for name, value in read_env(ROOT / "infra" / "services.env").items()}
    for service in set(up.services) - {"postgres"}:
        assert shared <= set(up.container(service)["Config"]["Env"]), service
    assert up.inside("airflow", "config", "get-value", "core", "parallelism").strip() == "3"


def test_files_get_in_and_commands_run_as_readme_says(up: Stack, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    assert FILES_IN in readme
    assert ANY_COMMAND in readme
    feeds = {"TRAINYARD_ENVIRONMENT": "local", "TRAINYARD_STATE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    run(sys.executable, "-m", "pipelines", "arrive", "2013-01", env=up.environment | feeds, umask=0o077)
    up.shell(FILES_IN.replace("my-files", str(tmp_path / "landing")))
    landed = up.inside("find", "/var/lib/trainyard/landing", "-type", "f", "-printf", "%U %P\\n").splitlines()
    assert f"50000 {USE_CASE}/schedule/2013-01-31.csv.gz" in landed
    assert {line.split()[0] for line in landed} == {"50000"}
    up.shell(f"{ANY_COMMAND.replace('exec', 'exec -T')} arrive 2013-02")


def runs(up: Stack, stage: str | None = None) -> list[dict[str, Any]]:
    where = f"{USE_CASE}.{stage}" if stage else "~"
    return list(up.api(f"dags/{where}/dagRuns?limit=100&order_by=-id")["dag_runs"])


def tasks(up: Stack, run: dict[str, Any], task: str) -> list[dict[str, Any]]:
    found = up.api(f"dags/{run['dag_id']}/dagRuns/{quote(run['dag_run_id'], safe='')}/taskInstances?limit=100")
    return [each for each in found["task_instances"] if each["task_id"] == task]


def start(up: Stack, stage: str, partition: str) -> None:
    body = {"dag_run_id": f"test__{partition}", "logical_date": None, "conf": {"partition": partition}}
    up.api(f"dags/{USE_CASE}.{stage}/dagRuns", body)


def take_in(up: Stack, month: str) -> None:
    """All that every source sent for the month, in one run each."""
    for source in SOURCES:
        start(up, f"ingestion.{source}", month)


def wait_until_running(up: Stack, stage: str, task: str) -> dict[str, Any]:
    """Until a task of one of a stage's newest runs is at work; the run. Those that find nothing to do end at once."""
    found: list[dict[str, Any]] = []

    def at_work() -> bool:
        found[:] = [r for r in runs(up, stage)[:10] if any(t["state"] == "running" for t in tasks(up, r, task))]
        return bool(found)

    wait_for(at_work, 420)
    return found[0]


def month_is_done(up: Stack, partition: str) -> Callable[[], bool]:
    def done() -> bool:
        mine = [r for r in runs(up) if partition in (r["partition_key"], r["conf"].get("partition"))]
        assert [r["dag_id"] for r in mine if r["state"] == "failed"] == []
        ended = {r["dag_id"].partition(".")[2] for r in mine if r["state"] == "success"}
        return ended >= CHAIN and not any(r["state"] in ("queued", "running") for r in mine)

    return done


def decisions(up: Stack) -> list[dict[str, Any]]:
    return list(json.loads(up.inside("python", "-m", "pipelines", "decisions", USE_CASE, "--json")))


def test_a_month_runs_through(up: Stack) -> None:
    take_in(up, "2013-01")
    wait_for(month_is_done(up, "2013-01"), 300)
    assert [d["partition"] for d in decisions(up) if d["kind"] == "not scored"] == ["2013-01"]


def test_a_dead_schedulers_tasks_are_run_again_within_a_minute(up: Stack) -> None:
    take_in(up, "2013-02")
    run = wait_until_running(up, "features", "build")
    up.kill("scheduler")
    killed = time.monotonic()
    wait_for(lambda: tasks(up, run, "build")[0]["try_number"] > 1, 360)
    seconds = time.monotonic() - killed
    print(f"a dead scheduler's task stood as running for {seconds:.0f} s")
    assert seconds < 60
    wait_for(month_is_done(up, "2013-02"), 300)


def test_a_training_outlives_the_databases_death(up: Stack) -> None:
    start(up, "training", partition="2013-02")
    wait_until_running(up, "training", "train")
    up.kill("postgres")
    wait_for(lambda: runs(up, "training")[0]["state"] not in ("queued", "running"), 420)
    assert runs(up, "training")[0]["state"] == "success"
    assert {"promoted", "kept"} & {d["kind"] for d in decisions(up)}
    assert up.container("postgres")["RestartCount"] >= 1
    assert up.container("scheduler")["RestartCount"] >= 1


def test_the_model_card_names_the_commit(up: Stack) -> None:
    card = up.inside("python", "-m", "pipelines", "card", USE_CASE)
    assert commit_of(up.checkout) in card


def test_the_champion_answers_by_http_for_who_has_a_token_and_for_nobody_else(up: Stack) -> None:
    token = up.inside("python", "-m", "pipelines", "token", USE_CASE, "add", "tester").strip()
    up.compose("--profile", "serving", "up", "--wait", "--no-build", "serving")
    try:
        (bound,) = [b for ports in up.container("serving")["HostConfig"]["PortBindings"].values() for b in ports]
        assert bound == {"HostIp": "127.0.0.1", "HostPort": up.settings["SERVING_PORT"]}
        api, keys = f"http://127.0.0.1:{bound['HostPort']}", ["2013-02-28-US1117-EWR"]
        assert ask(f"{api}/keys", {"keys": keys})[0] == 401
        status, answer = ask(f"{api}/keys", {"keys": keys, "partition": "2013-02-28"}, {"Authorization": f"Bearer {token}"})
        assert (status, [told["key"] for told in answer["predictions"]]) == (200, keys)
        assert ask(f"{api}/version", headers={"Authorization": f"Bearer {token}"})[0] == 200
        assert token not in up.compose("--profile", "serving", "logs", "serving")
    finally:
        up.compose("--profile", "serving", "rm", "--stop", "--force", "serving")


def test_the_state_outlives_down_and_up(up: Stack) -> None:
    before, kept = decisions(up), {r["dag_run_id"] for r in runs(up)}
    up.output["logs before down"] = up.compose("logs", "--no-color")
    up.compose("down")
    print(f"healthy again after {up.up():.0f} s")
    assert decisions(up) == before
    assert {r["dag_run_id"] for r in runs(up)} >= kept


def test_no_secret_is_in_a_log_a_layer_or_a_command_line(up: Stack) -> None:
    files = up.inside("bash", "-c", "find /var/lib/airflow/logs -type f -exec cat {} +")
    lines = "".join(run("docker", "top", up.container(s)["Id"], "-eo", "pid,args") for s in up.services)
    layers = run("docker", "history", "--no-trunc", up.name)
    texts = {
        **up.output,
        "logs": up.compose("logs", "--no-color"),
        "task logs": files,
        "command lines": lines,
        "layers": layers,
    }
    assert all(texts[name] for name in texts if name != "dangling")
    assert [(name, secret) for name, text in texts.items() for secret, value in up.secrets.items() if value in text] == []


def test_logs_are_short_bounded_and_say_nothing_that_nobody_can_act_on(up: Stack) -> None:
    for service in [*up.services, "init"]:
        assert {"max-size", "max-file"} <= up.container(service)["HostConfig"]["LogConfig"]["Config"].keys(), service
    listed = up.inside("find", "/var/lib/airflow/logs", "-type", "f", "-printf", "%s %p\\n").splitlines()
    sizes = {path: int(size) for size, path in (line.split(" ", 1) for line in listed)}
    print(
        f"task logs: {sum(sizes.values()) / 1e3:.0f} kB in {len(sizes)} files, the longest {max(sizes.values()) / 1e3:.0f} kB"
    )
    print(f"output of all services: {len(up.output['logs before down']) / 1e6:.1f} MB")
    assert {path: size for path, size in sizes.items() if size > 30_000} == {}
    assert len(up.output["logs before down"]) < 3e6
    text = up.inside("bash", "-c", "find /var/lib/airflow/logs -path '*dag_id=*' -type f -exec cat {} +")
    assert ERROR_NOBODY_CAN_ACT_ON.findall(text) == []


def test_old_log_files_are_removed_and_young_ones_stay(up: Stack) -> None:
    old, young = "/var/lib/airflow/logs/old.log", "/var/lib/airflow/logs/young.log"
    up.inside("touch", "-d", "40 days ago", old)
    up.inside("touch", young)
    up.compose("restart", "log-groomer")
    wait_for(lambda: old not in up.inside("find", "/var/lib/airflow/logs", "-name", "*.log"), 60)
    assert young in up.inside("find", "/var/lib/airflow/logs", "-name", "*.log")


def test_nothing_is_left(stack: Stack) -> None:
    assert stack.left() != []
    stack.remove()
    assert stack.left() == []
