#!/usr/bin/env bash
# The `init` service: folders, the users' passwords, both databases and their schemas. Safe to repeat: every `up` runs it again.
set -euo pipefail
umask 077

mkdir -p "$TRAINYARD_STATE"/{lake,landing,reports,mlflow/artifacts} "$AIRFLOW_HOME/logs"

# SimpleAuthManager's passwords: written here from the secrets, so that it never invents one and prints it to a log.
python - <<'PYTHON'
import json, os
from pathlib import Path

file = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
file.write_text(json.dumps({user: os.environ[f"AIRFLOW_{user.upper()}_PASSWORD"] for user in ("admin", "viewer")}))
PYTHON

python "$(dirname "$0")/databases.py"
# Once, before any server or task: the first users of an empty MLflow database race on its migrations.
PGPASSWORD="$MLFLOW_DB_PASSWORD" mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI"
airflow db migrate
