"""A copy of the demo's state as it was before a partition, and a use case beside it that declares an experiment."""

from __future__ import annotations

import json
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
DERIVED = ("labels", "predictions")
EACH_DAY = ("schedule", "outcomes", "weather", "weather_quarantine", "features", *DERIVED)


def rewound(state: Path, to: Path, before: str, tables: tuple[str, ...] = DERIVED) -> None:
    """These tables end, commits and all, before they know anything of `before`, the first day of a month; the ledger and the
    monitoring before they tell of it. There was no Airflow yet."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(state, to, ignore=shutil.ignore_patterns("airflow", "services.json", "spark", "logs"))
    for file in (to / "lake").rglob("*.json"):  # plans of features, and the commits that name them, hold whole addresses
        file.write_text(file.read_text().replace(f"{state}/", f"{to}/"))
    for table in tables:
        cut(to / "lake" / NAME / table / "_delta_log", before)
    for table in ("decisions", "monitoring"):
        DeltaTable(str(to / "lake" / NAME / table)).delete(f"partition >= '{before[:7]}'")
    os.environ["TRAINYARD_STATE"] = str(to)
    workspace = open_workspace("rewound")
    assert workspace.registry.database
    workspace.registry.database.relocate(f"file://{state}/mlflow/artifacts")
    now = workspace.ledger.champion(NAME)
    if now is None:
        raise SystemExit(f"there was no champion yet before {before}")
    workspace.registry.set_alias(NAME, CHAMPION, now.version)  # as the ledger of then says


def cut(log: Path, before: str) -> None:
    """A row that is deleted leaves the commit that published it, and who asks for that takes it for done."""
    commits = sorted(log.glob("*.json"))
    late = [i for i, commit in enumerate(commits) if any(key >= before for key in _partitions(commit))]
    for commit in commits[late[0] :] if late else ():
        commit.unlink()


def _partitions(commit: Path) -> list[str]:
    actions = map(json.loads, commit.read_text().splitlines())
    keys = [action["add"]["partitionValues"]["partition"] for action in actions if "add" in action]
    return [key for key in keys if key != "snapshot"]


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
