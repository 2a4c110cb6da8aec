"""What every process of Airflow and MLflow on this machine finds in its environment."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from pipelines.local.credentials import secrets_of, write_private
from pipelines.use_case import ROOT


def settings(state: Path, airflow_port: int, mlflow_port: int) -> dict[str, str]:
    """The environment of every process: `infra/services.env`, and what is of this machine only."""
    kept = secrets_of(state)
    home = state / "airflow"
    passwords = home / "passwords.json"
    write_private(passwords, json.dumps({"admin": kept["admin"], "viewer": kept["viewer"]}))
    airflow = {
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "CORE__FERNET_KEY": kept["fernet"],
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{airflow_port}/execution/",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(airflow_port),
        "API__BASE_URL": f"http://127.0.0.1:{airflow_port}",
        "API__SECRET_KEY": kept["session"],
        "API_AUTH__JWT_SECRET": kept["jwt"],
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
    }
    # Without its bytecode every task compiles its libraries anew.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        **shared_settings(),
        **{f"AIRFLOW__{name}": value for name, value in airflow.items()},
        "AIRFLOW_HOME": str(home),
        "TRAINYARD_STATE": str(state),
        "MLFLOW_PAGE": f"http://127.0.0.1:{mlflow_port}",
        "PYTHONPATH": str(ROOT),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
    }


def shared_settings() -> dict[str, str]:
    """What the local services and the containers both need."""
    lines = (ROOT / "infra" / "services.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
