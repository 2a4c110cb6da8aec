"""What the machine lacks is named together with the command that mends it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "infra" / "check_machine.sh"


def check(folder: Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run the script where `folder` is searched first, and nothing else but the shell's own tools."""
    environment = {"PATH": f"{folder}:{folder}/tools"}
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("bash", "sed", "head"):
        found = next(p for p in (Path("/usr/bin") / name, Path("/bin") / name) if p.exists())
        (tools / name).symlink_to(found)
    return subprocess.run(["/bin/bash", str(SCRIPT), python], env=environment, capture_output=True, text=True, check=False)


def fake(folder: Path, name: str, says: str) -> str:
    file = folder / name
    file.write_text(f"#!/bin/bash\necho '{says}' >&2\n")
    file.chmod(0o755)
    return str(file)


def test_a_missing_java_is_named_with_its_mend(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 1
    assert "missing: Java 17 or newer" in done.stderr
    assert "apt-get install openjdk-17-jre-headless" in done.stderr


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ('openjdk version "11.0.2" 2019-01-15', False),
        ('java version "1.8.0_292"', False),
        ('openjdk version "17.0.15" 2025-04-15', True),
        ('openjdk version "21" 2023-09-19', True),
    ],
)
def test_the_version_of_java_decides(tmp_path: Path, version: str, good: bool) -> None:
    fake(tmp_path, "java", version)
    done = check(tmp_path)
    assert (done.returncode == 0) is good
    assert good or version in done.stderr


def test_an_old_python_is_named_with_its_mend(tmp_path: Path) -> None:
    fake(tmp_path, "java", 'openjdk version "17.0.15"')
    old = tmp_path / "python3"
    old.write_text("#!/bin/bash\n[ \"$1\" = --version ] && echo 'Python 3.9.2' && exit 0\nexit 1\n")
    old.chmod(0o755)
    done = check(tmp_path, str(old))
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr
    assert "make PYTHON=python3.11" in done.stderr
