"""Ingestion: what breaks the contract goes to quarantine, what is published is counted, a message names source and rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from pipelines import ingestion
from pipelines.errors import PermanentError
from pipelines.results import Published, from_json, to_json
from pipelines.use_case import Contract, Partition, UseCase, rules
from pipelines.validation import check as validation
from pipelines.workspace import CommitRecord, Lake, StageRun, Workspace
from tests import synthetic

TABLE, QUARANTINE = "parcels/shipments", "parcels/shipments_quarantine"
ROWS = 40


@pytest.fixture
def day(use_case: UseCase) -> Partition:
    return use_case.partition("2024-03-01")


@pytest.fixture
def shipments(day: Partition) -> pd.DataFrame:
    """Forty good rows; with `max_rejected_share: 0.1` four may be rejected."""
    return synthetic.parcels(day, ROWS)[0]


def audit(workspace: Workspace, use_case: UseCase, day: Partition, rows: Any, source: str = "shipments") -> Any:
    synthetic.put(workspace, source, day, rows)
    landed = ingestion.land(StageRun(workspace, use_case, day), source)
    return ingestion.audit_all(StageRun(workspace, use_case, day), [landed])[0]


def ingest(workspace: Workspace, use_case: UseCase, day: Partition, rows: Any, source: str = "shipments") -> Published:
    return ingestion.publish_all(StageRun(workspace, use_case, day), [audit(workspace, use_case, day, rows, source)])[0]


def contracted(use_case: UseCase, source: str, **changes: Any) -> UseCase:
    """The use case with parts of one contract replaced; `columns` are changed one by one."""
    contract = use_case.contract[source].model_dump(exclude_unset=True)
    for name, column in changes.pop("columns", {}).items():
        contract["columns"].setdefault(name, {}).update(column)
    new = Contract.model_validate({**contract, **changes})
    return use_case.model_copy(update={"contract": {**use_case.contract, source: new}})


def spoiled(rows: pd.DataFrame, row: int, **values: Any) -> pd.DataFrame:
    """The rows as text, with other values in one of them."""
    found = rows.astype(object)
    for name, value in values.items():
        found.loc[row, name] = value
    return found


def set_aside(workspace: Workspace, table: str = QUARANTINE) -> list[tuple[int, str]]:
    """Line and rule of every row in quarantine; the first data row is line 2."""
    rows = workspace.lake.read(table).to_pylist()
    return sorted((r["row"], r["rule"]) for r in rows)


def assert_nothing_is_published(workspace: Workspace) -> None:
    assert not workspace.lake.exists(TABLE)
    assert not workspace.lake.exists(QUARANTINE)


# the good case -------------------------------------------------------------------------------------------------------


def test_a_good_partition_is_published_whole(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    synthetic.arrive(workspace, day, rows=ROWS)
    found = ingestion.ingest_all(StageRun(workspace, use_case, day))
    assert [(p.table.split("/")[1], p.partition, p.rows_in, p.rows_published, p.rows_quarantined) for p in found] == [
        ("shipments", "2024-03-01", ROWS, ROWS, 0),
        ("deliveries", "2024-03-01", ROWS, ROWS, 0),
        ("carriers", "snapshot", 3, 3, 0),
    ]
    assert workspace.lake.read(TABLE).to_pandas().distance.notna().all()
    assert workspace.lake.published(TABLE, day.key).record.rows_in == ROWS


def test_nothing_is_seen_before_it_is_published_and_steps_talk_in_json(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    audited = audit(workspace, use_case, day, spoiled(shipments, 3, pieces=99))
    assert_nothing_is_published(workspace)
    ingestion.publish_all(StageRun(workspace, use_case, day), [from_json(type(audited), to_json(audited))])[0]
    assert workspace.lake.partitions(TABLE) == {day.key: ROWS - 1}


# rows that break the contract ----------------------------------------------------------------------------------------

DEFECTS = [
    ({"shipment_id": None}, "shipment_id.not_null"),
    ({"shipment_id": "parcel 5"}, "shipment_id.pattern"),
    ({"distance": "far"}, "distance.type"),
    ({"distance": -1}, "distance.range"),
    ({"distance": 9999}, "distance.range"),
    ({"pieces": None}, "pieces.not_null"),
    ({"pieces": 2.5}, "pieces.type"),
    ({"depot": "west"}, "depot.values"),
    ({"depot": "nor\0th"}, "depot.type"),
    ({"carrier": "x" * 300}, "carrier.pattern"),
    ({"ship_date": None}, "ship_date.not_null"),
    ({"ship_date": "2024-03-02"}, "ship_date.partition"),
]  # fmt: skip


def test_every_kind_of_defect_is_quarantined_by_its_own_rule(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    lenient = contracted(use_case, "shipments", max_rejected_share=0.5)
    for row, (values, _) in enumerate(DEFECTS):
        shipments = spoiled(shipments, row, **values)
    text = shipments.to_csv(index=False) + "2024-03-01-9999,2024-03-01\n"
    found = ingest(workspace, lenient, day, text)
    assert set_aside(workspace) == [(n + 2, rule) for n, (_, rule) in enumerate(DEFECTS)] + [(ROWS + 2, "row.columns")]
    assert (found.rows_in, found.rows_published, found.rows_quarantined) == (ROWS + 1, ROWS - 12, 13)
    kept = workspace.lake.read(QUARANTINE).to_pandas().set_index("rule")
    assert kept.loc["depot.values", "value"] == "west"
    assert shipments.shipment_id[7] in kept.loc["depot.values", "text"]


def test_a_nullable_value_may_be_missing_even_in_every_row(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    assert ingest(workspace, use_case, day, shipments.assign(weight=None)).rows_published == ROWS


def test_of_exact_copies_the_first_stays(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    found = ingest(workspace, use_case, day, pd.concat([shipments, shipments.iloc[[4, 9]]]))
    assert found.rows_published == ROWS
    assert set_aside(workspace) == [(ROWS + 2, "key.unique"), (ROWS + 3, "key.unique")]


def test_of_conflicting_duplicates_none_is_believed(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    rows = pd.concat([shipments, shipments.iloc[[4]].assign(pieces=20), shipments.iloc[[9]]])
    found = ingest(workspace, use_case, day, rows)
    assert found.rows_published == ROWS - 1
    assert set_aside(workspace) == [(6, "key.unique"), (ROWS + 2, "key.unique"), (ROWS + 3, "key.unique")]
    assert shipments.shipment_id[4] not in workspace.lake.read(TABLE).column("shipment_id").to_pylist()


def test_a_key_of_two_columns_is_judged_as_one(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    """Exact copies of two keys: of each the first stays, as with a key of one column."""
    double = contracted(use_case, "shipments", key=["shipment_id", "ship_date"])
    found = ingest(workspace, double, day, pd.concat([shipments, shipments.iloc[[4, 9]]]))
    assert found.rows_published == ROWS
    assert set_aside(workspace) == [(ROWS + 2, "key.unique"), (ROWS + 3, "key.unique")]
    assert shipments.shipment_id[4] in workspace.lake.read(QUARANTINE).column("value").to_pylist()[0]


def test_two_columns_are_compared_where_both_are_known(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    deliveries = synthetic.parcels(day, ROWS)[1]
    rows = spoiled(deliveries, 0, delivered_at="2024-02-28T00:00:00Z")
    rows = spoiled(rows, 1, delivered_at=rows.left_at[1])
    rows = spoiled(rows, 2, delivered_at=None)
    assert ingest(workspace, use_case, day, rows, "deliveries").rows_quarantined == 2
    rule = "arrives_after_leaving"
    assert set_aside(workspace, "parcels/deliveries_quarantine") == [(2, rule), (3, rule)]


def test_equal_columns_are_compared_where_both_are_known(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    same = {"id": "same", "left": "left_at", "operator": "==", "right": "delivered_at"}
    equal = contracted(use_case, "deliveries", rules=[same])
    deliveries = synthetic.parcels(day, ROWS)[1]
    rows = spoiled(deliveries.assign(delivered_at=deliveries.left_at), 2, delivered_at=None)
    rows = spoiled(rows, 3, delivered_at="2024-03-05T00:00:00Z")
    assert ingest(workspace, equal, day, rows, "deliveries").rows_quarantined == 1
    assert set_aside(workspace, "parcels/deliveries_quarantine") == [(5, "same")]


def test_a_partition_is_one_of_local_time(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    """22:00 in New York is of the same day, though it is the next one in UTC."""
    source = use_case.sources["deliveries"].model_copy(update={"time_column": "left_at"})
    local = use_case.model_copy(update={"timezone": "America/New_York", "sources": {**use_case.sources, "deliveries": source}})
    noon = synthetic.parcels(day, ROWS)[1].assign(left_at="2024-03-01T17:00:00Z", delivered_at="2024-03-05T00:00:00Z")
    late, early = spoiled(noon, 0, left_at="2024-03-02T03:00:00Z"), "2024-03-01T04:59:59Z"
    synthetic.put(workspace, "deliveries", day, spoiled(late, 1, left_at=early))
    landed = ingestion.land(StageRun(workspace, local, day), "deliveries")
    assert (landed.rows_in, landed.rows_rejected) == (ROWS, 1)


# partitions that break the contract ----------------------------------------------------------------------------------


def test_too_many_rejects_stop_the_partition_and_the_rule_is_named(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    shipments.loc[:4, "depot"] = "west"
    with pytest.raises(PermanentError, match=r"parcels/shipments 2024-03-01: 5 of 40 rows \(12\.5%\).* rule depot\.values"):
        ingest(workspace, use_case, day, shipments)
    assert_nothing_is_published(workspace)


def test_a_column_of_another_type_stops_the_partition(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    with pytest.raises(PermanentError, match=r"not one of 40 rows .*40 break rule pieces\.type, such as line 2 with 'some'"):
        ingest(workspace, use_case, day, shipments.assign(pieces="some"))
    assert_nothing_is_published(workspace)


def test_the_file_of_another_day_stops_the_partition(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    with pytest.raises(PermanentError, match=r"shipments 2024-03-01: not one of 40 rows .* rule ship_date\.partition"):
        ingest(workspace, use_case, day, synthetic.parcels(day.next, ROWS)[0])
    assert_nothing_is_published(workspace)


def test_a_missing_file_stops_the_partition(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    with pytest.raises(PermanentError, match=r"parcels/shipments 2024-03-01: the source file is missing"):
        ingestion.ingest_all(StageRun(workspace, use_case, day))
    assert_nothing_is_published(workspace)


def test_too_few_rows_stop_the_partition(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    with pytest.raises(PermanentError, match="shipments 2024-03-01: 4 good rows, but the contract wants 5 to any number"):
        ingest(workspace, use_case, day, shipments.head(4))
    assert_nothing_is_published(workspace)


@pytest.mark.parametrize(("severity", "published"), [("fail", False), ("warn", True)])
def test_a_rule_may_fail_the_partition_or_only_warn(
    severity: str, published: bool, workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    changed = contracted(use_case, "shipments", columns={"pieces": {"severity": severity}})
    rows = spoiled(shipments, 3, pieces=99)
    if published:
        audited = audit(workspace, changed, day, rows)
        assert audited.warnings[0] == "pieces.range: 1 rows"
        assert audited.rows_accepted == ROWS
        return
    with pytest.raises(PermanentError, match=r"the contract failed: rule pieces\.range: 1 rows, such as line 5 with '99'"):
        ingest(workspace, changed, day, rows)
    assert_nothing_is_published(workspace)


def test_a_partition_unlike_the_last_ones_is_stopped(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    ingest(workspace, use_case, day, shipments)
    with pytest.raises(PermanentError, match=r"2024-03-02: invariant volume is broken: 10 rows where 40 are usual"):
        ingest(workspace, use_case, day.next, synthetic.parcels(day.next, 10)[0])
    assert workspace.lake.partitions(TABLE) == {day.key: ROWS}


# a check that did not happen -----------------------------------------------------------------------------------------


def test_an_expectation_that_crashes_fails_the_partition(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    contract = use_case.contract["shipments"]
    unchecked = {**contract.columns, "carrier": contract.columns["carrier"].model_copy(update={"pattern": "("})}
    broken = use_case.model_copy(
        update={"contract": {**use_case.contract, "shipments": contract.model_copy(update={"columns": unchecked})}}
    )
    with pytest.raises(PermanentError, match=r"parcels/shipments 2024-03-01: rule carrier\.pattern crashed: .*mend the rule"):
        ingest(workspace, broken, day, shipments)
    assert_nothing_is_published(workspace)


@pytest.mark.parametrize("planted", ["skipped", "failed without rows"])
def test_an_expectation_without_a_proper_result_fails_the_partition(
    planted: str,
    workspace: Workspace,
    use_case: UseCase,
    day: Partition,
    shipments: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = validation.OnPandas.count

    def tampered(rows: Any, wanted: Any) -> Any:
        results = count(rows, wanted)
        if planted == "skipped":
            del results[3]
        else:
            results[3].success = False
        return results

    monkeypatch.setattr(validation.OnPandas, "count", tampered)
    with pytest.raises(PermanentError, match=r"2024-03-01: rule \S+ (was not evaluated|failed but names no row)"):
        ingest(workspace, use_case, day, shipments)
    assert_nothing_is_published(workspace)


def test_every_rule_of_every_contract_is_evaluated(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    synthetic.put(workspace, "shipments", day, shipments)
    landed = ingestion.land(StageRun(workspace, use_case, day), "shipments")
    contract = use_case.contract["shipments"]
    check = validation.check_rows(workspace.lake.read_staged(TABLE, landed.staged), contract, "here")
    assert check.evaluated == len(rules(contract))
    assert check.failures == ()


# every row is accounted for ------------------------------------------------------------------------------------------


def test_rows_lost_between_audit_and_publication_stop_the_run(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    audited = audit(workspace, use_case, day, shipments)
    with pytest.raises(PermanentError, match=r"2024-03-01: 41 rows came in, but 40 are published and 0 are in quarantine"):
        ingestion.publish_all(StageRun(workspace, use_case, day), [replace(audited, rows_in=ROWS + 1)])[0]


def test_a_quarantine_that_was_lost_stops_the_run(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    audited = audit(workspace, use_case, day, spoiled(shipments, 3, pieces=99))
    with pytest.raises(PermanentError, match=r"40 rows came in, but 39 are published and 0 are in quarantine"):
        ingestion.publish_all(StageRun(workspace, use_case, day), [replace(audited, quarantine=())])[0]


def test_rows_lost_in_the_audit_stop_it(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic.put(workspace, "shipments", day, shipments)
    landed = ingestion.land(StageRun(workspace, use_case, day), "shipments")
    read = Lake.read_staged
    monkeypatch.setattr(Lake, "read_staged", lambda *args: read(*args).slice(1))
    with pytest.raises(PermanentError, match=r"2024-03-01: 40 rows came in, 39 are good and 0 rejected: rows are lost"):
        ingestion.audit_all(StageRun(workspace, use_case, day), [landed])[0]


# again ---------------------------------------------------------------------------------------------------------------


def test_ingesting_again_gives_the_same_rows_and_the_quarantine_is_replaced(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    spoiled_once = spoiled(shipments, 3, pieces=99)
    ingest(workspace, use_case, day, spoiled_once)
    first = workspace.lake.read(TABLE).to_pylist()
    ingest(workspace, use_case, day, spoiled_once)
    assert workspace.lake.read(TABLE).to_pylist() == first
    assert set_aside(workspace) == [(5, "pieces.range")]


def test_a_mended_file_empties_the_quarantine(
    workspace: Workspace, use_case: UseCase, day: Partition, shipments: pd.DataFrame
) -> None:
    ingest(workspace, use_case, day, spoiled(shipments, 3, pieces=99))
    found = ingest(workspace, use_case, day, shipments)
    assert (found.rows_published, found.rows_quarantined) == (ROWS, 0)
    assert set_aside(workspace) == []


def test_reference_data_is_published_anew_only_when_it_or_its_contract_changed(
    workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    def audited(changed: UseCase, rows: pd.DataFrame) -> list[Any]:
        synthetic.put(workspace, "carriers", day, rows)
        landed = ingestion.land(StageRun(workspace, changed, day), "carriers")
        found = ingestion.audit_all(StageRun(workspace, changed, day), [landed])
        ingestion.publish_all(StageRun(workspace, changed, day), found)
        return found

    carriers = synthetic.carriers()
    assert len(audited(use_case, carriers)) == 1
    assert len(audited(use_case, carriers)) == 0
    assert len(audited(use_case, carriers.assign(rating=1.0))) == 1
    stricter = contracted(use_case, "carriers", columns={"rating": {"max": 4}})
    assert len(audited(stricter, carriers.assign(rating=1.0))) == 1
    workspace.lake.restore("parcels/carriers", 1, CommitRecord())
    assert len(audited(stricter, carriers.assign(rating=1.0))) == 1
