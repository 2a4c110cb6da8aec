"""The clock of a workspace: the machine's, or the moment that a replay has set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.errors import PermanentError
from pipelines.workspace import Clock, Decision, Kind, Ledger, Workspace

MOMENT = datetime(2024, 3, 4, 5, tzinfo=UTC)


def test_without_a_file_it_is_the_machines(tmp_path: Path) -> None:
    for clock in (Clock(), Clock(f"{tmp_path}/clock")):
        assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_what_a_replay_sets_holds_for_every_process(tmp_path: Path) -> None:
    Clock(f"{tmp_path}/clock").set(MOMENT)
    assert Clock(f"{tmp_path}/clock").now() == MOMENT


@pytest.mark.parametrize("text", ["2024-03-04", "2024-03-04T05:00:00", "soon", ""])
def test_a_file_without_a_moment_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "clock").write_text(text)
    with pytest.raises(PermanentError, match=r"clock: .* is not a moment such as"):
        Clock(f"{tmp_path}/clock").now()


def test_the_machines_clock_cannot_be_set() -> None:
    with pytest.raises(PermanentError, match="needs 'clock' in conf/environments"):
        Clock().set(MOMENT)


def test_the_ledger_is_written_by_it(workspace: Workspace, tmp_path: Path) -> None:
    clock = Clock(f"{tmp_path}/clock")
    clock.set(MOMENT)
    ledger = Ledger(workspace.lake, clock)
    ledger.record(Decision("late/1", "parcels", Kind.KEPT, "2024-03-01", "It is worse.", "gates", "run"))
    assert ledger.decisions("parcels")[0].at == MOMENT.isoformat(timespec="microseconds")
