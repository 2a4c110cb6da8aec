"""The call from a task into `pipelines`: what fails at once, what is retried, which partition it is about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
import wiring
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.timetables.base import TimeRestriction

from pipelines.errors import PermanentError, TransientError
from pipelines.use_case import Grain, load_use_case


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> dict[str, Any]:
    """The one edge: what Airflow hands a task."""
    found = {"dag_run": SimpleNamespace(partition_key="2013-04"), "params": {}, "run_id": "manual__1"}
    monkeypatch.setattr(wiring, "get_current_context", lambda: found)
    monkeypatch.setenv("TRAINYARD_STATE", str(tmp_path))
    return found


def test_the_key_comes_from_the_run(context: dict[str, Any]) -> None:
    assert wiring.partition_key() == "2013-04"


def test_or_from_the_form(context: dict[str, Any]) -> None:
    context["dag_run"].partition_key = None
    context["params"] = {"partition": "2013-05"}
    assert wiring.partition_key() == "2013-05"


def test_a_run_without_a_key_says_what_to_do(context: dict[str, Any]) -> None:
    context["dag_run"].partition_key = None
    with pytest.raises(AirflowFailException, match="trigger it with a partition key"):
        wiring.partition_key()


def test_a_permanent_error_fails_at_once(context: dict[str, Any]) -> None:
    def broken(*_: Any) -> None:
        raise PermanentError("the source dropped a column")

    with pytest.raises(AirflowFailException, match="dropped a column"):
        wiring.step(broken, "flight_delay")


def test_a_transient_error_is_left_to_airflows_retries(context: dict[str, Any]) -> None:
    def busy(*_: Any) -> None:
        raise TransientError("another writer")

    with pytest.raises(TransientError):
        wiring.step(busy, "flight_delay")


def test_a_step_gets_a_stage_run(context: dict[str, Any]) -> None:
    seen = wiring.step(lambda run: [run.id, run.use_case.name, run.key], "flight_delay")
    assert seen == ["manual__1", "flight_delay", "2013-04"]


def test_a_result_that_is_not_finite_is_refused(context: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="finite"):
        wiring.step(lambda *_: {"auc": float("nan")}, "flight_delay")


@pytest.mark.parametrize(("grain", "key"), [(Grain.DAY, "2013-12-02"), (Grain.WEEK, "2013-W49"), (Grain.MONTH, "2013-12")])
def test_a_cron_that_decides_has_the_key_of_the_window_that_it_comes_in(grain: Grain, key: str) -> None:
    """Not the one of the tick before, which is a month back where partitions are days; the decision takes what has ended."""
    timetable = decode_timetable(encode_timetable(wiring.keyed(load_use_case("flight_delay"), "0 6 2 * *", grain)))
    since = TimeRestriction(earliest=pendulum.datetime(2013, 11, 6), latest=None, catchup=True)
    found = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=since)
    assert (found.run_after, found.partition_key) == (pendulum.datetime(2013, 12, 2, 11), key)


def test_a_cron_is_in_the_use_cases_time_zone() -> None:
    """Half past four in New York, not in Greenwich, where it is still the day before: the day before has ended."""
    by_day = load_use_case("flight_delay").model_copy(update={"grain": Grain.DAY})
    timetable = decode_timetable(encode_timetable(wiring.keyed(by_day, "30 4 * * *", Grain.DAY)))
    since = TimeRestriction(earliest=pendulum.datetime(2013, 12, 6), latest=None, catchup=True)
    found = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=since)
    assert found.run_after == pendulum.datetime(2013, 12, 6, 9, 30)
    assert found.partition_key == "2013-12-06"
    assert by_day.partition(found.partition_key).previous.ends_at(by_day.timezone) <= found.run_after
    assert str(wiring.stage_dag(by_day, "maintenance", "0 3 * * 0", "Look after it.").timezone) == "America/New_York"
