"""What the API answered is measured beside what bulk served: each key once, late answers and other versions apart."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from pipelines.commands import stages
from pipelines.monitoring import answered, latest, lots, watching
from pipelines.pages import lifecycle, use_case_page
from pipelines.promotion import rollback
from pipelines.retraining.policy import fingerprint
from pipelines.scoring import score
from pipelines.workspace import CommitRecord, Lake, StageRun
from tests.conftest import World
from tests.serving.serving_world import answers, feature_rows, row, served

DAY = 8


def at(world: World, day: int = DAY, **since: float) -> datetime:
    """So long after the day's start; the first outcome is known 80 minutes after it, the last one on the next day."""
    moment = world.days[day].starts_at("UTC") + timedelta(**since)
    world.workspace.clock.set(moment)
    return moment


def monitored(world: World, day: int = DAY) -> Any:
    run = StageRun(world.workspace, world.use_case, world.days[day])
    score(run)
    stages.run_monitoring(run)
    return latest(world.workspace, world.use_case)[run.key]


def labels(world: World, day: int = DAY) -> pd.DataFrame:
    return world.workspace.lake.read("parcels/labels", [world.days[day].key]).to_pandas().set_index("shipment_id")


def asked(world: World, tmp_path: Path) -> None:
    """All rows by key; twenty again, by other features; three that have no key; all once more when outcomes are known."""
    rows, partition = feature_rows(world, DAY), world.days[DAY].key
    keys = {"keys": [each["shipment_id"] for each in rows], "partition": partition}
    again = [each | {"distance": 900.0} for each in rows[:20]]
    with served(world, tmp_path) as (client, parts):
        for minutes, path, body in (
            (60, "keys", keys),
            (70, "invocations", {"instances": again}),
            (75, "invocations", {"instances": [row(), row(), row(shipment_id=None)]}),
            (60 * 36, "keys", keys),
            (60 * 36, "invocations", {"instances": again}),  # of features of then: about the day after
        ):
            at(world, minutes=minutes)
            assert client.post(f"/{path}", json=body).status_code == 200
        assert parts.write() == 120 + 20 + 3 + 120 + 20


@pytest.mark.parametrize("lot", [None, 32])
def test_each_key_counts_once_by_its_last_answer_in_time_and_the_rest_is_counted(
    lot: int | None, one_champion: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By other code, from the tables; and the same where memory holds no more than a lot."""
    world, read = one_champion, Lake.read
    asked(world, tmp_path)
    known = labels(world)
    told = answers(world).merge(known, left_on="shipment_id", right_index=True)
    in_time = told[told["made_at"] < at(world, minutes=75)].sort_values("made_at")
    wanted = pd.DataFrame([mine.iloc[-1] for _, mine in in_time.groupby("shipment_id")])
    assert len(wanted) == len(known)
    assert 15 < wanted["features_partition"].isna().sum() <= 20, "by the features that came at last"

    def small(self: Lake, table: str, *how: Any, **more: Any) -> Any:
        assert not table.endswith("/answers"), "it is read whole"
        return read(self, table, *how, **more)

    with monkeypatch.context() as watched:
        watched.setattr(Lake, "read", small)
        if lot:
            watched.setattr(lots, "ROWS", lot)
        (found,) = monitored(world).answers
    assert (found.model_version, found.answers, found.rows, found.without_key) == (1, 4, 120 + 20 + 3 + 120, 3)
    assert (found.late, found.labels) == (len(known), len(known))
    assert found.log_loss == pytest.approx(log_loss(list(wanted["label"]), wanted["probability"]), abs=1e-12)
    assert found.mean_prediction == pytest.approx(wanted["probability"].mean(), abs=1e-12)
    assert found.positive_share == pytest.approx(wanted["label"].mean(), abs=1e-12)
    if lot is None:
        assert found.auc == pytest.approx(roc_auc_score(list(wanted["label"]), wanted["probability"]), abs=1e-12)
    seen = latest(world.workspace, world.use_case)[world.days[DAY].key].performance
    assert seen
    assert found.log_loss != pytest.approx(seen.log_loss, abs=1e-3), "twenty rows were told otherwise than in bulk"


def test_a_whole_number_as_key_finds_its_outcome_in_whatever_lot_beside_rows_without_any(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that have none would make floats of the others, which lie in other lots."""
    features = one_champion.use_case.features.model_copy(update={"key": "number"})
    use_case = one_champion.use_case.model_copy(update={"name": "numbered", "features": features})
    lake, moment, numbers = one_champion.workspace.lake, at(one_champion, minutes=60), pa.array(range(200), pa.int64())
    known = pa.array([moment + timedelta(hours=1)] * 200, pa.timestamp("us", "UTC"))
    told = {"number": numbers, "model_version": [1] * 200, "probability": [0.25] * 200, "made_at": pa.array([moment] * 200)}
    published = {
        "labels": {"number": numbers, "label": [0, 1] * 100, "known_at": known},
        "predictions": told | {"served": [True] * 200},
        "answers": told
        | {"number": pa.array([None, *range(1, 200)], pa.int64()), "answer": ["a"] * 200, "row": list(range(200))}
        | {"features_partition": pa.nulls(200, pa.string())},
    }
    for name, columns in published.items():
        staged = lake.stage(f"numbered/{name}", one_champion.days[DAY].key, pa.table(columns))
        lake.publish(f"numbered/{name}", one_champion.days[DAY].key, [staged], CommitRecord())
    monkeypatch.setattr(lots, "ROWS", 32)
    (found,) = answered.measure_answers(StageRun(one_champion.workspace, use_case, one_champion.days[DAY]))
    assert (found.answers, found.rows, found.without_key, found.labels) == (1, 200, 1, 199)


def test_an_answer_at_the_very_moment_of_its_outcome_is_late(one_champion: World, tmp_path: Path) -> None:
    world = one_champion
    first = labels(world).sort_values("known_at").iloc[:1]
    with served(world, tmp_path) as (client, parts):
        world.workspace.clock.set(first["known_at"].iloc[0].to_pydatetime())
        client.post("/keys", json={"keys": list(first.index), "partition": world.days[DAY].key})
        parts.write()
    (found,) = monitored(world).answers
    assert (found.rows, found.late, found.labels, found.log_loss) == (1, 1, 0, None)


def test_what_another_version_answered_stands_apart(two_champions: World, tmp_path: Path) -> None:
    """Bulk lets the new champion begin with the next day, the API at once; v1 answers again after a rollback."""
    world, day = two_champions, 13
    keys = [each["shipment_id"] for each in feature_rows(world, day)]
    at(world, day, minutes=60)
    with served(world, tmp_path) as (client, parts):
        client.post("/keys", json={"keys": keys[:70], "partition": world.days[day].key})
        rollback(world.workspace, world.use_case, 1, "a test", "test")
        parts.follower.look()
        at(world, day, minutes=61)
        client.post("/keys", json={"keys": keys[50:90], "partition": world.days[day].key})
        parts.write()
    found = monitored(world, day)
    assert found.model_version == 1
    known = set(labels(world, day).index)
    assert [(each.model_version, each.rows) for each in found.answers] == [(1, 40), (2, 70)]
    assert [each.labels for each in found.answers] == [len(known & set(keys[50:90])), len(known & set(keys[:50]))]
    assert [each.prediction_drift for each in found.answers] == [0.0, None], "v2's answers are none of v1's"


def test_predictions_of_other_rows_than_those_of_bulk_have_moved(one_champion: World, tmp_path: Path) -> None:
    world, found = one_champion, []
    rows = feature_rows(world, DAY)
    at(world, minutes=60)
    with served(world, tmp_path) as (client, parts):
        for change in ({}, {"distance": 900.0, "depot": "north"}):
            client.post("/invocations", json={"instances": [each | change for each in rows]})
            parts.write()
            found.append(monitored(world).answers[0].prediction_drift)
    assert found[0] == 0.0
    assert found[1] > world.use_case.monitoring.max_prediction_drift


def test_without_answers_the_record_is_what_it_was_and_with_them_nothing_is_decided_anew(
    one_champion: World, tmp_path: Path
) -> None:
    world, run = one_champion, StageRun(one_champion.workspace, one_champion.use_case, one_champion.days[DAY])
    before = monitored(world)
    document = json.loads(world.workspace.lake.read("parcels/monitoring", [run.key])["document"][0].as_py())
    assert set(document) == {"drift", "performance", "failure"}
    assert not lifecycle(world.workspace, world.use_case).answered
    assert "API" not in use_case_page(lifecycle(world.workspace, world.use_case), "")
    asked(world, tmp_path)
    after = monitored(world)
    assert after.answers
    assert fingerprint(after) == fingerprint(before)
    assert asdict(after) | {"answers": ()} == asdict(before)


def test_the_page_tells_it_beside_bulk(one_champion: World, tmp_path: Path) -> None:
    asked(one_champion, tmp_path)
    seen = monitored(one_champion)
    page = use_case_page(lifecycle(one_champion.workspace, one_champion.use_case), "")
    (by,) = seen.answers
    told = " ".join(page.split())
    assert f"4 answers of v1 about 263 rows, log loss {by.log_loss:.4f} on {by.labels} with outcomes" in told
    assert f"(bulk {seen.performance.log_loss:.4f})" in told


def test_what_answers_trip_over_is_told_and_keeps_no_other_measure(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(run: StageRun) -> None:
        raise ValueError("no such column")

    with monkeypatch.context() as planted:
        planted.setattr(watching, "measure_answers", crash)
        with pytest.raises(ValueError, match="no such column"):
            monitored(one_champion)
    seen = latest(one_champion.workspace, one_champion.use_case)[one_champion.days[DAY].key]
    assert (bool(seen.drift), bool(seen.performance)) == (True, True)
    assert seen.failure == "Measuring answers crashed: ValueError: no such column."
    assert monitored(one_champion).failure is None


def test_nobody_reads_predictions_where_nobody_was_answered(one_champion: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = StageRun(one_champion.workspace, one_champion.use_case, one_champion.days[DAY])
    score(run)
    monkeypatch.setattr(answered, "served", None)
    assert answered.measure_answers(run) == ()
