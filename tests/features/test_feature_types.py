"""One place decides the types of features: whatever Spark makes of an expression, everyone after it can take it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.commands import stages
from pipelines.errors import PermanentError
from pipelines.features import FeaturePlan, publish
from pipelines.features.features import JOINS
from pipelines.monitoring import measure_drift
from pipelines.pages.model_card import read_card
from pipelines.scoring import score
from pipelines.training import reproduce
from pipelines.use_case import Partition, UseCase, features_table
from pipelines.workspace import Kind, StageRun, Workspace, write_bytes
from tests import synthetic
from tests.conftest import World, changed

# Feature -> the expression, and what Spark's type for it holds; each twice, with nulls and without.
KINDS: dict[str, tuple[str, pa.DataType, Any]] = {
    "half": ("pieces * 0.5", pa.decimal128(12, 1), lambda r: [Decimal(int(p)) / 2 for p in r.pieces]),
    "many": ("pieces > 3", pa.bool_(), lambda r: [bool(p > 3) for p in r.pieces]),
    "count": ("cast(pieces as int)", pa.int32(), lambda r: [int(p) for p in r.pieces]),
    "share": ("cast(distance / 1000 as float)", pa.float32(), lambda r: [float(d) / 1000 for d in r.distance]),
    "due": ("date_add(ship_date, 3)", pa.date32(), lambda r: [date(2024, 1, 1) + timedelta(days=int(p)) for p in r.pieces]),
    "size": ("case when pieces > 3 then 'big' else 'small' end", pa.string(), lambda r: np.where(r.pieces > 3, "big", "small")),
    "month": ("month(ship_date)", pa.int32(), lambda r: [1 + int(p) % 3 for p in r.pieces]),
    "night": ("pieces % 2 = 0", pa.bool_(), lambda r: [bool(p % 2 == 0) for p in r.pieces]),
}
CATEGORIES = ("size", "month", "night")
PUBLISHED = {"half": "double", "many": "int64", "count": "int32", "share": "double", "due": "int64"} | dict.fromkeys(
    CATEGORIES, "string"
)


@pytest.fixture(scope="module")
def typed(use_case: UseCase) -> UseCase:
    """Parcels with a feature of every type, with nulls (`_gaps`) and without."""
    expressions = {n: e for name, (text, _, _) in KINDS.items() for n, e in ((name, text), (f"{name}_gaps", text))}
    spec = use_case.features
    return changed(
        use_case,
        "features",
        expressions={**spec.expressions, **expressions},
        categorical=(*spec.categorical, *CATEGORIES, *(f"{c}_gaps" for c in CATEGORIES)),
    )


def built(workspace: Workspace, use_case: UseCase, day: Partition, **how: Any) -> FeaturePlan:
    """Files as the Spark job leaves them, with its plan."""
    shipments, _ = synthetic.parcels(day, **how)
    rows = synthetic.features(day, shipments, **how)
    table, spec = features_table(use_case), use_case.features
    base = pa.Table.from_pandas(rows[[c for c in (spec.key, spec.date, *spec.names) if c in rows]], preserve_index=False)
    for name, (_, kind, values) in KINDS.items():
        if name not in spec.names:
            continue
        every = list(values(shipments))
        base = base.append_column(name, pa.array(every, kind))
        base = base.append_column(f"{name}_gaps", pa.array([v if i % 4 else None for i, v in enumerate(every)], kind))
    area = workspace.lake.staging_area(table, day.key)
    path = workspace.lake.stage(table, day.key, base.replace_schema_metadata(None))
    uri = f"{workspace.lake.uri(table)}/plans/{day.key}.json"
    write_bytes(uri, json.dumps({**synthetic.job_plan(use_case), "rows": {day.key: len(shipments)}}).encode())
    assert area.split("/")[0] == path.split("/")[0]
    # As the job counts them: every row has found its partner in each join.
    counts = f"{workspace.lake.uri(table)}/{path.rsplit('/', 1)[0]}/{JOINS}/part-0.txt"
    write_bytes(counts, json.dumps([0] * len(spec.joins)).encode())
    return FeaturePlan(uri, path.rsplit("/", 1)[0], len(shipments), day.key)


def test_types_are_decided_at_publication(workspace: Workspace, typed: UseCase) -> None:
    day = typed.partition(synthetic.FIRST_DAY)
    publish(StageRun(workspace, typed, day), built(workspace, typed, day))
    found = workspace.lake.read(features_table(typed), [day.key])
    kinds = {name: str(found.schema.field(name).type) for name in found.column_names}
    for name, kind in PUBLISHED.items():
        assert kinds[name] == kind, name
        assert kinds[f"{name}_gaps"] == kind, name
        assert found[name].null_count == 0
        assert found[f"{name}_gaps"].null_count == 30
    assert set(found["many"].to_pylist()) == {0, 1}
    assert set(found["night"].to_pylist()) == {"true", "false"}
    assert found["due"].to_pylist()[0] == (date(2024, 1, 1) - date(1970, 1, 1)).days + found["count"].to_pylist()[0]
    record = workspace.lake.published(features_table(typed), day.key)
    assert record
    assert set(record.record.definitions or {}) == set(typed.features.names)


@pytest.mark.long
def test_every_type_is_trained_gated_scored_watched_shown_and_reproduced(workspace: Workspace, typed: UseCase) -> None:
    days = synthetic.days(typed, 9)
    for day in days:
        publish(StageRun(workspace, typed, day), built(workspace, typed, day))
        synthetic.publish_labels(workspace, typed, day)
    done = stages.run_training(StageRun(workspace, typed, days[7]))
    assert done.decision == Kind.PROMOTED, done.why  # type: ignore[attr-defined]
    run = StageRun(workspace, typed, days[8])
    assert score(run).rows == synthetic.ROWS
    drift = measure_drift(run)
    assert drift
    assert set(drift.distances) == {*typed.features.names, "probability"}
    assert reproduce(workspace, "parcels", 1).identical
    assert "half_gaps" in read_card(workspace, "parcels", 1).markdown
    rows = workspace.lake.read(features_table(typed), [days[8].key]).to_pandas()
    loaded = workspace.registry.mlflow.pyfunc.load_model("models:/parcels/1")
    wanted = workspace.registry.load("parcels", 1)
    doubles = rows.assign(**rows.select_dtypes("number").astype(float))[wanted.meta["features"]]
    assert np.asarray(loaded.predict(doubles))[:, 1] == pytest.approx(wanted.predict(rows))


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (pa.string(), "big", "name it in features.categorical, or make a number of it"),
        (pa.timestamp("us"), datetime(2024, 1, 1), "make a number, date or text of it"),
        (pa.list_(pa.int64()), [1], "make a number, date or text of it"),
    ],
)
def test_what_no_model_takes_is_not_published(
    kind: Any, value: Any, says: str, workspace: Workspace, use_case: UseCase
) -> None:
    more = changed(use_case, "features", expressions={**use_case.features.expressions, "odd": "odd"})
    day = more.partition(synthetic.FIRST_DAY)
    plan = built(workspace, use_case, day)
    lake, table = workspace.lake, features_table(use_case)
    rows = lake.read_staged(table, lake.staged_files(table, plan.area))
    path = lake.stage(table, day.key, rows.append_column("odd", pa.array([value] * len(rows), kind)))
    odd = replace(plan, area=path.rsplit("/", 1)[0])
    with pytest.raises(PermanentError, match=f"odd is .*{says}"):
        publish(StageRun(workspace, more, day), odd)
    assert lake.partitions(table) == {}


def test_a_number_with_a_fraction_makes_no_category(workspace: Workspace, use_case: UseCase) -> None:
    odd = changed(use_case, "features", categorical=("depot", "carrier", "distance"))
    day = odd.partition(synthetic.FIRST_DAY)
    with pytest.raises(PermanentError, match="distance is double, which makes no category"):
        publish(StageRun(workspace, odd, day), built(workspace, odd, day))


def test_files_that_are_right_are_published_as_they_are(published: World) -> None:
    """No second copy of what needs no change."""
    world, day = published, published.days[0]
    plan = built(world.workspace, world.use_case, day)
    publish(StageRun(world.workspace, world.use_case, day), plan)
    (file,) = world.workspace.lake.files(features_table(world.use_case), [day.key])
    assert f"/{plan.area}/" in file.uri
