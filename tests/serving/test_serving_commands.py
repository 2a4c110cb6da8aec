"""`serve` and `token`: a server that a client of another process asks, and the words of who may ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.__main__ import main
from tests.conftest import USE_CASES


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path))
    monkeypatch.setenv("TRAINYARD_USE_CASES", str(USE_CASES))
    monkeypatch.delenv("TRAINYARD_ENVIRONMENT", raising=False)


def test_a_token_is_made_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "parcels", "list"]) == 0
    assert "no tokens" in capsys.readouterr().out
    assert main(["token", "parcels", "add", "crew"]) == 0
    text = capsys.readouterr().out.strip()
    assert main(["token", "parcels", "list"]) == 0
    assert capsys.readouterr().out == "crew\n"
    assert text not in (tmp_path / "serving" / "tokens.json").read_text()
    assert main(["token", "parcels", "revoke", "crew"]) == 0
    assert main(["token", "parcels", "revoke", "crew"]) == 1
    assert "no token 'crew'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["add"], ["revoke"], ["list", "crew"], ["show"], ["add", " "]], ids=" ".join)
def test_wrong_words_are_refused(words: list[str]) -> None:
    assert main(["token", "parcels", *words]) == 2


def test_others_are_not_let_in_without_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "parcels", "--host", "0.0.0.0"]) == 1
    assert "whoever reaches 0.0.0.0 could ask, and there is no token: make one with" in capsys.readouterr().err
