"""`python -m pipelines`: the same functions as the DAGs call, and errors that say what is wrong."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from pipelines.__main__ import main
from pipelines.commands import program, stages
from pipelines.use_case import ROOT
from pipelines.workspace import StageRun
from tests.conftest import USE_CASES, World

VERBS = typer.main.get_command(program._program).commands


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command line works on `tmp_path` and on the tests' use cases."""
    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path))
    monkeypatch.setenv("TRAINYARD_USE_CASES", str(USE_CASES))
    monkeypatch.delenv("TRAINYARD_ENVIRONMENT", raising=False)
    return tmp_path


def test_use_cases_in_order_are_said_to_be_good(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate-config"]) == 0
    assert "parcels.yaml: good" in capsys.readouterr().out


def test_the_repository_s_own_use_cases_are_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINYARD_USE_CASES", raising=False)
    assert main(["validate-config"]) == 0


def test_a_broken_use_case_is_named_with_the_nearest_key_and_the_others_are_read(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = state / "use_cases"
    folder.mkdir()
    text = (USE_CASES / "parcels.yaml").read_text()
    (folder / "parcels.yaml").write_text(text)
    (folder / "broken.yaml").write_text(text.replace("holdout_days:", "holdout_day:"))
    monkeypatch.setenv("TRAINYARD_USE_CASES", str(folder))
    assert main(["validate-config"]) == 1
    said = capsys.readouterr()
    assert "parcels.yaml: good" in said.out
    assert "broken.yaml: training.holdout_day: unknown key; did you mean 'holdout_days'?" in said.err


def test_no_use_case_at_all_is_an_error(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAINYARD_USE_CASES", str(state / "nowhere"))
    assert main(["validate-config"]) == 1
    assert "no use cases in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "scorring", "parcels", "2024-03-01"], "no stage 'scorring'; there are ingestion"),
        (["run", "scoring", "parcel", "2024-03-01"], "no use case 'parcel'"),
        (["run", "scoring", "parcels", "2024-13-01"], "'2024-13-01' is no day partition"),
        (["run", "training", "parcels", "2024-03-01"], "no features and labels; run ingestion, features, labels for it"),
        (["status", "parcel"], "did you mean 'parcels'?"),
        (["decisions", "parcel"], "did you mean 'parcels'?"),
        (["rollback", "parcels", "--reason", "why not"], "no champion to roll back from"),
        (["card", "parcels"], "there is no champion yet"),
        (["reproduce", "parcel", "1"], "did you mean 'parcels'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_exit_1_with_a_message_and_no_traceback(
    words: list[str], message: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("PermanentError: ")
    assert (said.out, "Traceback" in said.err) == ("", False)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["run", "scoring"],
        ["rollback", "parcels"],
        ["reproduce", "parcels", "first"],
        ["quarantine", "parcels", "eat"],
        ["card", "parcels", "--html", "a", "--markdown", "b"],
    ],
    ids=" ".join,
)
def test_wrong_words_exit_2_with_the_usage(words: list[str], state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert "python -m pipelines" in (said.err if words else said.out)
    assert "Traceback" not in said.err


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_has_an_example_that_it_understands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The example in a verb's help is parsed by that verb."""
    verb = VERBS[name]
    program, words = verb.epilog.split(": ", 1)[1].split(f" {name}", 1)
    assert program == "python -m pipelines"
    verb.make_context(name, shlex.split(words.partition(" > ")[0]))
    assert main([name, "--help"]) == 0
    assert f"Example: python -m pipelines {name}" in capsys.readouterr().out


def test_an_interrupted_verb_exits_130(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "STAGES", {"scoring": interrupted})
    assert main(["run", "scoring", "parcels", "2024-03-01"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize("words", [["schema"], ["validate-config"]], ids=["while it writes", "when all is written"])
def test_a_reader_that_went_away_gets_no_traceback(words: list[str], state: Path) -> None:
    """`| head`: 15 kB of schema break the pipe while they are printed, one line when the buffer is flushed at the end."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen([sys.executable, "-m", "pipelines", *words], cwd=ROOT, env=buffered, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_help_waits_for_no_library() -> None:
    code = "import sys; from pipelines.__main__ import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert not {"numpy", "pandas", "yaml", "deltalake", "airflow_client"} & set(done.stderr.split())
    assert "reproduce" in done.stdout


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (["r"], "run retire relocate restore rollback resume reproduce"),
        (["run", "fea"], "features"),
        (["run", "features", ""], "parcels"),
        (["quarantine", "parcels", ""], "list show replay"),
        (["rollback", "--r"], "--reason"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes_verbs_stages_use_cases_and_options(words: list[str], candidates: str, state: Path) -> None:
    line = " ".join(shlex.quote(word) for word in [sys.executable, "-m", "pipelines", *words])
    script = (
        f"source infra/completion.bash; COMP_WORDS=({line}); COMP_CWORD={len(words) + 2}; _pipelines; echo ${{COMPREPLY[*]}}"
    )
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert (done.stdout.strip(), done.stderr) == (candidates, "")


def test_an_empty_state_is_shown_as_such(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "parcels"]) == 0
    assert "champion   none yet" in capsys.readouterr().out
    assert main(["decisions", "parcels"]) == 0
    assert "no decisions yet" in capsys.readouterr().out
    assert main(["decisions", "parcels", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_stage_is_run_and_its_result_printed_as_json(
    one_champion: World, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = one_champion.days[8].key
    assert main(["run", "scoring", "parcels", day]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "table": "parcels/predictions", "partition": day, "model_version": 1, "version": 1, "rows": 120,
        "served": [day], "what_if": [],
    }  # fmt: skip
    stages.run_monitoring(StageRun(one_champion.workspace, one_champion.use_case, one_champion.days[8]))
    assert main(["run", "retraining", "parcels", day]) == 0
    assert json.loads(capsys.readouterr().out)["cause"] == "loss"
    assert main(["status", "parcels"]) == 0
    said = capsys.readouterr().out
    assert "champion   v1" in said
    assert f"{day}  v1  AUC 0." in said


def test_decisions_are_told_in_words_and_as_json(two_champions: World, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decisions", "parcels"]) == 0
    said = capsys.readouterr().out
    assert "promoted" in said
    assert "that is a real gain" in said
    assert main(["decisions", "parcels", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(d["kind"], d["model_version"]) for d in found] == [("promoted", 1), ("promoted", 2)]
    assert found[0]["evidence"]["verdicts"]


def test_a_rollback_is_one_command_and_its_reason_is_kept(
    two_champions: World, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", "parcels", "--to", "2", "--reason", "x"]) == 1
    assert "v2 is the champion already" in capsys.readouterr().err
    assert main(["rollback", "parcels", "--reason", "too many false alarms"]) == 0
    assert "v2 gives way to v1: too many false alarms" in capsys.readouterr().out
    assert main(["resume", "parcels", "--reason", "mended"]) == 0
    assert "the hold of the rollback to v1 ends: mended" in capsys.readouterr().out
    assert main(["decisions", "parcels"]) == 0
    assert "too many false alarms" in capsys.readouterr().out


def test_a_card_is_printed_or_written_and_its_page_is_named(
    two_champions: World, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["card", "parcels"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("# Model card: Late parcels, v2\n")
    assert "page: lifecycle/reports/parcels/models/v2.html in Airflow" in said.err
    assert main(["card", "parcels", "v1", "--html", str(state / "card.html")]) == 0
    assert "Model card: Late parcels, v1" in (state / "card.html").read_text()
    assert main(["card", "parcels", "1", "--markdown", str(state / "card.md")]) == 0
    assert "replaced by v2" in (state / "card.md").read_text()
    capsys.readouterr()
    assert main(["card", "parcels", "9"]) == 1
    assert "no model v9 in the registry; there are v1, v2" in capsys.readouterr().err


def test_the_schema_is_json_and_knows_the_keys(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert {"training", "gates", "scoring"} <= set(json.loads(capsys.readouterr().out)["properties"])


def test_it_runs_as_a_module(state: Path) -> None:
    command = [sys.executable, "-m", "pipelines", "run", "fly", "parcels", "2024-03-01"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("PermanentError: no stage 'fly'")
