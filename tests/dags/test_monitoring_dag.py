"""Monitoring's order: what there is is published whatever the other measure tripped over, and the run is red all the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.use_case import load_use_cases


def test_what_one_measure_trips_over_keeps_the_other_from_nothing() -> None:
    from airflow.dag_processing.dagbag import DagBag

    dags = DagBag(str(Path(__file__).resolve().parents[2] / "dags")).dags
    for use_case in load_use_cases()[0]:
        publish, last = (dags[f"{use_case.name}.monitoring"].get_task(name) for name in ("publish", "measured"))
        assert (publish.upstream_task_ids, publish.trigger_rule) == ({"drift", "performance"}, "all_done")
        assert (last.upstream_task_ids, last.trigger_rule) == ({"drift", "performance", "publish"}, "all_success")


def test_the_words_of_what_crashed_are_kept_for_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    import monitoring

    kept: dict[str, str] = {}
    monkeypatch.setattr(monitoring, "get_current_context", lambda: {"ti": SimpleNamespace(xcom_push=kept.__setitem__)})

    def crash(*_: Any) -> None:
        raise ValueError("no such column in s3://user:secret@host")

    monkeypatch.setattr(monitoring, "step", crash)
    with pytest.raises(ValueError, match="no such column"):
        monitoring.told(crash, load_use_cases()[0][0])
    assert kept == {"failure": "ValueError: no such column in s3://***@host"}
