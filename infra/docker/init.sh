#!/usr/bin/env bash
# The `init` service: folders, the admin's password, both database schemas. Safe to repeat: every `up` runs it again.
set -euo pipefail
umask 077

mkdir -p "$TRAINYARD_STATE"/{lake,landing,reports,mlflow/artifacts} "$AIRFLOW_HOME/logs"

# SimpleAuthManager's passwords: written here from the secret, so that it never invents one and prints it to a log.
python - <<'PYTHON'
import json, os
from pathlib import Path

file = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
file.write_text(json.dumps({"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}))
PYTHON

# Once, before any server or task: the first users of an empty MLflow database race on its migrations.
PGPASSWORD="$MLFLOW_DB_PASSWORD" mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI"
airflow db migrate
