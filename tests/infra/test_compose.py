"""docker-compose.yaml and the Dockerfile keep their promises; each rule is also shown a file that breaks it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from pipelines.local import services
from tests.infra.reading import read_env

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"
MAKE_ENV = ROOT / "infra" / "docker" / "make-env"
SCHEMA = Path(__file__).with_name("compose-spec.json")

IMAGE = "${TRAINYARD_IMAGE:-trainyard}"
SHARED = "infra/services.env"

Document = dict[str, Any]
Rule = Callable[[Document], list[str]]

VARIABLE = re.compile(r"(?<!\$)\$(?:\{([^}]*)\}|(\w+))")
REQUIRED = re.compile(r"[A-Z_]+:\?.+")
PORTS = {"AIRFLOW_PORT:-8080", "MLFLOW_PORT:-5000", "SERVING_PORT:-8081"}
WITH_DEFAULT = {*PORTS, "TRAINYARD_IMAGE:-trainyard", "TRAINYARD_COMMIT:-"}
SECRET_NAME = re.compile(r"(PASSWORD|SECRET|TOKEN|FERNET_KEY|SECRET_KEY|ACCESS_KEY)$")
URL_PASSWORD = re.compile(r"://[^/@:]*:(?P<password>[^@]*)@")


def load_compose() -> Document:
    document: Document = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    return document


def schema_errors(document: Document) -> list[str]:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def optional_variables(document: Document) -> list[str]:
    """Every variable is required, with a message: a default, or an empty string, would pass for a secret. But for a few."""
    found = VARIABLE.findall(json.dumps(document["services"]))
    return [braced or bare for braced, bare in found if not (REQUIRED.fullmatch(braced) or braced in WITH_DEFAULT)]


def literal_secrets(document: Document) -> list[str]:
    """A value whose name says that it is secret, or the password of a URL, is a variable and nothing else."""
    return [where for where, value in secret_values(document) if not re.fullmatch(r"\$\{[^}]*\}", value)]


def secret_values(document: Document) -> Iterator[tuple[str, str]]:
    for service, settings in document["services"].items():
        for name, value in settings.get("environment", {}).items():
            if SECRET_NAME.search(name):
                yield f"{service}.{name}", str(value)
            elif match := URL_PASSWORD.search(str(value)):
                yield f"{service}.{name}", match["password"]
        for part in settings.get("command", []):
            if match := URL_PASSWORD.search(part):
                yield f"{service}.command", match["password"]


def ports_beyond_loopback(document: Document) -> list[str]:
    published = [(s, port) for s, settings in document["services"].items() for port in settings.get("ports", [])]
    return [f"{service}: {port}" for service, port in published if not is_loopback(port)]


def is_loopback(port: Any) -> bool:
    return port.get("host_ip") == "127.0.0.1" if isinstance(port, dict) else str(port).startswith("127.0.0.1:")


def unwatched_services(document: Document) -> list[str]:
    """A service that stays up says how its health is seen; the one-shot ones (`restart: "no"`) have an exit code."""
    staying = {name: s for name, s in document["services"].items() if s.get("restart") != "no"}
    return [name for name, s in staying.items() if not s.get("healthcheck", {}).get("test")]


def other_images(document: Document) -> list[str]:
    """All but Postgres run the one image that `init` builds, and none asks a registry for it."""
    ours = {name: s for name, s in document["services"].items() if name != "postgres"}
    return [name for name, s in ours.items() if (s["image"], s.get("pull_policy")) != (IMAGE, "never")]


def other_builds(document: Document) -> list[str]:
    """One service builds: several builds of one tag race, and each exports gigabytes."""
    building = [name for name, settings in document["services"].items() if "build" in settings]
    return building if building != ["init"] else []


def mounted_files(document: Document) -> list[str]:
    """Volumes only: a file of the checkout keeps the checkout's owner and mode, and may not be readable in there."""
    mounts = [(name, mount) for name, s in document["services"].items() for mount in s.get("volumes", [])]
    return [f"{name}: {mount}" for name, mount in mounts if mount.split(":")[0] not in document["volumes"]]


def unbounded_logs(document: Document) -> list[str]:
    found = {name: s.get("logging", {}).get("options", {}) for name, s in document["services"].items()}
    return [name for name, options in found.items() if not {"max-size", "max-file"} <= options.keys()]


def own_settings(document: Document) -> list[str]:
    """What the containers and the local services both need stands in `infra/services.env` and nowhere else."""
    shared = read_env(ROOT / SHARED)
    ours = {name: s for name, s in document["services"].items() if name != "postgres"}
    repeated = [f"{name}.{key}" for name, s in ours.items() for key in s.get("environment", {}) if key in shared]
    return repeated + [name for name, s in ours.items() if s.get("env_file") != SHARED]


def unready_dependencies(document: Document) -> list[str]:
    """Waiting for `service_started` is waiting for nothing."""
    return [
        f"{name} -> {other}"
        for name, settings in document["services"].items()
        for other, wanted in settings.get("depends_on", {}).items()
        if wanted["condition"] not in ("service_healthy", "service_completed_successfully")
    ]


def uncopied_paths(document: Document) -> list[str]:
    """Paths below /opt/trainyard that the file names and the Dockerfile does not put into the image."""
    named = set(re.findall(r"/opt/trainyard/[\w./-]+", json.dumps(document["services"])))
    return sorted(path for path in named if not path.removeprefix("/opt/trainyard/").startswith(tuple(copied())))


def copied() -> list[str]:
    """What the Dockerfile takes from the checkout."""
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    return [source.rstrip("/") for line in lines for source in line.split()[:-1]]


RULES: list[Rule] = [
    schema_errors,
    optional_variables,
    literal_secrets,
    ports_beyond_loopback,
    unwatched_services,
    other_images,
    other_builds,
    mounted_files,
    unbounded_logs,
    own_settings,
    unready_dependencies,
    uncopied_paths,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_file_keeps_the_rule(rule: Rule) -> None:
    assert rule(load_compose()) == []


@pytest.mark.parametrize(
    ("rule", "path", "defect"),
    [
        (schema_errors, "scheduler.restrat", "always"),
        (schema_errors, "mlflow.ports", "127.0.0.1:5000:5000"),
        (optional_variables, "postgres.environment.POSTGRES_PASSWORD", "${POSTGRES_PASSWORD:-postgres}"),
        (optional_variables, "postgres.environment.POSTGRES_PASSWORD", "${POSTGRES_PASSWORD}"),
        (optional_variables, "postgres.environment.POSTGRES_PASSWORD", "$POSTGRES_PASSWORD"),
        (optional_variables, "postgres.environment.POSTGRES_PASSWORD", "${POSTGRES_PASSWORD:?}"),
        (literal_secrets, "postgres.environment.POSTGRES_PASSWORD", "postgres"),
        (literal_secrets, "api-server.environment.AIRFLOW__CORE__FERNET_KEY", ""),
        (literal_secrets, "mlflow.environment.MLFLOW_BACKEND_STORE_URI", "postgresql://mlflow:mlflow@postgres/mlflow"),
        (literal_secrets, "mlflow.command", ["mlflow", "server", "--backend-store-uri=postgresql://m:m@postgres/m"]),
        (ports_beyond_loopback, "mlflow.ports", ["5000:5000"]),
        (ports_beyond_loopback, "api-server.ports", ["0.0.0.0:8080:8080"]),
        (ports_beyond_loopback, "api-server.ports", [{"target": 8080, "published": "8080"}]),
        (unwatched_services, "triggerer.healthcheck", {}),
        (unwatched_services, "triggerer.healthcheck", {"disable": True}),
        (other_images, "scheduler.image", "apache/airflow:3.3.2"),
        (other_images, "mlflow.pull_policy", "missing"),
        (other_builds, "mlflow.build", {"context": ".", "dockerfile": "infra/docker/Dockerfile"}),
        (mounted_files, "init.volumes", ["./infra/docker/init.sql:/docker-entrypoint-initdb.d/init.sql:ro"]),
        (unbounded_logs, "postgres.logging", {}),
        (own_settings, "scheduler.environment.OMP_NUM_THREADS", "4"),
        (own_settings, "mlflow.env_file", None),
        (unready_dependencies, "init.depends_on", {"postgres": {"condition": "service_started"}}),
        (uncopied_paths, "init.command", ["bash", "/opt/trainyard/infra/docker/forgotten.sh"]),
    ],
)
def test_the_rule_refuses(rule: Rule, path: str, defect: Any) -> None:
    assert rule(planted(load_compose(), path, defect)) != []


def planted(document: Document, path: str, defect: Any) -> Document:
    """A copy with one value replaced; the round trip unties what YAML's anchors share."""
    broken: Document = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    place = broken["services"]
    for key in parents:
        place = place[key]
    place[last] = defect
    return broken


def test_the_schema_is_the_one_that_the_note_describes() -> None:
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() in SCHEMA.with_name("README.md").read_text()


def test_the_image_holds_no_secret_and_no_root() -> None:
    text = DOCKERFILE.read_text()
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["trainyard"]
    assert not re.search(r"^(ARG|ENV) .*(PASSWORD|SECRET|TOKEN|KEY)", text, re.MULTILINE)
    assert re.match(r"python:3\.11-slim-\w+", re.findall(r"^FROM (.+)$", text, re.MULTILINE)[0])


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    ignored = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert allowed == set(copied())
    assert [name for name in copied() if not (ROOT / name).exists()] == []


def variables() -> set[str]:
    found = VARIABLE.findall(json.dumps(load_compose()["services"]))
    return {re.split(r":[?-]", braced)[0] for braced, _ in found}


def make_env(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, MAKE_ENV, file], capture_output=True, text=True, check=False)


def test_make_env_gives_every_secret_a_value_of_its_own(tmp_path: Path) -> None:
    assert make_env(tmp_path / "one").returncode == 0
    assert make_env(tmp_path / "two").returncode == 0
    one, two = (read_env(tmp_path / name) for name in ("one", "two"))
    assert set(one) == variables() - {"TRAINYARD_IMAGE", "TRAINYARD_COMMIT"}
    ports = {f"{name}:-{values.pop(name)}" for values in (one, two) for name in (port.split(":")[0] for port in PORTS)}
    assert ports == PORTS
    assert min(len(value) for value in one.values()) >= 32
    assert len({*one.values(), *two.values()}) == 2 * len(one)


def test_make_env_writes_for_the_owner_only_and_never_twice(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    make_env(file)
    before = file.read_text()
    again = make_env(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert again.returncode == 1
    assert "exists" in again.stderr
    assert file.read_text() == before


def test_the_local_services_get_the_shared_settings_too(tmp_path: Path) -> None:
    shared = read_env(ROOT / SHARED)
    assert shared["OMP_NUM_THREADS"] == "1"
    assert services.settings(tmp_path, 8080, 5000).items() >= shared.items()


def test_spark_runs_in_a_container_as_it_does_locally() -> None:
    named = load_compose()["services"]["scheduler"]["environment"]["TRAINYARD_ENVIRONMENT"]
    assert named == "compose"
    local, compose = (yaml.safe_load((ROOT / f"conf/environments/{name}.yaml").read_text()) for name in ("local", named))
    assert compose["spark"] == {**local["spark"], "connect": None}  # but for the warm one, which the local services start
