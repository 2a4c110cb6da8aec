"""Every declared protection acts in the emergency that it is for, or `validate-config` refuses what could never act."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipelines import ingestion, maintenance
from pipelines.errors import PermanentError
from pipelines.use_case import Column, Contract, Invariant, Partition, UseCase
from pipelines.use_case.contract import CrossRule, Freshness
from pipelines.workspace import StageRun, Workspace
from tests import synthetic
from tests.ingestion.pipeline import (
    QUARANTINE,
    TABLE,
    contracted,
    declared,
    ingest,
    lines,
    published,
    rejected,
    texts,
    unknown,
)

ROWS = 40


@pytest.fixture
def day(use_case: UseCase) -> Partition:
    return synthetic.days(use_case, 1)[0]


# each key of the contract --------------------------------------------------------------------------------------------

Frame = pd.DataFrame


def cell(column: str, *values: Any) -> Callable[[Frame], Frame]:
    """Other values in the first rows."""

    def spoil(frame: Frame) -> Frame:
        frame = frame.astype({column: object})
        frame.loc[range(len(values)), column] = list(values)
        return frame

    return spoil


@dataclass(frozen=True)
class Emergency:
    """What happens to the file, and what must come of it: rejected rows by rule, or a refusal that says so."""

    spoil: Callable[[Frame], Frame]
    outcome: dict[str, int] | str
    contract: dict[str, Any]
    after_good_day: bool = False


def column(name: str, **keys: Any) -> dict[str, Any]:
    return {"columns": {name: keys}}


VOLUME = {"id": "volume", "measure": "row_count", "max_ratio": 1.5}
SHARE = {"id": "share", "measure": "category_share", "column": "depot", "max_change": 0.3}
FRESH = {"freshness": {"column": "ship_date", "max_gap": "PT0S"}}
STALE = cell("ship_date", *["2024-02-28"] * (ROWS - 1))
EMERGENCIES: dict[str, Emergency] = {
    "Contract.key": Emergency(lambda f: pd.concat([f, f.head(1).assign(pieces=20)]), {"key.unique": 2}, {}),
    "Contract.columns": Emergency(lambda f: f.drop(columns="depot"), "'depot' is missing", {}),
    "Contract.min_rows": Emergency(lambda f: f.head(4), "4 good rows, but the contract wants 5", {}),
    "Contract.max_rows": Emergency(lambda f: f, "40 good rows, but the contract wants 5 to 39", {"max_rows": 39}),
    "Contract.max_rejected_share": Emergency(cell("depot", *["west"] * 5), "more than 10.0% stops the partition", {}),
    "Contract.spark_above_rows": Emergency(lambda f: f, {}, {}),  # tests/validation/test_validation_engines.py: both engines
    "Contract.rules": Emergency(cell("pieces", 3), {"same": 1}, {}),  # see CrossRule
    "Contract.invariants": Emergency(lambda f: f.head(10), "invariant volume is broken", {"invariants": [VOLUME]}, True),
    "Contract.freshness": Emergency(STALE, "rule ship_date.freshness", FRESH),
    "Column.type": Emergency(cell("distance", "far"), {"distance.type": 1}, {}),
    "Column.nullable": Emergency(cell("depot", None), {"depot.not_null": 1}, {}),
    "Column.min": Emergency(cell("distance", -1), {"distance.range": 1}, {}),
    "Column.max": Emergency(cell("distance", 5001), {"distance.range": 1}, {}),
    "Column.values": Emergency(cell("depot", "west"), {"depot.values": 1}, {}),
    "Column.pattern": Emergency(cell("carrier", "aa"), {"carrier.pattern": 1}, {}),
    "Column.max_length": Emergency(
        cell("carrier", "xyz"), {"carrier.length": 1}, column("carrier", pattern=None, max_length=2)
    ),
    "Column.default": Emergency(lambda f: f.drop(columns="weight"), {}, column("weight", default=1.5)),
    "Column.severity": Emergency(cell("pieces", 99), "contract failed: rule pieces.range", column("pieces", severity="fail")),
    "Freshness.column": Emergency(STALE, "the newest ship_date is too old", FRESH),
    "Freshness.max_gap": Emergency(STALE, "at most 0:00:00 is allowed", FRESH),
    "Freshness.rows": Emergency(STALE, {}, {"freshness": {**FRESH["freshness"], "rows": 1}}),  # one is fresh
    "Freshness.max_ahead": Emergency(cell("ship_date", "2031-01-01"), {"ship_date.future": 1}, FRESH),
    "Invariant.measure": Emergency(lambda f: f.assign(depot="north"), "'north' in depot", {"invariants": [SHARE]}, True),
    "Invariant.column": Emergency(
        lambda f: f.assign(weight=None), "the share of 'null' in weight",
        {"invariants": [{**SHARE, "measure": "null_share", "column": "weight"}]}, True,
    ),
    "Invariant.over": Emergency(
        lambda f: f.head(10), "where 40 are usual", {"invariants": [{**VOLUME, "over": "P1D"}]}, True
    ),
    "Invariant.max_ratio": Emergency(lambda f: f.head(20), "beyond a factor of 1.5", {"invariants": [VOLUME]}, True),
    "Invariant.max_change": Emergency(lambda f: f.assign(depot="south"), "by more than 30.0%", {"invariants": [SHARE]}, True),
    "Invariant.severity": Emergency(
        lambda f: f.head(10), {}, {"invariants": [{**VOLUME, "severity": "warn"}]}, True
    ),
    "Invariant.id": Emergency(lambda f: f.head(10), "invariant volume is", {"invariants": [VOLUME]}, True),
}  # fmt: skip
CROSS = {"id": "same", "left": "pieces", "operator": "<=", "right": "most", "severity": "reject"}
for key in ("id", "left", "operator", "right"):
    EMERGENCIES[f"CrossRule.{key}"] = EMERGENCIES["Contract.rules"]
EMERGENCIES["CrossRule.severity"] = Emergency(cell("pieces", 3), "contract failed: rule same", {})


def test_every_key_has_its_emergency() -> None:
    models = (Contract, Column, Freshness, Invariant, CrossRule)
    assert set(EMERGENCIES) == {f"{model.__name__}.{key}" for model in models for key in model.model_fields}


@pytest.mark.parametrize("key", EMERGENCIES)
def test_a_key_of_the_contract_acts_in_its_emergency(key: str, workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    emergency = EMERGENCIES[key]
    changed = contracted(use_case, **{"invariants": [], **emergency.contract})
    if "ship_date" in str(emergency.contract):  # the partition's own rule would act first
        changed = declared(contracted(changed, max_rejected_share=0.99), time_column=None)
    frame = synthetic.parcels(day, ROWS)[0]
    if "same" in emergency.outcome:
        rule = {**CROSS, "severity": "fail" if key == "CrossRule.severity" else "reject"}
        changed = contracted(changed, columns={"most": {"type": "integer", "default": 20, "nullable": True}}, rules=[rule])
        frame = frame.assign(most=20)
        frame.loc[0, "most"] = 2
    if emergency.after_good_day:
        ingest(workspace, changed, day.previous, synthetic.parcels(day.previous, ROWS)[0])
    if isinstance(emergency.outcome, str):
        with pytest.raises(PermanentError, match=emergency.outcome.replace("(", r"\(")):
            ingest(workspace, changed, day, emergency.spoil(frame))
        assert day.key not in workspace.lake.partitions(TABLE)
        return
    ingest(workspace, changed, day, emergency.spoil(frame))
    assert {rule: 1 for _, rule in rejected(workspace)}.keys() == emergency.outcome.keys()
    assert len(rejected(workspace)) == sum(emergency.outcome.values())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"columns": {"distance": {"min": 10, "max": 5}}}, "'min' 10 is above 'max' 5"),
        ({"columns": {"distance": {"max_length": 5}}}, "a number has no 'max_length'"),
        ({"columns": {"carrier": {"pattern": "("}}}, "is no regular expression"),
        ({"columns": {"ship_date": {"max": "9999-12-31"}}}, "beyond what every stage can carry"),
        ({"columns": {"ship_date": {"values": ["1066-10-14"]}}}, "beyond what every stage can carry"),
        ({"max_rows": 3}, "'max_rows' 3 is below 'min_rows' 5"),
        ({"invariants": [{**VOLUME, "max_change": 0.1}]}, "nothing looks at 'column' or 'max_change'"),
        ({"invariants": [{**SHARE, "max_ratio": 2}]}, "nothing looks at 'max_ratio'"),
        ({"invariants": [{**SHARE, "measure": "null_share"}]}, "'depot' is not nullable, so its share of nulls is 0"),
        ({"invariants": [{**VOLUME, "severity": "reject"}]}, "its severity is fail or warn"),
        ({"invariants": [VOLUME, VOLUME]}, "'volume' and 'volume' are one name"),
    ],
)
def test_what_could_never_act_is_refused(changes: dict[str, Any], says: str, use_case: UseCase) -> None:
    with pytest.raises(ValidationError, match=says.replace("(", r"\(")):
        contracted(use_case, **changes)


# freshness, and dates that mean never --------------------------------------------------------------------------------

FRESH_LEFT = {"freshness": {"column": "left_at", "max_gap": "P1D"}, "rules": []}


def old_deliveries(day: Partition, *newest: str) -> Frame:
    """Rows of three weeks ago, and some others."""
    frame = synthetic.parcels(day, ROWS)[1].assign(left_at="2024-02-09T10:00:00Z")
    frame.loc[range(len(newest)), "left_at"] = list(newest)
    return frame


@pytest.mark.parametrize("newest", ["2031-01-01T00:00:00Z", "2024-03-01T12:00:00Z"], ids=["from the future", "of the day"])
def test_one_row_does_not_vouch_for_the_rest(newest: str, workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    fresh = contracted(use_case, "deliveries", **FRESH_LEFT)
    with pytest.raises(PermanentError, match=r"the newest left_at is too old \(2024-02-09"):
        ingest(workspace, fresh, day, old_deliveries(day, newest), "deliveries")


def test_a_row_from_the_future_is_rejected_by_name_or_tolerated_by_a_bound(
    workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    good = synthetic.parcels(day, ROWS)[1]
    good.loc[0, "left_at"], good.loc[1, "left_at"] = "2024-03-02T05:00:00Z", "2031-01-01T00:00:00Z"
    ingest(workspace, contracted(use_case, "deliveries", **FRESH_LEFT), day, good, "deliveries")
    future = [(2, "left_at.future"), (3, "left_at.future")]
    assert rejected(workspace, "parcels/deliveries_quarantine") == future
    bound = {**FRESH_LEFT, "freshness": {**FRESH_LEFT["freshness"], "max_ahead": "PT6H"}}
    ingest(workspace, contracted(use_case, "deliveries", **bound), day, good, "deliveries")
    assert rejected(workspace, "parcels/deliveries_quarantine") == future[1:]


@pytest.mark.parametrize("never", ["9999-12-31", "0001-01-01", "2262-01-01", "1677-12-31"])
def test_a_date_that_no_stage_could_carry_is_rejected_with_the_reason_or_means_no_value(
    never: str, workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    until = contracted(
        use_case, columns={"until": {"type": "date", "nullable": True}, "at": {"type": "timestamp", "nullable": True}}
    )
    frame = synthetic.parcels(day, ROWS)[0].assign(until="2024-05-01", at="2024-05-01T00:00:00Z")
    frame.loc[0, "until"], frame.loc[1, "at"] = never, f"{never}T23:59:59Z"
    ingest(workspace, until, day, frame)
    assert rejected(workspace) == [(2, "until.far"), (3, "at.far")]
    ingest(workspace, declared(until, null_values=["", never, f"{never}T23:59:59Z"]), day, frame)
    assert rejected(workspace) == []
    assert published(workspace)[0]["until"] is None


def test_the_farthest_dates_pass_every_stage(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    until = contracted(use_case, columns={"until": {"type": "date"}, "at": {"type": "timestamp"}})
    until = contracted(until, freshness={"column": "until", "max_gap": "P1D", "max_ahead": "P90000D"})
    frame = synthetic.parcels(day, ROWS)[0].assign(until="2261-12-31", at="2261-12-31T00:00:00Z")
    ingest(workspace, until, day, frame)
    found = workspace.lake.read(TABLE).to_pandas()
    assert pd.to_datetime(found.until).dt.year.eq(2261).all()
    assert (found["at"].astype("datetime64[ns, UTC]") + pd.Timedelta(days=1)).dt.year.eq(2262).all()


# what a replay brings back -------------------------------------------------------------------------------------------


def replay(workspace: Workspace, use_case: UseCase, day: Partition) -> Any:
    (found,) = ingestion.replay(StageRun(workspace, use_case, day), "shipments")
    return found


def test_a_value_that_was_taken_for_null_comes_back(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    """NA is Namibia's airline: with the planted defect the quarantine would hold `null`, and the row could never return."""
    wrong = declared(use_case, null_values=["", "NA"])
    ingest(workspace, wrong, day, lines(day, "NA", header=",colour", more=",red"))
    assert rejected(workspace) == [(2, "carrier.not_null")]
    assert texts(workspace)[2].split(",")[3] == "NA"
    assert replay(workspace, use_case, day).moved == 1
    assert published(workspace)[0]["carrier"] == "NA"
    assert unknown(workspace) == {line: {"colour": "red"} for line in range(2, 17)}, "its unknown columns too"


def test_a_column_that_was_unknown_then_has_its_value_now(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    ingest(workspace, use_case, day, lines(day, "toolong", header=",colour", more=",red"))
    known = contracted(use_case, columns={"colour": {"type": "string", "nullable": True}, "carrier": {"pattern": None}})
    assert replay(workspace, known, day).moved == 1
    assert published(workspace)[0]["colour"] == "red"


@pytest.mark.parametrize(
    ("text", "keys"),
    [(r'"say \"hi\" Joe"', {"escape": "\\"}), ("a;b", {}), ("'a,b'", {"quote": "'"}), ('a 5" pipe', {"quote": None})],
)
def test_a_record_is_parsed_anew_as_the_source_is_declared_now(
    text: str, keys: dict[str, Any], workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    ingest(workspace, use_case, day, lines(day, text))
    assert len(rejected(workspace)) == 1
    free = contracted(declared(use_case, **keys), columns={"carrier": {"pattern": None}})
    assert replay(workspace, free, day).moved == 1
    assert rejected(workspace) == []


def test_mended_null_values_of_a_snapshot_are_a_changed_source(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    rows = "carrier,rating\nAA,-\nBB,3\n"
    never = declared(contracted(use_case, "carriers", max_rejected_share=0.9), "carriers", null_values=[""])
    ingest(workspace, never, day, rows, "carriers")
    assert rejected(workspace, "parcels/carriers_quarantine") == [(2, "rating.type")]
    assert ingest(workspace, never, day, rows, "carriers") == [], "the same file under the same declaration is unchanged"
    mended = declared(never, "carriers", null_values=["", "-"])
    assert len(ingest(workspace, mended, day, rows, "carriers")) == 1
    assert rejected(workspace, "parcels/carriers_quarantine") == []


def test_a_file_that_was_sent_again_between_landing_and_audit_is_not_mixed_up(
    workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    run = StageRun(workspace, use_case, day)
    synthetic.put(workspace, "shipments", day, lines(day, "toolong"))
    landed = ingestion.land(run, "shipments")
    synthetic.put(workspace, "shipments", day, "\n" + lines(day, "longer"))
    with pytest.raises(PermanentError, match="was sent again since it was landed; run ingestion again"):
        ingestion.audit_all(run, [landed])


# retention, and quarantines of before --------------------------------------------------------------------------------


def test_the_text_is_kept_as_long_as_the_use_case_says(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    short = use_case.model_copy(update={"keep_quarantine_for": timedelta(days=30)})
    ingest(workspace, short, day, lines(day, "toolong"))
    now = datetime.now(UTC)
    assert ingestion.forget_rejected(workspace, short, now + timedelta(days=29)) == {}
    assert texts(workspace)[2]
    assert ingestion.forget_rejected(workspace, short, now + timedelta(days=31)) == {QUARANTINE: 1}
    (row,) = workspace.lake.read(QUARANTINE).to_pylist()
    assert (row["text"], row["value"], row["header"], row["rule"]) == ("", "", None, "carrier.pattern")
    free = contracted(short, columns={"carrier": {"pattern": None}})
    assert "1 stay (carrier.pattern: 1)" in replay(workspace, free, day).why, "counted, and nothing to parse"
    assert ingestion.forget_rejected(workspace, short, now + timedelta(days=31)) == {}


def test_the_sweep_obeys_the_retention(workspace: Workspace, use_case: UseCase, day: Partition, monkeypatch: Any) -> None:
    ingest(workspace, use_case, day, lines(day, "toolong"))
    rows = [{**r, "at": "2001-01-01T00:00:00+00:00"} for r in workspace.lake.read(QUARANTINE).to_pylist()]
    old = pa.Table.from_pylist(rows).drop_columns(["partition"])
    record = workspace.lake.published(QUARANTINE, day.key).record  # type: ignore[union-attr]
    workspace.lake.publish(QUARANTINE, day.key, [workspace.lake.stage(QUARANTINE, day.key, old)], record)
    monkeypatch.setattr(type(workspace.registry), "tables_read", lambda *_: {})
    maintenance.sweep(workspace, use_case)
    assert texts(workspace) == {2: ""}


def test_a_quarantine_of_before_opens_as_it_is(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    """Its text is the values as JSON, without a header; a row that could not be split has its line."""
    use_case = contracted(use_case, max_rejected_share=0.5)
    ingest(workspace, use_case, day, lines(day, "toolong") + "1,2\n")
    values = {**{k: str(v) for k, v in synthetic.parcels(day, 15)[0].iloc[0].items()}, "carrier": "toolong"}
    (ragged,) = [row for row in workspace.lake.read(QUARANTINE).to_pylist() if row["rule"] == "row.columns"]
    about = {name: ragged[name] for name in ("source", "run", "at", "source_digest")}
    before = [
        {"row": 2, "rule": "carrier.pattern", "value": "toolong", "text": json.dumps(values), **about},
        {"row": ragged["row"], "rule": "row.columns", "value": "", "text": "1,2", **about},
    ]
    record = workspace.lake.published(QUARANTINE, day.key).record  # type: ignore[union-attr]
    lake = workspace.lake
    lake.publish(QUARANTINE, day.key, [lake.stage(QUARANTINE, day.key, pa.Table.from_pylist(before))], record)
    assert [row["text"] for row in ingestion.rejected_rows(workspace, use_case)] == [json.dumps(values), "1,2"]
    free = contracted(use_case, columns={"carrier": {"pattern": None}})
    assert replay(workspace, free, day).moved == 1
    assert published(workspace)[0]["carrier"] == "toolong"
    assert rejected(workspace) == [(ragged["row"], "row.columns")]
