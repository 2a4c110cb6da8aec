"""The guides work as they are written: their files, their edits and their commands, in a copy of the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from pipelines.use_case import ROOT

pytestmark = pytest.mark.long  # each runs the checks of the whole repository

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>python|diff|sh|yaml)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_FILE = re.compile(r"`([\w./-]+/[\w.-]+)`[^`]*:\s*\Z")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git knows or would know, with the environment that they are run in."""
    copy = tmp_path_factory.mktemp("guides") / "trainyard"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(lambda n: (ROOT / n).is_file(), listed.stdout.splitlines()):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    return copy


@pytest.mark.parametrize("guide", ["adding-a-task", "adding-a-stage"])
def test_a_guide_works_word_for_word(guide: str, checkout: Path) -> None:
    text = (ROOT / "docs" / f"{guide}.md").read_text()
    blocks = list(_BLOCK.finditer(text))
    assert {b["kind"] for b in blocks} >= {"python", "diff", "sh"}
    for block in blocks:
        _follow(checkout, text[: block.start()], block["kind"], textwrap.dedent(block["text"]))


def _follow(checkout: Path, before: str, kind: str, text: str) -> None:
    """Do what a block says: run it, apply it, or write the file that the words before it name."""
    if kind == "sh":
        _run(["bash", "-euxo", "pipefail", "-c", text], checkout)
    elif kind == "diff":
        _run(["git", "apply", "-"], checkout, text)
    else:
        named = _FILE.search(before)
        assert named, f"no file is named before: {text[:200]}"
        file = checkout / named[1]
        assert not file.exists(), f"{named[1]} is there already"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _run(command: list[str], folder: Path, given: str = "") -> None:
    env = {**os.environ, "PYTHONPATH": str(folder), "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(command, cwd=folder, env=env, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{given}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
