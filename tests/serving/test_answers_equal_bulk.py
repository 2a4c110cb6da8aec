"""The API says what the bulk table says: by features and by keys, in every form, to 1e-12, with the same action."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.scoring import score
from pipelines.workspace import StageRun, served_rows
from tests import synthetic
from tests.conftest import World
from tests.serving.serving_world import feature_rows, row, served


def bulk(world: World, day: int) -> pd.DataFrame:
    score(StageRun(world.workspace, world.use_case, world.days[day]))
    return served_rows(world.workspace, world.use_case, [world.days[day].key]).set_index("shipment_id")


def same(answer: dict[str, Any], wanted: pd.DataFrame) -> None:
    found = pd.DataFrame(answer["predictions"]).set_index("key")
    wanted = wanted.loc[found.index]
    assert np.abs(found["probability"] - wanted["probability"]).max() <= 1e-12
    assert (found["act"] == wanted["act"]).all()
    assert answer["model_version"] == wanted["model_version"].unique()[0]


def split(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"columns": list(rows[0]), "data": [list(each.values()) for each in rows]}


def test_a_week_s_rows_by_features_and_by_keys_have_the_numbers_of_the_bulk_table(one_champion: World, tmp_path: Path) -> None:
    with served(one_champion, tmp_path) as (client, _):
        for day in range(8, 14):
            wanted, rows, key = bulk(one_champion, day), feature_rows(one_champion, day), one_champion.days[day].key
            forms = {"dataframe_split": split(rows), "dataframe_records": rows, "instances": rows}
            for form, body in forms.items():
                answer = client.post("/invocations", json={form: body}).json()
                assert len(answer["predictions"]) == synthetic.ROWS
                assert (answer["features_version"], answer["features_partition"]) == (None, None)
                same(answer, wanted)
            looked = client.post("/keys", json={"keys": list(wanted.index[::-1]), "partition": key}).json()
            assert [each["key"] for each in looked["predictions"]] == list(wanted.index[::-1])
            same(looked, wanted)
            assert looked["features_partition"] == key
            assert looked["features_version"] == wanted["features_version"].unique()[0]


def test_row_by_row_the_numbers_are_the_same(one_champion: World, tmp_path: Path) -> None:
    with served(one_champion, tmp_path) as (client, _):
        wanted = bulk(one_champion, 8)
        for each in feature_rows(one_champion, 8)[:20]:
            same(client.post("/invocations", json={"instances": [each]}).json(), wanted)
            same(
                client.post("/keys", json={"keys": [each["shipment_id"]], "partition": one_champion.days[8].key}).json(), wanted
            )


def test_without_a_partition_the_newest_answers_and_rows_published_anew_are_seen_at_once(
    one_champion: World, tmp_path: Path
) -> None:
    world, key = one_champion, f"{one_champion.days[13].key}-0007"
    with served(world, tmp_path) as (client, _):
        first = client.post("/keys", json={"keys": [key]}).json()
        assert first["features_partition"] == world.days[13].key
        shipments, _ = synthetic.parcels(world.days[13], flip=True)
        rows = synthetic.features(world.days[13], shipments.assign(distance=999.0), flip=True)
        synthetic.publish_features(world.workspace, world.use_case, world.days[13], rows)
        second = client.post("/keys", json={"keys": [key]}).json()
    assert second["features_version"] == first["features_version"] + 1
    assert second["predictions"] != first["predictions"]


@pytest.mark.parametrize("odd", [{"carrier": "ZZ"}, {"weight": None}, {"carrier": "ZZ", "weight": None, "rating": None}])
def test_what_is_unknown_or_missing_is_answered_as_in_bulk_and_counted(
    odd: dict[str, Any], one_champion: World, tmp_path: Path
) -> None:
    world, day = one_champion, one_champion.days[13].next
    shipments, _ = synthetic.parcels(day, rows=1)
    rows = synthetic.features(day, shipments).assign(**odd)
    synthetic.publish_features(world.workspace, world.use_case, day, rows.astype({"weight": float, "rating": float}))
    score(StageRun(world.workspace, world.use_case, day))
    wanted = served_rows(world.workspace, world.use_case, [day.key]).set_index("shipment_id")
    sent = rows.assign(ship_date=None).drop(columns="ship_date").to_dict("records")
    sent = [{k: None if pd.isna(v) else v for k, v in each.items()} for each in sent]
    with served(world, tmp_path) as (client, _):
        same(client.post("/invocations", json={"instances": sent}).json(), wanted)
        same(client.post("/keys", json={"keys": list(wanted.index), "partition": day.key}).json(), wanted)
        told = client.get("/metrics").text
    for name, value in odd.items():
        kind = "missing" if value is None else "unknown"
        assert f'trainyard_serving_odd_values_total{{feature="{name}",kind="{kind}"}} 2.0' in told


def test_nan_as_python_s_clients_write_it_is_a_missing_value(one_champion: World, tmp_path: Path) -> None:
    with served(one_champion, tmp_path) as (client, _):
        null = client.post("/invocations", json={"instances": [row(weight=None)]}).json()
        text = client.post("/invocations", json={"instances": [row(weight=None)]}).request.content.replace(b"null", b"NaN")
        nan = client.post("/invocations", content=text, headers={"content-type": "application/json"}).json()
    assert nan["predictions"] == null["predictions"]
