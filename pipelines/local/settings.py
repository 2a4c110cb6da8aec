"""What every process of Airflow and MLflow on this machine finds in its environment."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from pipelines.local.credentials import secrets_of, write_private
from pipelines.use_case import ROOT


def settings(state: Path, airflow_port: int, mlflow_port: int) -> dict[str, str]:
    """The environment of every process: Airflow's settings as `AIRFLOW__SECTION__KEY`."""
    kept = secrets_of(state)
    home = state / "airflow"
    passwords = home / "passwords.json"
    write_private(passwords, json.dumps({"admin": kept["admin"], "viewer": kept["viewer"]}))
    airflow = {
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__EXECUTOR": "LocalExecutor",
        # Two cores: more tasks at once only wait for each other, and SQLite was held at four.
        "CORE__PARALLELISM": "3",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "CORE__FERNET_KEY": kept["fernet"],
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{airflow_port}/execution/",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(airflow_port),
        "API__BASE_URL": f"http://127.0.0.1:{airflow_port}",
        "API__SECRET_KEY": kept["session"],
        "API__WORKERS": "1",
        "API_AUTH__JWT_SECRET": kept["jwt"],
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "DAG_PROCESSOR__REFRESH_INTERVAL": "300",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "120",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    spark = {"conn_type": "spark", "host": "local[*]", "extra": {"deploy-mode": "client"}}
    # Without its bytecode every task compiles its libraries anew.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        **{f"AIRFLOW__{name}": value for name, value in airflow.items()},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(spark),
        "TRAINYARD_STATE": str(state),
        "MLFLOW_PAGE": f"http://127.0.0.1:{mlflow_port}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Its job runners would be seven more processes, of 400 MB each, that nothing here uses.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "DO_NOT_TRACK": "true",
        "GX_ANALYTICS_ENABLED": "False",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        # One thread per task: two tasks share two cores, and the numbers do not depend on who else is at work.
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
