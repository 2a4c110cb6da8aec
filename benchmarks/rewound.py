"""A copy of the demo's state as it was before a partition, and a use case beside it that declares an experiment."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from deltalake import DeltaTable

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.training import TrainingRun, example, fit, model_meta, plan_training, run_tags  # noqa: E402
from pipelines.use_case import UseCase  # noqa: E402
from pipelines.workspace import CHAMPION, Decision, Kind, StageRun, VersionTags, open_workspace  # noqa: E402

NAME = "flight_delay"
DERIVED = ("labels", "predictions", "monitoring", "decisions")
EACH_DAY = ("schedule", "outcomes", "weather", "weather_quarantine", "features")


def rewound(state: Path, to: Path, before: str, tables: tuple[str, ...] = DERIVED) -> None:
    """What these tables hold of partition `before`, of its month, and of later ones is not there yet; Airflow knows nothing."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(state, to, ignore=shutil.ignore_patterns("airflow", "services.json", "spark", "logs"))
    for file in (to / "lake").rglob("*.json"):  # plans of features, and the commits that name them, hold whole addresses
        file.write_text(file.read_text().replace(f"{state}/", f"{to}/"))
    for table in tables:
        DeltaTable(str(to / "lake" / NAME / table)).delete(f"partition >= '{_from(table, before)}' and partition <> 'snapshot'")
    os.environ["TRAINYARD_STATE"] = str(to)
    workspace = open_workspace("rewound")
    assert workspace.registry.database
    workspace.registry.database.relocate(f"file://{state}/mlflow/artifacts")
    now = workspace.ledger.champion(NAME)
    if now is None:
        raise SystemExit(f"there was no champion yet before {before}")
    workspace.registry.set_alias(NAME, CHAMPION, now.version)  # as the ledger of then says


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


def plant_harmful(case: UseCase, month: str) -> int:
    """Register a version that learnt each label turned around, as if its gates had let it through."""
    workspace = open_workspace("planted")
    training = TrainingRun(workspace, case, plan_training(StageRun(workspace, case, case.period(month))))
    rows, registry, name = training.rows.all, workspace.registry, "logistic"
    rows = rows.assign(label=1 - rows["label"])
    with registry.run(case.name, "planted", run_tags(training)):
        pipeline = fit(case, case.training.candidates[name], {}, rows)
        uri = registry.log_model(pipeline, example(case, rows), model_meta(training, name, {}))
    tags = VersionTags(partition=month, candidate=name, holdout_auc=0.5, holdout_log_loss=1.0, run=workspace.run)
    version = registry.register(case.name, uri, tags)
    evidence = {"verdicts": [{"gate": "planted", "passed": True}]}
    why = f"v{version} learnt the labels turned around; it was planted."
    workspace.ledger.record(
        Decision("planted", case.name, Kind.ASKED, month, why, "benchmark", workspace.run, evidence, version)
    )
    return version
