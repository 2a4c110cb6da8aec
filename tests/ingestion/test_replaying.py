"""Replay of the quarantine: what passes by now moves, once; what fails stays; a crash at any point is mended by a re-run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipelines import ingestion
from pipelines.errors import PermanentError, TransientError
from pipelines.ingestion import quarantine, replaying
from pipelines.use_case import Partition, UseCase, quarantine_table
from pipelines.workspace import CommitRecord, Kind, Lake, StageRun, Workspace, dependents, stages_to_recompute
from tests import synthetic
from tests.conftest import make_workspace

TABLE = "parcels/shipments"
HEAVY = 3  # rows that are heavier than the contract allows


@pytest.fixture
def day(use_case: UseCase) -> Partition:
    return synthetic.days(use_case, 1)[0]


def mended(use_case: UseCase, column: str = "weight", **rules: Any) -> UseCase:
    """The use case with another rule for a column of shipments."""
    contract = use_case.contract["shipments"]
    columns = {**contract.columns, column: contract.columns[column].model_copy(update=rules)}
    changed = {**use_case.contract, "shipments": contract.model_copy(update={"columns": columns})}
    return use_case.model_copy(update={"contract": changed})


def shipments(day: Partition, **overrides: dict[int, Any]) -> pd.DataFrame:
    frame = synthetic.parcels(day)[0].astype({"pieces": object, "weight": object})
    for column, values in overrides.items():
        for row, value in values.items():
            frame.loc[row, column] = value
    return frame


def ingest(workspace: Workspace, use_case: UseCase, day: Partition, rows: pd.DataFrame | str) -> None:
    synthetic.arrive(workspace, day)
    synthetic.put(workspace, "shipments", day, rows)
    ingestion.ingest_all(StageRun(workspace, use_case, day))


@pytest.fixture
def heavy(workspace: Workspace, use_case: UseCase, day: Partition) -> Workspace:
    """Three shipments of 1,500 kg in quarantine, by `weight.range`; one that cannot be read, by `pieces.type`."""
    ingest(workspace, use_case, day, shipments(day, weight=dict.fromkeys(range(HEAVY), 1500.0), pieces={5: "many"}))
    return workspace


def content(workspace: Workspace, table: str = TABLE) -> list[dict[str, Any]]:
    return workspace.lake.read(table).to_pylist()


def test_the_quarantine_is_listed_and_shown(heavy: Workspace, use_case: UseCase, day: Partition) -> None:
    assert ingestion.held(heavy, use_case) == [
        quarantine.Held("shipments", day.key, "pieces.type", 1),
        quarantine.Held("shipments", day.key, "weight.range", HEAVY),
    ]
    first = ingestion.rejected_rows(heavy, use_case, "shipments", day.key)[0]
    assert (first["row"], first["rule"], first["value"]) == (2, "weight.range", "1500.0")
    assert first["text"].startswith(f"{day.key}-0000,{day.key},"), "the record as it stood in the file"


def test_a_replay_under_the_same_rules_changes_nothing(heavy: Workspace, use_case: UseCase, day: Partition) -> None:
    before = heavy.lake.version(TABLE), heavy.lake.version(quarantine_table(TABLE))
    (result,) = ingestion.replay(StageRun(heavy, use_case, day))
    assert (result.moved, result.rows_quarantined, result.recompute) == (0, HEAVY + 1, ())
    assert "none passes; 4 stay" in result.why
    assert (heavy.lake.version(TABLE), heavy.lake.version(quarantine_table(TABLE))) == before
    assert not [d for d in heavy.ledger.decisions("parcels") if d.kind == Kind.REPLAYED]


def test_rows_that_pass_by_now_move_and_the_others_stay(heavy: Workspace, use_case: UseCase, day: Partition) -> None:
    rows_in = heavy.lake.partitions(TABLE)[day.key] + HEAVY + 1
    (result,) = ingestion.replay(StageRun(heavy, mended(use_case, max=2000.0), day))
    assert (result.moved, result.rows_quarantined, result.rows_in) == (HEAVY, 1, rows_in)
    assert result.rows_published == rows_in - 1
    assert result.recompute == (day.key,)
    assert [h.rule for h in ingestion.held(heavy, use_case)] == ["pieces.type"]
    (decision,) = [d for d in heavy.ledger.decisions("parcels") if d.kind == Kind.REPLAYED]
    assert f"{TABLE} {day.key}: of the quarantined rows, run test moved {HEAVY} out of quarantine" in decision.why
    assert "1 stay (pieces.type: 1)" in decision.why
    assert decision.evidence["left"] == {"pieces.type": 1}


def test_a_replayed_table_equals_one_ingested_under_the_mended_rule(
    heavy: Workspace, use_case: UseCase, day: Partition, tmp_path: Path
) -> None:
    other = make_workspace(tmp_path / "undisturbed")
    rows = shipments(day, weight=dict.fromkeys(range(HEAVY), 1500.0), pieces={5: "many"})
    ingest(other, mended(use_case, max=2000.0), day, rows)
    ingestion.replay(StageRun(heavy, mended(use_case, max=2000.0), day))
    assert content(heavy) == content(other)


def test_replaying_twice_adds_nothing_twice(heavy: Workspace, use_case: UseCase, day: Partition) -> None:
    ingestion.replay(StageRun(heavy, mended(use_case, max=2000.0), day))
    before, version = content(heavy), heavy.lake.version(TABLE)
    ingestion.replay(StageRun(replace(heavy, run="again"), mended(use_case, max=2000.0), day))
    assert content(heavy) == before
    assert heavy.lake.version(TABLE) == version
    assert len([d for d in heavy.ledger.decisions("parcels") if d.kind == Kind.REPLAYED]) == 1


class Killed(BaseException):
    """What a SIGKILL is to the code: nothing after it runs."""


def die_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Every publish from the `number`th on dies before it is made."""
    publish, calls = Lake.publish_each, iter(range(1, 100))

    def dying(self: Lake, *arguments: Any, **named: Any) -> Any:
        if next(calls) >= number:
            raise Killed
        return publish(self, *arguments, **named)

    monkeypatch.setattr(Lake, "publish_each", dying)


@pytest.mark.parametrize("number", [1, 2])
def test_a_crash_between_the_two_publications_neither_loses_nor_doubles_a_row(
    heavy: Workspace, use_case: UseCase, day: Partition, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch:
        die_at(patch, number)
        with pytest.raises(Killed):
            ingestion.replay(StageRun(heavy, mended(use_case, max=2000.0), day))
    rows = heavy.lake.partitions(TABLE)[day.key] + heavy.lake.partitions(quarantine_table(TABLE))[day.key]
    assert rows >= synthetic.ROWS, "nothing is lost at any moment"
    (result,) = ingestion.replay(StageRun(heavy, mended(use_case, max=2000.0), day))
    assert (result.moved, result.rows_published, result.rows_quarantined) == (HEAVY, synthetic.ROWS - 1, 1)
    assert result.recompute == (day.key,), "also where the first run had published already"
    assert len({r["_row"] for r in content(heavy)}) == len({r["shipment_id"] for r in content(heavy)}) == synthetic.ROWS - 1


def test_a_crash_before_the_ledger_is_told_is_made_good(
    heavy: Workspace, use_case: UseCase, day: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(replaying, "_record", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            ingestion.replay(StageRun(heavy, mended(use_case, max=2000.0), day))
    (result,) = ingestion.replay(StageRun(heavy, mended(use_case, max=2000.0), day))
    assert result.moved == HEAVY
    assert [d.kind for d in heavy.ledger.decisions("parcels")] == [Kind.REPLAYED]


def files_gone(workspace: Workspace, day: Partition) -> None:
    Path(f"{workspace.environment.landing}/parcels/shipments/{day.key}.csv.gz").unlink()


def with_null(use_case: UseCase, text: str) -> UseCase:
    source = use_case.sources["shipments"].model_copy(update={"null_values": ("", text)})
    return use_case.model_copy(update={"sources": {**use_case.sources, "shipments": source}})


def test_of_rows_with_one_key_the_published_one_stays(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    """The planted defect of a replay that looks at quarantined rows only: it would publish the key twice."""
    taken = f"{day.key}-0007"
    ingest(workspace, use_case, day, shipments(day, shipment_id={0: taken}, weight={0: "n/a"}))
    assert [h.rule for h in ingestion.held(workspace, use_case)] == ["weight.type"]
    before = content(workspace)
    (result,) = ingestion.replay(StageRun(workspace, with_null(use_case, "n/a"), day))
    assert (result.moved, result.rows_quarantined) == (0, 1)
    assert content(workspace) == before
    assert ingestion.rejected_rows(workspace, use_case)[0]["rule"] == "key.unique", "the rule that it breaks now"


def test_conflicting_rows_that_pass_together_both_stay(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    rows = shipments(day, weight={0: 1500.0, 1: 1600.0}, shipment_id={1: f"{day.key}-0000"})
    ingest(workspace, use_case, day, rows)
    (result,) = ingestion.replay(StageRun(workspace, mended(use_case, max=2000.0), day))
    assert (result.moved, result.rows_quarantined) == (0, 2)
    assert {h.rule for h in ingestion.held(workspace, use_case)} == {"key.unique"}


def test_a_ragged_row_stays(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    text = shipments(day, weight={0: 1500.0}).to_csv(index=False) + "1,2,3\n5\n"
    ingest(workspace, use_case, day, text)
    (result,) = ingestion.replay(StageRun(workspace, mended(use_case, max=2000.0), day))
    assert result.moved == 1
    assert [(h.rule, h.rows) for h in ingestion.held(workspace, use_case)] == [("row.columns", 2)]


def test_a_text_that_means_no_value_by_now_passes(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    ingest(workspace, use_case, day, shipments(day, weight={3: "n/a"}))
    assert ingestion.held(workspace, use_case)[0].rule == "weight.type"
    (result,) = ingestion.replay(StageRun(workspace, with_null(use_case, "n/a"), day))
    assert (result.moved, result.rows_quarantined) == (1, 0)
    assert [r["weight"] for r in content(workspace) if r["_row"] == 5] == [None]


def test_rows_of_another_day_stay(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    ingest(workspace, use_case, day, shipments(day, ship_date={4: day.next.key}, weight={0: 1500.0}))
    (result,) = ingestion.replay(StageRun(workspace, mended(use_case, max=2000.0), day), "shipments")
    assert (result.moved, result.rows_quarantined) == (1, 1)
    assert ingestion.held(workspace, use_case)[0].rule == "ship_date.partition"


def test_a_file_sent_again_is_ingested_as_a_whole(heavy: Workspace, use_case: UseCase, day: Partition) -> None:
    synthetic.put(heavy, "shipments", day, shipments(day))
    (result,) = ingestion.replay(StageRun(heavy, use_case, day))
    assert (result.moved, result.rows_published, result.rows_quarantined) == (HEAVY + 1, synthetic.ROWS, 0)
    assert max(r["weight"] or 0 for r in content(heavy)) < 1000


def test_a_published_row_that_breaks_the_new_rule_stops_the_replay(heavy: Workspace, use_case: UseCase, day: Partition) -> None:
    with pytest.raises(PermanentError, match=r"published already break the contract .* run ingestion"):
        ingestion.replay(StageRun(heavy, mended(mended(use_case, max=2000.0), "pieces", max=2.0), day))
    assert heavy.lake.partitions(quarantine_table(TABLE))[day.key] == HEAVY + 1


def test_a_half_published_partition_is_not_replayed(
    heavy: Workspace, use_case: UseCase, day: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ingestion of another file died after the quarantine: its row numbers mean other rows."""
    synthetic.put(heavy, "shipments", day, shipments(day, weight={9: 1500.0}))
    with monkeypatch.context() as patch:
        die_at(patch, 2)
        with pytest.raises(Killed):
            ingestion.ingest_all(StageRun(heavy, use_case, day))
    files_gone(heavy, day)
    with pytest.raises(PermanentError, match="run ingestion for this partition again"):
        ingestion.replay(StageRun(heavy, mended(use_case, max=2000.0), day))


def test_two_replays_at_once_move_each_row_once(
    heavy: Workspace, use_case: UseCase, day: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[..., Any] = replaying._judge

    def judge_while_another_wins(*arguments: Any) -> Any:
        judged = original(*arguments)
        monkeypatch.setattr(replaying, "_judge", original)
        ingestion.replay(StageRun(heavy, mended(use_case, max=2000.0), day))
        return judged

    monkeypatch.setattr(replaying, "_judge", judge_while_another_wins)
    with pytest.raises(TransientError, match="another run published it meanwhile"):
        ingestion.replay(StageRun(heavy, mended(use_case, max=2000.0), day))
    assert len({r["shipment_id"] for r in content(heavy)}) == len(content(heavy)) == synthetic.ROWS - 1


def test_a_replay_does_not_undo_an_ingestion_that_came_between(
    heavy: Workspace, use_case: UseCase, day: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[..., Any] = replaying._judge

    def judge_while_the_file_is_sent_again(*arguments: Any) -> Any:
        judged = original(*arguments)
        synthetic.put(heavy, "shipments", day, shipments(day))
        ingestion.ingest_all(StageRun(heavy, use_case, day))
        return judged

    monkeypatch.setattr(replaying, "_judge", judge_while_the_file_is_sent_again)
    with pytest.raises(TransientError, match="another run published it meanwhile"):
        ingestion.replay(StageRun(heavy, mended(use_case, max=2000.0), day))
    assert len(content(heavy)) == synthetic.ROWS
    assert max(r["weight"] or 0 for r in content(heavy)) < 1000


def test_later_partitions_whose_history_reaches_back_depend_on_it(workspace: Workspace, use_case: UseCase) -> None:
    days = synthetic.days(use_case, 6)
    for day in days:
        synthetic.publish(workspace, use_case, day)
    keys = [d.key for d in days]
    assert dependents(StageRun(workspace, use_case, days[1]), "deliveries") == tuple(keys[1:5]), (
        "its history looks three days back"
    )
    assert dependents(StageRun(workspace, use_case, days[1]), "carriers") == (keys[1],)
    assert stages_to_recompute(workspace, use_case, [keys[1], "2030-01-01"]) == [("features", keys[1]), ("labels", keys[1])]


def test_what_became_known_late_reaches_further(workspace: Workspace, use_case: UseCase) -> None:
    """A delivery of the first day that came on the fifth counts until the eighth; the weather's own reach is its join's."""
    days = synthetic.days(use_case, 9)
    for day in days:
        synthetic.publish(workspace, use_case, day)
    synthetic.arrive(workspace, days[0])
    ingestion.ingest_all(StageRun(workspace, use_case, days[0]))
    late = workspace.lake.read("parcels/deliveries").drop_columns(["partition"])
    at = pa.array([datetime(2024, 3, 5, 12, tzinfo=UTC)] * late.num_rows, pa.timestamp("us", "UTC"))
    late = late.set_column(late.column_names.index("delivered_at"), "delivered_at", at)
    staged = workspace.lake.stage("parcels/deliveries", days[0].key, late)
    workspace.lake.publish("parcels/deliveries", days[0].key, [staged], CommitRecord(run="test"))
    assert dependents(StageRun(workspace, use_case, days[0]), "deliveries") == tuple(d.key for d in days[:8])
    (join,) = use_case.features.joins
    spec = use_case.features.model_copy(update={"joins": (join.model_copy(update={"lookback": timedelta(days=1)}),)})
    reaching = use_case.model_copy(update={"features": spec})
    assert dependents(StageRun(workspace, reaching, days[0]), "carriers") == (days[0].key, days[1].key)


def test_what_counts_when_it_is_complete_reaches_further(workspace: Workspace, use_case: UseCase) -> None:
    """Complete at the start of the third day, so within three days of the fifth; sent in parts, of the fourth."""
    days = synthetic.days(use_case, 6)
    for day in days:
        synthetic.publish(workspace, use_case, day)
    synthetic.arrive(workspace, days[0])
    ingestion.ingest_all(StageRun(workspace, use_case, days[0]))
    source = use_case.sources["deliveries"].model_copy(update={"in_parts": False})
    once = use_case.model_copy(update={"sources": {**use_case.sources, "deliveries": source}})
    found = [len(dependents(StageRun(workspace, one, days[0]), "deliveries")) for one in (once, use_case)]
    assert found == [5, 4]


def test_an_unknown_source_is_named(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    with pytest.raises(PermanentError, match="no source 'shipment'; it has shipments"):
        ingestion.replay(StageRun(workspace, use_case, day), "shipment")
