"""The ledger: append-only, each decision once, and a promotion only against the champion that it was judged against."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pyarrow as pa
import pytest

from pipelines.errors import PermanentError
from pipelines.workspace.commits import CommitRecord
from pipelines.workspace.lake import Lake
from pipelines.workspace.ledger import Decision, Kind, Ledger
from pipelines.workspace.workspace import Workspace

PROMOTION = Decision(
    "promoted/1", "parcels", Kind.PROMOTED, "2024-03-01", "It is better.", "gates", "run",
    evidence={"auc": 0.7}, model_version=1, effective_from="2024-03-02", effect=12.5, effect_unit="USD",
)  # fmt: skip


def promotion(version: int, effective_from: str, kind: str = Kind.PROMOTED) -> Decision:
    return Decision(
        f"{kind}/{version}/{effective_from}", "parcels", kind, "2024-03-01", "It is better.", "gates", "run",
        model_version=version, effective_from=effective_from,
    )  # fmt: skip


def note(number: int, **values: Any) -> Decision:
    return Decision(f"kept/{number}", "parcels", Kind.KEPT, "2024-03-01", "It is worse.", "gates", "run", **values)


def test_a_decision_is_read_back_as_it_was_written(workspace: Workspace) -> None:
    assert workspace.ledger.decisions("parcels") == []
    workspace.ledger.record(PROMOTION)
    found = workspace.ledger.decisions("parcels")
    assert found == [replace(PROMOTION, at=found[0].at, position=1)]


def test_a_decision_is_recorded_once_however_often_its_task_runs(workspace: Workspace) -> None:
    assert workspace.ledger.record(note(1)) is True
    assert workspace.ledger.record(replace(note(1), why="Said again.")) is False
    assert [d.why for d in workspace.ledger.decisions("parcels")] == ["It is worse."]


def test_the_same_promotion_again_is_no_second_one(workspace: Workspace) -> None:
    assert workspace.ledger.move_champion(PROMOTION, expected=None) is True
    assert workspace.ledger.move_champion(PROMOTION, expected=None) is False
    assert len(workspace.ledger.decisions("parcels")) == 1


def test_evidence_that_is_not_a_number_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        workspace.ledger.record(note(1, evidence={"auc": float("nan")}))
    assert workspace.ledger.decisions("parcels") == []


def test_a_promotion_decided_against_an_outdated_champion_is_refused(workspace: Workspace) -> None:
    workspace.ledger.move_champion(promotion(1, "2024-03-02"), expected=None)
    workspace.ledger.move_champion(promotion(2, "2024-03-03"), expected=1)
    for expected, said in ((1, "v1"), (None, "none")):
        with pytest.raises(PermanentError, match=f"decided against champion {said}, but the champion is v2 by now"):
            workspace.ledger.move_champion(promotion(3, "2024-03-04"), expected=expected)
    champion = workspace.ledger.champion("parcels")
    assert champion
    assert champion.version == 2


def test_a_promotion_may_not_take_effect_before_the_last_one_did(workspace: Workspace) -> None:
    workspace.ledger.move_champion(promotion(1, "2024-03-05"), expected=None)
    with pytest.raises(PermanentError, match=r"would take effect from 2024-03-04, before the champion of 2024-03-05"):
        workspace.ledger.move_champion(promotion(2, "2024-03-04"), expected=1)


@pytest.mark.parametrize("expected", [None, 1], ids=["first champion", "next champion"])
def test_of_promotions_decided_at_once_exactly_one_happens(workspace: Workspace, expected: int | None) -> None:
    if expected:
        workspace.ledger.move_champion(promotion(1, "2024-03-02"), expected=None)
    start = Barrier(3)

    def promote(version: int) -> bool | str:
        ledger = Ledger(Lake(workspace.lake.root))
        start.wait()
        try:
            return ledger.move_champion(promotion(version, "2024-03-03"), expected)
        except PermanentError as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(promote, (10, 11, 12)))
    refused = [f for f in found if f is not True]
    assert found.count(True) == 1
    assert len(refused) == 2
    assert all("decided against champion" in str(f) for f in refused)
    champion = workspace.ledger.champion("parcels")
    assert champion
    assert champion.version == 10 + found.index(True)


def test_decisions_recorded_at_once_are_all_there(workspace: Workspace) -> None:
    start = Barrier(4)

    def record(number: int) -> bool:
        start.wait()
        return workspace.ledger.record(note(number))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(record, range(4)))
    assert {d.id for d in workspace.ledger.decisions("parcels")} == {f"kept/{n}" for n in range(4)}


def test_the_champion_of_a_past_partition_is_the_one_of_then(workspace: Workspace) -> None:
    assert workspace.ledger.champion("parcels") is None
    workspace.ledger.move_champion(promotion(1, "2024-03-02"), expected=None)
    workspace.ledger.move_champion(promotion(2, "2024-03-05"), expected=1)
    workspace.ledger.record(note(1, model_version=7))
    found = {day: workspace.ledger.champion("parcels", as_of=f"2024-03-0{day}") for day in (1, 2, 4, 5, 9)}
    assert {day: c and c.version for day, c in found.items()} == {1: None, 2: 1, 4: 1, 5: 2, 9: 2}


def test_a_rollback_from_the_same_day_on_stands_over_the_promotion(workspace: Workspace) -> None:
    workspace.ledger.move_champion(promotion(1, "2024-03-02"), expected=None)
    workspace.ledger.move_champion(promotion(2, "2024-03-05"), expected=1)
    workspace.ledger.move_champion(promotion(1, "2024-03-05", Kind.ROLLED_BACK), expected=2)
    champion = workspace.ledger.champion("parcels", as_of="2024-03-05")
    assert champion
    assert champion.version == 1


def test_a_clock_that_is_behind_changes_no_order(workspace: Workspace) -> None:
    """Planted: the machine that rolls back is two days behind the one that promoted."""
    ledger, now = workspace.ledger, datetime(2024, 3, 6, tzinfo=UTC)
    moves = [promotion(1, "2024-03-02"), promotion(2, "2024-03-05"), promotion(1, "2024-03-05", Kind.ROLLED_BACK)]
    for move, expected, days in zip(moves, (None, 1, 2), (0, 0, -2), strict=True):
        workspace.clock.set(now + timedelta(days=days))
        ledger.move_champion(move, expected)
    found = ledger.decisions("parcels")
    assert found[2].at < found[0].at
    assert [d.id for d in found] == [d.id for d in ledger.champion_moves("parcels")] == [d.id for d in moves]
    for champion in (ledger.champion("parcels"), ledger.champion("parcels", as_of="2024-03-05")):
        assert champion
        assert (champion.version, champion.decision) == (1, moves[2].id)
    workspace.clock.set(now)
    ledger.move_champion(promotion(3, "2024-03-05"), expected=1)
    assert ledger.champion("parcels").version == 3  # type: ignore[union-attr]


def test_rows_from_before_positions_were_kept_go_first(workspace: Workspace) -> None:
    """State made by the version before: its rows have no position, and are in the order of their clocks."""
    ledger = workspace.ledger
    for number in (2, 1):
        row = {**asdict(note(number)), "at": f"2030-01-0{number}", "evidence": "{}"}
        del row["partition"], row["position"]
        empty = pa.schema([("model_version", pa.int64()), ("effective_from", pa.string()), ("effect", pa.float64())])
        rows = pa.Table.from_pylist([row], schema=pa.schema([*[(k, pa.string()) for k in row if k not in empty.names], *empty]))
        ledger.lake.append("parcels/decisions", "2024-03-01", lambda _, rows=rows: rows, CommitRecord(), lambda: True)  # type: ignore[misc]
    assert [d.id for d in ledger.decisions("parcels")] == ["kept/1", "kept/2"]
    ledger.record(note(3))
    assert [d.id for d in ledger.decisions("parcels")] == ["kept/1", "kept/2", "kept/3"]


def test_use_cases_do_not_see_each_others_champions(workspace: Workspace) -> None:
    workspace.ledger.move_champion(PROMOTION, expected=None)
    assert workspace.ledger.champion("letters") is None
