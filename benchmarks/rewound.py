"""A copy of the demo's state as it was before a partition, and a use case beside it that declares an experiment."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import yaml
from deltalake import DeltaTable

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

NAME = "flight_delay"
DERIVED = ("labels", "predictions", "monitoring", "decisions")
EACH_DAY = ("schedule", "outcomes", "weather", "weather_quarantine", "features")
_LOCATIONS = ("runs.artifact_uri", "logged_models.artifact_location", "experiments.artifact_location",
              "model_versions.storage_location", "model_versions.source")  # fmt: skip


def rewound(state: Path, to: Path, before: str, tables: tuple[str, ...] = DERIVED) -> None:
    """What these tables hold of partition `before`, of its month, and of later ones is not there yet; Airflow knows nothing."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(state, to, ignore=shutil.ignore_patterns("airflow", "services.json", "spark", "logs"))
    for table in tables:
        DeltaTable(str(to / "lake" / NAME / table)).delete(f"partition >= '{_from(table, before)}' and partition <> 'snapshot'")
    with sqlite3.connect(to / "mlflow" / "mlflow.db") as database:
        for table, column in (each.split(".") for each in _LOCATIONS):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(state), str(to)))
    _set_alias(to)


def _from(table: str, before: str) -> str:
    """Decisions and monitoring are about months too, of which the one that has just begun cannot be told yet."""
    return before[:7] if table in ("monitoring", "decisions") else before


def declare(state: Path, experiment: dict[str, Any], **sections: dict[str, Any]) -> None:
    """The use case with the section; from here on this process and its children work with this state."""
    document = yaml.safe_load((ROOT / "conf" / "use_cases" / f"{NAME}.yaml").read_text()) | sections
    folder = state.parent / "use_cases"
    folder.mkdir(exist_ok=True)
    (folder / f"{NAME}.yaml").write_text(yaml.safe_dump(document | {"experiment": experiment}, sort_keys=False))
    os.environ |= {"TRAINYARD_STATE": str(state), "TRAINYARD_USE_CASES": str(folder)}


def _set_alias(state: Path) -> None:
    """The registry's champion is the ledger's of then."""
    os.environ["TRAINYARD_STATE"] = str(state)
    from pipelines.workspace import CHAMPION, open_workspace

    workspace = open_workspace("rewound")
    now = workspace.ledger.champion(NAME)
    if now is None:
        raise SystemExit(f"{state}: there was no champion yet")
    workspace.registry.set_alias(NAME, CHAMPION, now.version)
