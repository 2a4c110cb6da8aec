"""A window that memory does not hold: it is measured lot by lot, to what it is as a whole."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
import pytest

from pipelines.monitoring import lots, measure_drift, measure_performance
from pipelines.scoring import score
from pipelines.workspace import CommitRecord, Lake, StageRun
from tests.conftest import World

LOT = 32


@pytest.fixture
def run(one_champion: World) -> StageRun:
    """A day that was served, its labels in another order than its predictions."""
    run = StageRun(one_champion.workspace, one_champion.use_case, one_champion.days[8])
    score(run)
    table = f"{run.use_case.name}/labels"
    rows = run.lake.read(table, [run.key]).drop_columns(["partition"])
    staged = run.lake.stage(table, run.key, rows.take(list(range(len(rows)))[::-1]))
    run.lake.publish(table, run.key, [staged], CommitRecord(run="test"))
    return run


def test_many_lots_give_what_all_rows_give_and_what_goes_by_rank_is_of_some_of_them(
    run: StageRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = measure_performance(run)
    monkeypatch.setattr(lots, "ROWS", LOT)
    many = measure_performance(run)
    assert one
    assert many
    ranked = {name: seen.deviations.pop("auc_loss") for name, seen in (("one", one), ("many", many))}
    by_rank = {"auc": 0, "calibration_error": 0}
    assert _figures(asdict(many) | by_rank) == pytest.approx(_figures(asdict(one) | by_rank), abs=1e-12)
    (all_rows,), (some,) = (ranked[name].parts for name in ("one", "many"))
    assert all_rows[0] == one.labels
    assert LOT <= some[0] < 2 * LOT


def _figures(document: Any, name: str = "") -> dict[str, Any]:
    """Flat: `pytest.approx` does not look into nested ones."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    nested = {f"{name}/{key}": value for key, value in items}
    flat = {key: value for key, value in nested.items() if not isinstance(value, dict | list | tuple)}
    deeper = [_figures(value, key) for key, value in nested.items() if key not in flat]
    return flat | {key: value for each in deeper for key, value in each.items()}


def test_no_table_of_rows_is_read_whole_and_no_lot_is_larger_than_a_lot(run: StageRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """What memory holds hangs on the size of a lot and of the samples, on nothing else."""
    monkeypatch.setattr(lots, "ROWS", LOT)
    read, kept, joined = Lake.read, [], lots._joined

    def small(self: Lake, table: str, *how: Any, **more: Any) -> Any:
        assert not table.endswith(("/predictions", "/labels", "/features")), f"{table} is read whole"
        return read(self, table, *how, **more)

    def counted(rows: pd.DataFrame, *how: Any) -> pd.DataFrame:
        kept.append(len(rows))
        return joined(rows, *how)

    monkeypatch.setattr(Lake, "read", small)
    monkeypatch.setattr(lots, "_joined", counted)
    assert measure_drift(run)
    assert measure_performance(run)
    assert len(kept) == 8, "120 rows in four lots, each joined to labels and to features"
    assert max(kept) < 2 * LOT


def test_a_key_that_comes_twice_is_refused_in_whatever_lot_it_lies(run: StageRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lots, "ROWS", LOT)
    table = f"{run.use_case.name}/labels"
    rows = run.lake.read(table, [run.key]).drop_columns(["partition"])
    staged = run.lake.stage(table, run.key, rows.take([*range(len(rows)), 0]))
    run.lake.publish(table, run.key, [staged], CommitRecord(run="test"))
    with pytest.raises(pd.errors.MergeError, match="one-to-one"):
        measure_performance(run)
