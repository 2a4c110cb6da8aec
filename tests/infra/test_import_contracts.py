"""The import contracts stop what they are for: each is broken on purpose, in a copy, and says where."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.use_case import ROOT

# file, line to append, what the linter has to say
PLANTED = [
    (
        "pipelines/scoring/scoring.py",
        "from pipelines.training.estimators import make_pipeline",
        "pipelines.training.estimators",
    ),
    ("pipelines/pages/view.py", "from pipelines.workspace.ledger import Decision as Again", "pipelines.workspace.ledger"),
    ("pipelines/workspace/files.py", "from pipelines.workspace import Lake", "pipelines.workspace.files"),
    (
        "pipelines/monitoring/drift.py",
        "from pipelines.scoring import predict",
        "pipelines.monitoring.drift -> pipelines.scoring",
    ),
    ("pipelines/use_case/tables.py", "from pipelines.workspace import Lake", "pipelines.use_case"),
    ("pipelines/training/__init__.py", "from pipelines.gates import judge", "pipelines.training"),
    ("pipelines/labels/labels.py", "import airflow", "pipelines.labels.labels -> airflow"),
    ("spark_jobs/build_features.py", "from pipelines.errors import PermanentError", "spark_jobs.build_features"),
    ("pipelines/oddments/__init__.py", "VALUE = 1", "pipelines.oddments"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("pipelines", "spark_jobs", "infra/lint"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("file", "line", "said"), PLANTED, ids=[f"{f}: {line}" for f, line, _ in PLANTED])
def test_a_contract_that_is_broken_fails_the_lint(file: str, line: str, said: str, checkout: Path) -> None:
    (checkout / file).parent.mkdir(exist_ok=True)
    with (checkout / file).open("a") as out:
        out.write(f"\n{line}\n")
    done = lint(checkout)
    assert done.returncode == 1
    assert said in " ".join(done.stdout.split()), done.stdout


def test_the_contracts_fit_on_a_screen() -> None:
    section = (ROOT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2].partition("\n[tool.")[0]
    assert len([line for line in section.splitlines() if line.strip()]) <= 40


@pytest.mark.parametrize(
    "file", sorted([*(ROOT / "dags").glob("*.py"), *(ROOT / "plugins").glob("*.py")]), ids=lambda f: f.name
)
def test_dags_and_plugins_enter_a_room_by_its_door(file: Path) -> None:
    found = [n.module or "" for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom)]
    assert not [name for name in found if name.startswith("pipelines.") and name.count(".") > 1]
