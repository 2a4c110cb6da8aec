"""Secrets are planted in every setting; everything that was written is searched for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.commands import stages
from pipelines.errors import PermanentError, TransientError, keep_secret, redact
from pipelines.results import Verdict, to_json
from pipelines.use_case import UseCase
from pipelines.workspace import CommitRecord, Decision, Kind, Registry, RunTags, StageRun, VersionTags, restorable
from pipelines.workspace.environment import load_environment
from tests.conftest import World, changed

PLANTED = {
    "LAKE_SECRET": "planted-lake-secret-1",
    "LAKE_TOKEN": "planted: token *2",
    "REGISTRY": "http://ada:planted-registry-3@mlflow.example:5000",
}
WORDS = ("planted-lake-secret-1", "planted: token *2", "planted-registry-3")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment whose lake and registry have secrets, loaded as every process does."""
    folder = tmp_path / "checkout" / "conf" / "environments"
    folder.mkdir(parents=True)
    from pipelines.use_case import ROOT

    text = (ROOT / "conf" / "environments" / "local.yaml").read_text()
    text = text.replace("options: {}", "options: {AWS_SECRET_ACCESS_KEY: '${LAKE_SECRET}', session_token: '${LAKE_TOKEN}'}")
    (folder / "local.yaml").write_text(text.replace("sqlite:///${STATE}/mlflow/mlflow.db", "${REGISTRY}"))
    monkeypatch.setattr("pipelines.workspace.environment.ROOT", tmp_path / "checkout")
    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path))
    monkeypatch.delenv("TRAINYARD_ENVIRONMENT", raising=False)
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    assert load_environment().lake.options["AWS_SECRET_ACCESS_KEY"] == WORDS[0]


def everything_written(world: World) -> str:
    """Every file as it lies there, and the rows of every table, which are compressed."""
    state = Path(world.workspace.environment.reports).parent
    texts = [f.read_bytes().decode(errors="replace") for f in state.rglob("*") if f.is_file()]
    lake = world.workspace.lake
    tables = [t for t in (*restorable(world.use_case), "parcels/decisions") if lake.exists(t)]
    return "\n".join([*texts, *(str(lake.read(table).to_pylist()) for table in tables)])


@pytest.mark.usefixtures("planted")
def test_nothing_that_is_kept_or_shown_has_a_planted_secret(
    one_champion: World, simple_only: UseCase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A champion that cannot be compared says why, with the registry's address and all that a library would print."""
    load, said = Registry.load, f"cannot reach {PLANTED['REGISTRY']} with {PLANTED['LAKE_SECRET']}, {PLANTED['LAKE_TOKEN']}"

    def failing(self: Registry, use_case: str, version: int) -> Any:
        if version == 1:
            raise ValueError(said)
        return load(self, use_case, version)

    monkeypatch.setattr(Registry, "load", failing)
    newest = changed(simple_only, "training", max_history=timedelta(days=6))
    kept = stages.run_training(StageRun(one_champion.workspace, newest, one_champion.days[13]))
    assert kept.decision == Kind.KEPT  # type: ignore[attr-defined]
    monkeypatch.setattr(Registry, "load", load)
    found = everything_written(one_champion)
    assert "cannot reach http://***@mlflow.example:5000 with ***" in found
    for word in WORDS:
        assert word not in found
        assert word not in str(to_json(kept))
        assert word not in caplog.text


@pytest.mark.usefixtures("planted")
def test_every_way_out_is_redacted(one_champion: World) -> None:
    text = " ".join([*PLANTED.values(), WORDS[2]])  # the password of the address by itself as well
    ledger = one_champion.workspace.ledger
    ledger.record(Decision("x", "parcels", Kind.KEPT, "2024-03-01", text, "me", "run", {"why": [text]}))
    made = ledger.decisions("parcels")[-1]
    outs = [
        str(PermanentError(text)), str(TransientError(text)), Verdict("gate", False, text).sentence, str(to_json({"a": text})),
        str(RunTags(code=text).tags()), str(VersionTags(candidate=text).tags()), str(replace(made)),
        str(CommitRecord(warnings=text).metadata()),
    ]  # fmt: skip
    for out in outs:
        assert "***" in out
        assert not [word for word in WORDS if word in out]


def test_what_is_no_secret_stays() -> None:
    for text in ("s3://bucket/a@b", "see https://example.org/x@y", "ada@example.org wrote", "file:///var/x", "a :// b @ c"):
        assert redact(text) == text
    keep_secret("abcde")  # too short to be told from a word
    assert redact("abcdefg") == "abcdefg"
    keep_secret("abcdef")
    assert redact("abcdefg") == "***g"


def test_a_secret_that_reads_like_json_spoils_no_record(one_champion: World) -> None:
    """The words of the evidence are redacted, not its marks."""
    for odd in ('": true', '{"why"', "reason"):
        keep_secret(odd)
    ledger = one_champion.workspace.ledger
    ledger.record(
        Decision("x", "parcels", Kind.KEPT, "2024-03-01", "no reason", "me", "run", {"why": True, "reason": "a reason"})
    )
    made = ledger.decisions("parcels")[-1]
    assert (made.why, made.evidence) == ("no ***", {"why": True, "reason": "a ***"})
