"""What a look at the landing zone finds: what is new, sent again, complete by now, late, or half written."""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines import ingestion
from pipelines.errors import PermanentError
from pipelines.ingestion import Feed, auditing, late, look, looking
from pipelines.use_case import Partition, UseCase
from pipelines.workspace import Kind, StageRun, Workspace
from tests import synthetic
from tests.ingestion.pipeline import declared


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_PAUSE", 0.0)


@pytest.fixture
def days(use_case: UseCase) -> list[Partition]:
    return synthetic.days(use_case, 6)


def send(workspace: Workspace, day: Partition, source: str = "deliveries", rows: int = 20) -> None:
    synthetic.put(workspace, source, day, synthetic.parcels(day, rows)[source == "deliveries"])


def take(workspace: Workspace, use_case: UseCase, source: str) -> list[str]:
    """Look, and ingest what was found, as the DAG does."""
    found = look(workspace, use_case, source)
    for key in found:
        ingestion.ingest(StageRun(workspace, use_case, use_case.partition(key)), source)
    return found


def at(day: Partition, hours: float = 0) -> datetime:
    return day.starts_at("UTC") + timedelta(hours=hours)


def scheduled(use_case: UseCase, source: str = "deliveries", **keys: object) -> UseCase:
    return declared(use_case, source, schedule="0 * * * *", **keys)


def test_all_that_landed_while_nobody_looked_is_found_in_order(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    for day in reversed(days):
        send(workspace, day, "shipments")
    assert take(workspace, use_case, "shipments") == [day.key for day in days]
    assert take(workspace, use_case, "shipments") == []
    assert list(workspace.lake.partitions("parcels/shipments")) == [day.key for day in days]


def test_what_is_no_file_of_a_partition_is_left_alone(workspace: Workspace, use_case: UseCase, days: list[Partition]) -> None:
    send(workspace, days[0], "shipments")
    folder = Path(workspace.environment.landing) / "parcels/shipments"
    for name in (
        "2024-03-02.csv.gz.part",
        ".2024-03-02.csv.gz",
        "2024-03.csv.gz",
        "2024-3-2.csv.gz",
        "2024-02-30.csv.gz",
        "old",
    ):
        (folder / name).write_bytes(b"x")
    (folder / "2024-03-03.csv.gz").mkdir()
    assert look(workspace, use_case, "shipments") == [days[0].key]


def test_a_file_that_is_sent_again_is_read_again_and_an_equal_listing_is_not(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    workspace.clock.set(at(days[5]))
    send(workspace, days[0])
    take(workspace, use_case, "deliveries")
    send(workspace, days[0], rows=30)
    assert take(workspace, use_case, "deliveries") == [days[0].key]
    assert workspace.lake.partitions("parcels/deliveries") == {days[0].key: 30}


def test_outcomes_that_were_read_in_part_are_read_again_once_they_are_complete(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    """Also where the file is the very same: only a reading after that moment says that nothing was missing."""
    workspace.clock.set(at(days[1], 1))
    send(workspace, days[0])
    assert take(workspace, use_case, "deliveries") == [days[0].key]
    assert take(workspace, use_case, "deliveries") == []
    workspace.clock.set(at(days[2]))
    assert take(workspace, use_case, "deliveries") == [days[0].key]
    assert take(workspace, use_case, "deliveries") == []


def test_a_table_that_was_put_back_is_not_overwritten_by_the_file_that_was_put_away(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    from pipelines.workspace import restore

    workspace.clock.set(at(days[5]))
    send(workspace, days[0])
    take(workspace, use_case, "deliveries")
    good = workspace.lake.version("parcels/deliveries")
    send(workspace, days[0], rows=30)
    take(workspace, use_case, "deliveries")
    restore(workspace, use_case, "parcels/deliveries", good, "the second file was wrong", "ada")
    assert look(workspace, use_case, "deliveries") == []


def test_a_file_that_grows_is_left_to_the_next_look(
    workspace: Workspace, use_case: UseCase, days: list[Partition], monkeypatch: pytest.MonkeyPatch
) -> None:
    send(workspace, days[0], "shipments")
    send(workspace, days[1], "shipments")
    file = Path(workspace.environment.landing) / f"parcels/shipments/{days[1].key}.csv.gz"
    monkeypatch.setattr(looking.time, "sleep", lambda _: file.write_bytes(file.read_bytes() + b"more"))
    assert look(workspace, use_case, "shipments") == [days[0].key]


def test_a_file_is_read_once_its_marker_is_there(workspace: Workspace, use_case: UseCase, days: list[Partition]) -> None:
    marked = declared(use_case, marker="{landing}/parcels/shipments/{partition}.done")
    send(workspace, days[0], "shipments")
    assert look(workspace, marked, "shipments") == []
    (Path(workspace.environment.landing) / f"parcels/shipments/{days[0].key}.done").touch()
    assert look(workspace, marked, "shipments") == [days[0].key]


def test_reference_data_is_taken_when_it_has_changed(workspace: Workspace, use_case: UseCase, days: list[Partition]) -> None:
    workspace.clock.set(at(days[0], 5))
    assert look(workspace, use_case, "carriers") == []
    synthetic.put(workspace, "carriers", days[0], synthetic.carriers())
    assert take(workspace, use_case, "carriers") == [days[0].key]
    workspace.clock.set(at(days[1], 5))
    assert look(workspace, use_case, "carriers") == []
    synthetic.put(workspace, "carriers", days[1], synthetic.carriers().assign(rating=1.0))
    assert take(workspace, use_case, "carriers") == [days[1].key]


# late ----------------------------------------------------------------------------------------------------------------


def test_what_is_late_is_told_once_and_holds_up_nothing(workspace: Workspace, use_case: UseCase, days: list[Partition]) -> None:
    use_case = scheduled(use_case, deadline="P1D")
    workspace.clock.set(at(days[2]))
    send(workspace, days[0])
    take(workspace, use_case, "deliveries")
    workspace.clock.set(at(days[3], 1))  # day 1 was complete at the start of day 3
    send(workspace, days[2])
    assert take(workspace, use_case, "deliveries") == [days[2].key]
    take(workspace, use_case, "deliveries")
    told = [d for d in workspace.ledger.decisions("parcels") if d.kind == Kind.LATE]
    assert [(d.partition, d.why) for d in told] == [(days[1].key, f"deliveries: {days[1].key} should have come by now.")]
    send(workspace, days[1])
    assert take(workspace, use_case, "deliveries") == [days[1].key]
    assert late(Feed(workspace, use_case, "deliveries")) is None


def test_after_the_deadline_the_look_fails_once_there_is_nothing_else_to_do(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    use_case = scheduled(use_case, deadline="PT12H")
    workspace.clock.set(at(days[2]))
    send(workspace, days[0])
    take(workspace, use_case, "deliveries")
    workspace.clock.set(at(days[3], 11.9))
    assert look(workspace, use_case, "deliveries") == []
    workspace.clock.set(at(days[3], 12))
    with pytest.raises(
        PermanentError, match=rf"parcels/deliveries: {days[1].key} should have come.*The deadline, 12:00:00, has"
    ):
        look(workspace, use_case, "deliveries")
    send(workspace, days[2])
    assert take(workspace, use_case, "deliveries") == [days[2].key], "a late file does not block the next period's"


def test_a_plan_is_late_once_its_period_has_begun_and_an_observation_once_it_should_be_complete(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    use_case = scheduled(scheduled(use_case), "shipments", forecast=True)
    workspace.clock.set(at(days[2]))
    for source in ("shipments", "deliveries"):
        send(workspace, days[0], source)
        take(workspace, use_case, source)
    workspace.clock.set(at(days[3], -0.1))
    owed = {source: late(Feed(workspace, use_case, source)) for source in ("shipments", "deliveries", "carriers")}
    assert {source: missing and missing.partitions for source, missing in owed.items()} == {
        "shipments": (days[1].key, days[2].key),
        "deliveries": None,
        "carriers": None,
    }
    assert owed["shipments"]
    assert owed["shipments"].why == f"shipments: 2 partitions from {days[1].key} to {days[2].key} should have come by now."


def test_nothing_is_late_that_nobody_looks_for_or_that_never_came(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    workspace.clock.set(at(days[5]))
    assert late(Feed(workspace, scheduled(use_case), "deliveries")) is None, "its first file says since when"
    send(workspace, days[0])
    take(workspace, use_case, "deliveries")
    assert late(Feed(workspace, use_case, "deliveries")) is None
    everything = use_case.model_copy(update={"schedules": use_case.schedules.model_copy(update={"ingestion": "0 * * * *"})})
    for watched in (everything, scheduled(use_case)):
        assert late(Feed(workspace, watched, "deliveries"))


# by itself -----------------------------------------------------------------------------------------------------------


def test_a_source_that_is_missing_holds_up_no_other(workspace: Workspace, use_case: UseCase, days: list[Partition]) -> None:
    send(workspace, days[0], "shipments")
    synthetic.put(workspace, "carriers", days[0], synthetic.carriers())
    with pytest.raises(PermanentError, match=r"parcels/deliveries 2024-03-01: the source file is missing"):
        ingestion.ingest_all(StageRun(workspace, use_case, days[0]))
    assert workspace.lake.partitions("parcels/shipments") == {days[0].key: 20}
    assert workspace.lake.partitions("parcels/carriers")


def test_a_longer_period_is_ingested_whole_or_not_at_all(workspace: Workspace, use_case: UseCase) -> None:
    week = use_case.period("2024-W10")
    for day in week.within(use_case.grain)[:-1]:
        send(workspace, day, "shipments")
    run = StageRun(workspace, use_case, week)
    with pytest.raises(PermanentError, match=r"2024-03-10: the source file is missing"):
        ingestion.ingest(run, "shipments")
    assert not workspace.lake.exists("parcels/shipments")
    send(workspace, week.within(use_case.grain)[-1], "shipments")
    assert len(ingestion.ingest(run, "shipments")) == 7
    assert len(workspace.lake.partitions("parcels/shipments")) == 7


def test_a_longer_period_is_one_transaction_of_each_table_and_each_day_keeps_its_own_record(
    workspace: Workspace, use_case: UseCase
) -> None:
    week = use_case.period("2024-W10")
    days = week.within(use_case.grain)
    workspace.clock.set(week.ends_at(use_case.timezone) + timedelta(days=1))
    for day in days:
        send(workspace, day, "shipments")
    spoiled = synthetic.parcels(days[2], 20)[0]
    spoiled.loc[4, "depot"] = "west"
    synthetic.put(workspace, "shipments", days[2], spoiled)
    ingestion.ingest(StageRun(workspace, use_case, week), "shipments")
    assert workspace.lake.version("parcels/shipments") == 1, "it was made, and published once"
    files = [Path(workspace.environment.landing) / f"parcels/shipments/{day.key}.csv.gz" for day in days]
    records = [workspace.lake.published("parcels/shipments", day.key).record for day in days]  # type: ignore[union-attr]
    assert [r.source_digest for r in records] == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert [r.stamp for r in records] == [f"{file.stat().st_size}-{file.stat().st_mtime_ns}" for file in files]
    assert [r.rows_quarantined for r in records] == [0, 0, 1, 0, 0, 0, 0]
    assert take(workspace, use_case, "shipments") == [], "each file is known by its own stamp"
    synthetic.put(workspace, "shipments", days[2], synthetic.parcels(days[2], 20)[0])
    assert take(workspace, use_case, "shipments") == [days[2].key]


def test_a_day_of_a_longer_period_is_compared_with_the_days_before_it_in_the_same_run(
    workspace: Workspace, use_case: UseCase
) -> None:
    """As it would be day by day: without, a history that is taken in at once would be compared with nothing."""
    week = use_case.period("2024-W10")
    *days, last = week.within(use_case.grain)
    for day in days:
        send(workspace, day, "shipments")
    synthetic.put(workspace, "shipments", last, synthetic.parcels(last, 90)[0])
    with pytest.raises(
        PermanentError, match=rf"parcels/shipments {last.key}: invariant volume is broken: 90 rows where 20 are"
    ):
        ingestion.ingest(StageRun(workspace, use_case, week), "shipments")
    assert not workspace.lake.exists("parcels/shipments")


def test_a_period_of_good_rows_is_checked_at_once_and_a_bad_one_by_halves(
    workspace: Workspace, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the very same verdicts: of a week one row is bad, and one key is there on two days, which is no repetition."""
    checked: list[str] = []
    check = auditing.check_staged
    monkeypatch.setattr(
        auditing, "check_staged", lambda rows, uris, *rest: (checked.append(*uris), check(rows, uris, *rest))[1]
    )
    week = use_case.period("2024-W10")
    days = week.within(use_case.grain)
    for day in days:
        send(workspace, day, "shipments")
    run = StageRun(workspace, use_case, week)
    ingestion.ingest(run, "shipments")
    assert checked == []
    assert workspace.lake.published("parcels/shipments", days[0].key)
    rows = synthetic.parcels(days[2], 20)[0]
    rows.loc[4, "depot"] = "west"
    synthetic.put(workspace, "shipments", days[2], rows)
    repeated = synthetic.parcels(days[3], 20)[0]
    repeated.loc[0, "shipment_id"] = rows.shipment_id[0]
    synthetic.put(workspace, "shipments", days[3], repeated)
    published = {p.partition: (p.rows_published, p.rows_quarantined) for p in ingestion.ingest(run, "shipments")}
    assert published == {day.key: (19, 1) if day == days[2] else (20, 0) for day in days}
    assert len(checked) == 4, "three days of the bad one's half, and what was left of it; the other half at once"


def test_a_commit_says_when_its_file_was_read_by_the_workspaces_clock(
    workspace: Workspace, use_case: UseCase, days: list[Partition]
) -> None:
    workspace.clock.set(datetime(2024, 3, 2, 4, 5, tzinfo=UTC))
    send(workspace, days[0], "shipments")
    take(workspace, use_case, "shipments")
    commit = workspace.lake.published("parcels/shipments", days[0].key)
    assert commit
    assert commit.record.read_at == "2024-03-02T04:05:00+00:00"
    file = Path(workspace.environment.landing) / f"parcels/shipments/{days[0].key}.csv.gz"
    assert gzip.decompress(file.read_bytes())
    assert commit.record.stamp == f"{file.stat().st_size}-{file.stat().st_mtime_ns}"
