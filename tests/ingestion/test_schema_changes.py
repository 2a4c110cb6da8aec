"""A change of schema: judged, told with who is affected, kept aside or stopped; evolved by one edit of the contract."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import ingestion
from pipelines.errors import PermanentError
from pipelines.ingestion.schema_changes import (
    LABEL,
    Judgement,
    affected,
    identifiers,
    impact,
    judge_header,
    judge_table,
    judge_values,
)
from pipelines.use_case import Column, Contract, Partition, UseCase, load_use_case, read_use_case
from pipelines.validation import stop_at_stale
from pipelines.workspace import StageRun, Workspace
from tests import synthetic
from tests.conftest import USE_CASES

TABLE = "parcels/shipments"


@pytest.fixture
def day(use_case: UseCase) -> Partition:
    return synthetic.days(use_case, 1)[0]


@pytest.fixture(scope="module")
def flights() -> UseCase:
    return load_use_case("flight_delay")


def evolved(tmp_path: Path, **columns: dict[str, Any]) -> UseCase:
    """`parcels` after one edit of its YAML: other columns in the contract of shipments."""
    document = yaml.safe_load((USE_CASES / "parcels.yaml").read_text())
    document["contract"]["shipments"]["columns"] |= columns
    file = tmp_path / "parcels.yaml"
    file.write_text(yaml.safe_dump(document))
    return read_use_case(file)


def ingest(workspace: Workspace, use_case: UseCase, day: Partition, **columns: Any) -> list[Any]:
    """Ingest a day whose shipments have these columns more; None takes a column away."""
    synthetic.arrive(workspace, day)
    frame = synthetic.parcels(day)[0]
    gone = [name for name, values in columns.items() if values is None]
    added = {name: values for name, values in columns.items() if values is not None}
    synthetic.put(workspace, "shipments", day, frame.assign(**added).drop(columns=gone))
    return ingestion.ingest_all(StageRun(workspace, use_case, day))


# judged ----------------------------------------------------------------------------------------------------------------


CONTRACT = Contract(
    key=("id",),
    columns={
        "id": Column(type="string"),
        "km": Column(type="number"),
        "note": Column(type="string", nullable=True),
        "unit": Column(type="string", default="kg"),
        "tag": Column.model_validate({"type": "string", "nullable": True, "default": None}),
    },
)


@pytest.mark.parametrize(
    ("header", "judgement", "says"),
    [
        (["id", "km", "note", "unit", "tag", "fuel"], Judgement.COMPATIBLE, "fuel: a new column"),
        (["km", "id", "note", "unit", "tag"], Judgement.COMPATIBLE, "another order"),
        (["id", "km", "note", "tag"], Judgement.COMPATIBLE, "unit: missing, filled with its default"),
        (["id", "km", "note", "unit"], Judgement.COMPATIBLE, "tag: missing, filled with its default"),
        (["id", "km", "unit", "tag"], Judgement.NEEDS_DEFAULT, "'note' is missing"),
        (["id", "kms", "note", "unit", "tag"], Judgement.NEEDS_DEFAULT, "'km' is missing (renamed to 'kms'?)"),
        (["km", "note", "unit", "tag"], Judgement.BREAKING, "'id' is missing"),
    ],
)
def test_a_header_is_judged(header: list[str], judgement: Judgement, says: str) -> None:
    change = judge_header(header, CONTRACT)[0]
    assert change.judgement is judgement
    assert says in change.sentence


def test_a_header_as_declared_is_no_change() -> None:
    assert judge_header(list(CONTRACT.columns), CONTRACT) == []


def test_the_contract_is_judged_against_the_published_table() -> None:
    wanted = {"id": "string", "km": "double", "note": "string"}
    assert judge_table(CONTRACT, wanted, {}) == []
    (kind,) = judge_table(CONTRACT, wanted, {"id": "string", "km": "int64", "note": "string"})
    assert kind.judgement is Judgement.BREAKING
    assert "km: its type in contract is double by now, the published table has int64" in kind.sentence
    (new,) = judge_table(CONTRACT, wanted, {"id": "string", "note": "string"})
    assert new.judgement is Judgement.NEEDS_DEFAULT
    assert judge_table(CONTRACT, wanted, {"id": "string", "km": "double"}) == [], "a nullable column may be new"
    assert judge_table(CONTRACT, wanted, {"id": "string", "note": "string"}, older=False) == []


def test_many_rejected_values_are_a_change_of_type_or_of_meaning() -> None:
    rejects = Counter({"km.type": 40, "unit.values": 10, "row.columns": 30})
    found = judge_values(rejects, 100, CONTRACT)
    assert [c.column for c in found] == ["km", "unit"]
    assert "its type seems to have changed, 40 of 100 rows break km.type" in found[0].sentence
    assert "meaning" in found[1].sentence
    assert judge_values(Counter({"km.type": 5}), 100, CONTRACT) == []


# who is affected -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("scheduled_hour * 60 + scheduled_minute", {"scheduled_hour", "scheduled_minute"}),
        ("weekday(flight_date)", {"flight_date"}),
        ("year(flight_date) - plane_year", {"flight_date", "plane_year"}),
        ("coalesce(`Odd Name`, other)", {"odd name", "other"}),
        ("if(kind = 'weight of it', 1, 0)", {"kind"}),
        ('if(kind = "it\'s weight", 1, weight2)', {"kind", "weight2"}),
        ("if(kind = 'it\\'s weight', a, b)", {"kind", "a", "b"}),
        ("t.distance", {"t", "distance"}),
        ("Distance", {"distance"}),
        ("1e5 + x1", {"x1"}),
    ],
)
def test_identifiers_are_words_outside_of_texts_and_no_functions(expression: str, names: set[str]) -> None:
    assert identifiers(expression) == names


def test_the_words_of_a_window_are_no_columns_that_matter() -> None:
    found = identifiers("sum(precip) over (partition by origin order by hour_utc rows between 5 preceding and current row)")
    assert {"precip", "origin", "hour_utc"} <= found
    assert not {"sum", "over", "rain"} & found


@pytest.mark.parametrize(
    ("source", "column", "features"),
    [
        ("schedule", "distance", {"distance"}),
        ("schedule", "scheduled_minute", {"minute_of_day"}),
        ("schedule", "scheduled_hour", {"minute_of_day", "origin_hour_late_7d", "origin_hour_late_28d"}),
        ("schedule", "flight", {"flight_late_28d"}),
        ("schedule", "scheduled_arrival", set()),
        ("planes", "seats", {"plane_seats"}),
        ("planes", "year", {"plane_age"}),
        ("planes", "engine", set()),
        ("planes", "tailnum", {"plane_age", "plane_seats"}),
        ("weather", "humid", {"humid"}),
        ("weather", "pressure", {"pressure_change"}),
        ("weather", "wind_speed", {"wind_speed", "wind_6h", "wind_all"}),
        ("weather", "temp", set()),
        ("schedule", "humid", set()),  # the features' humid is the weather's, not a column of the schedule
        ("outcomes", "dep_delay", set()),
        ("airlines", "name", set()),
    ],
)
def test_the_features_of_a_column_are_found(flights: UseCase, source: str, column: str, features: set[str]) -> None:
    assert set(affected(flights, source, column)) == features


def test_the_label_and_all_history_stand_on_the_outcome(flights: UseCase) -> None:
    found = affected(flights, "outcomes", "arr_delay")
    assert found[0] == LABEL
    assert set(found[1:]) == {n for n in flights.features.names if "_late_" in n}


def test_every_feature_stands_on_the_key(flights: UseCase) -> None:
    assert affected(flights, "schedule", "flight_id") == flights.features.names
    assert affected(flights, "outcomes", "flight_id") == (LABEL, *flights.features.names)


def test_a_column_that_a_join_looks_up_by_affects_what_it_brings(flights: UseCase) -> None:
    found = set(affected(flights, "schedule", "scheduled_departure"))
    assert {"humid", "wind_all", "departures_in_hour", "leg_of_day"} <= found
    assert "plane_seats" not in found


def test_the_champion_is_named(flights: UseCase) -> None:
    assert impact(flights, "planes", 3, "seats") == "; affected: plane_seats and with them the champion, model v3"
    assert impact(flights, "planes", None, "seats") == "; affected: plane_seats"
    assert impact(flights, "planes", 3, "engine") == "; no feature uses it"


# on arrival ------------------------------------------------------------------------------------------------------------


def test_a_new_column_is_kept_by_key_and_reported(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    fuel = [f"{i} l" if i else "" for i in range(synthetic.ROWS)]
    (landed,) = [
        ingestion.land(StageRun(workspace, use_case, day), "shipments") for _ in [ingest(workspace, use_case, day, fuel=fuel)]
    ]
    assert any("fuel: a new column" in change and "no feature uses it" in change for change in landed.schema_changes)
    assert "fuel" not in workspace.lake.read(TABLE).column_names
    kept = workspace.lake.read(f"{TABLE}_unknown_columns", [day.key]).to_pylist()
    assert len(kept) == synthetic.ROWS
    assert kept[3] == {"shipment_id": f"{day.key}-0003", "_row": 5, "_columns": '{"fuel": "3 l"}', "partition": day.key}
    assert kept[0]["_columns"] == '{"fuel": ""}', "as the file has it"
    assert "fuel: a new column" in workspace.lake.published(TABLE, day.key).record.warnings


def test_rows_in_quarantine_leave_no_unknown_columns(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    synthetic.arrive(workspace, day)
    frame = synthetic.parcels(day)[0].assign(fuel="1")
    frame.loc[4, "depot"] = "west"
    synthetic.put(workspace, "shipments", day, frame)
    ingestion.ingest_all(StageRun(workspace, use_case, day))
    assert 6 not in workspace.lake.read(f"{TABLE}_unknown_columns")["_row"].to_pylist()
    ingest(workspace, use_case, day)
    assert workspace.lake.partitions(f"{TABLE}_unknown_columns")[day.key] == 0, (
        "a file without the column leaves nothing behind"
    )


def test_a_missing_column_names_features_and_champion(
    workspace: Workspace, use_case: UseCase, day: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Champion:
        version = 7

    monkeypatch.setattr(type(workspace.ledger), "champion", lambda *_: Champion)
    message = r"parcels/shipments 2024-03-01: 'distance' is missing \[needs a default; affected: distance and .* model v7\]"
    with pytest.raises(PermanentError, match=message):
        ingest(workspace, use_case, day, distance=None)
    with pytest.raises(PermanentError, match=r"'shipment_id' is missing \[breaking"):
        ingest(workspace, use_case, day, shipment_id=None)


def test_a_column_of_another_type_is_told_as_such(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    with pytest.raises(PermanentError, match=r"distance\.type.*\[breaking: distance: its type .*affected: distance"):
        ingest(workspace, use_case, day, distance="far")
    assert not workspace.lake.exists(TABLE)


def test_values_that_mean_something_else_are_told_as_such(workspace: Workspace, use_case: UseCase, day: Partition) -> None:
    frame = synthetic.parcels(day)[0]
    with pytest.raises(PermanentError, match=r"distance\.range.*\[breaking: distance: its meaning"):
        ingest(workspace, use_case, day, distance=frame.distance * 1000)


# evolution -------------------------------------------------------------------------------------------------------------


def test_one_edit_publishes_the_new_column_and_older_partitions_read_null(
    workspace: Workspace, use_case: UseCase, day: Partition, tmp_path: Path
) -> None:
    ingest(workspace, use_case, day, fuel="7.5")
    after = evolved(tmp_path, fuel={"type": "number", "nullable": True})
    ingest(workspace, after, day.next, fuel="8.5")
    assert set(workspace.lake.read(TABLE, [day.next.key])["fuel"].to_pylist()) == {8.5}
    assert set(workspace.lake.read(TABLE, [day.key])["fuel"].to_pylist()) == {None}
    ingest(workspace, after, day, fuel="7.5")
    assert set(workspace.lake.read(TABLE, [day.key])["fuel"].to_pylist()) == {7.5}, "ingested again, it is there"


def test_a_file_from_before_the_edit_gets_the_default(
    workspace: Workspace, use_case: UseCase, day: Partition, tmp_path: Path
) -> None:
    after = evolved(
        tmp_path, fuel={"type": "number", "default": 5}, crew={"type": "integer", "nullable": True, "default": None}
    )
    ingest(workspace, after, day)
    rows = workspace.lake.read(TABLE, [day.key])
    assert set(rows["fuel"].to_pylist()) == {5.0}
    assert set(rows["crew"].to_pylist()) == {None}


def test_a_new_column_that_is_never_null_needs_a_default(
    workspace: Workspace, use_case: UseCase, day: Partition, tmp_path: Path
) -> None:
    ingest(workspace, use_case, day)
    after = evolved(tmp_path, fuel={"type": "number"})
    with pytest.raises(PermanentError, match=r"'fuel' is new in contract, .* \[needs a default; no feature uses it\]"):
        ingest(workspace, after, day.next, fuel="8.5")


def test_a_change_of_type_in_the_contract_says_how_to_migrate_and_touches_nothing(
    workspace: Workspace, use_case: UseCase, day: Partition, tmp_path: Path
) -> None:
    ingest(workspace, use_case, day)
    version = workspace.lake.version(TABLE)
    after = evolved(tmp_path, pieces={"type": "number", "min": 1})
    with pytest.raises(PermanentError, match=r"pieces: its type in contract is double by now.*affected: pieces.*run ingestion"):
        ingest(workspace, after, day.next)
    assert workspace.lake.version(TABLE) == version


def test_a_column_dropped_from_the_contract_that_a_feature_uses_stops(
    workspace: Workspace, use_case: UseCase, day: Partition, tmp_path: Path
) -> None:
    ingest(workspace, use_case, day)
    without = evolved(tmp_path)
    contract = without.contract["shipments"]
    columns = {n: c for n, c in contract.columns.items() if n != "distance"}
    changed = {**without.contract, "shipments": contract.model_copy(update={"columns": columns})}
    after = without.model_copy(update={"contract": changed})
    with pytest.raises(PermanentError, match=r"distance: no longer in contract.*\[breaking; affected: distance\]"):
        ingest(workspace, after, day.next)


# freshness -------------------------------------------------------------------------------------------------------------


def fresh(column: str, kind: str, hours: float) -> Contract:
    bound = {"column": column, "max_gap": timedelta(hours=hours)}
    return Contract.model_validate(
        {"key": ["id"], "columns": {"id": {"type": "string"}, column: {"type": kind}}, "freshness": bound}
    )


@pytest.mark.parametrize(
    ("kind", "newest", "hours", "good"),
    [
        ("date", date(2024, 3, 1), 0, True),  # a date is known until its end
        ("date", date(2024, 2, 29), 24, True),
        ("date", date(2024, 2, 29), 23, False),
        ("timestamp", "2024-03-02T03:00Z", 2, True),  # the day ends at 05:00 UTC in New York
        ("timestamp", "2024-03-02T02:59Z", 2, False),
        ("timestamp", None, 100, False),
    ],
)
def test_the_newest_row_is_not_too_old(
    use_case: UseCase, day: Partition, kind: str, newest: Any, hours: float, good: bool
) -> None:
    import pandas as pd
    import pyarrow as pa

    value = pd.Timestamp(newest).to_pydatetime() if isinstance(newest, str) else newest
    types = {"date": pa.date32(), "timestamp": pa.timestamp("us", "UTC")}
    rows = pa.table({"at": pa.array([value, None], types[kind])})
    if good:
        stop_at_stale(rows, fresh("at", kind, hours), day, "America/New_York", "here")
        return
    with pytest.raises(PermanentError, match=r"here: rule at\.freshness"):
        stop_at_stale(rows, fresh("at", kind, hours), day, "America/New_York", "here")


@pytest.mark.parametrize(("column", "says"), [("at", "is a string"), ("nowhere", "is a missing column")])
def test_freshness_is_of_a_time(column: str, says: str) -> None:
    columns = {"id": {"type": "string"}, "at": {"type": "string"}}
    with pytest.raises(ValueError, match=says):
        Contract.model_validate({"key": ["id"], "columns": columns, "freshness": {"column": column, "max_gap": "PT1H"}})
