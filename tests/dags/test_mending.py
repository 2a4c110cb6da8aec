"""The DAGs that mend data: a form with every choice, and one keyed event for each partition that changed."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors

from pipelines.use_case import load_use_cases
from pipelines.workspace import restorable
from tests.dags.test_dags import load_dags


@pytest.fixture(scope="module")
def bag() -> Any:
    return load_dags()


def test_the_forms_offer_what_there_is(bag: Any) -> None:
    for use_case in load_use_cases()[0]:
        replay, restore = (bag.dags[f"{use_case.name}.{stage}"].params for stage in ("quarantine_replay", "restore"))
        assert replay.get_param("source").schema["enum"] == [None, *use_case.sources]
        assert restore.get_param("table").schema["enum"] == restorable(use_case)
        assert not [t for t in restore.get_param("table").schema["enum"] if "decisions" in t or "quarantine" in t]


def test_what_changed_is_announced_with_its_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    import assets

    use_case = load_use_cases()[0][0]
    schedule, weather = (assets.asset(use_case, source) for source in ("schedule", "weather"))
    events = OutletEventAccessors()
    monkeypatch.setattr(assets, "get_current_context", lambda: {"outlet_events": events})
    assets.announce({schedule: ["2013-02", "2013-03", "2013-02"], weather: []})
    assert events[schedule].partition_keys == {"2013-02", "2013-03"}
    assert not events[weather].partition_keys


def test_nothing_changed_is_no_event() -> None:
    """A task that succeeds emits an event, and one without a key would look like news; a skipped one emits none."""
    import assets

    with pytest.raises(AirflowSkipException, match="nothing to recompute"):
        assets.announce({assets.asset(load_use_cases()[0][0], "schedule"): []})
