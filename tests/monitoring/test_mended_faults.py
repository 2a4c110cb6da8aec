"""A data fault blocks retraining until its data is mended: from a source's file through ingestion to the decision."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipelines.commands import stages
from pipelines.monitoring import Monitored, Verdict, judge_window, mending
from pipelines.monitoring.observations import latest
from pipelines.retraining import Gain, RetrainingDecision, decide
from pipelines.scoring import score
from pipelines.use_case import Partition
from pipelines.workspace import StageRun
from tests import synthetic
from tests.conftest import World
from tests.ingestion.pipeline import ingest


def arrive(world: World, day: Partition, rows: pd.DataFrame) -> Monitored:
    """The file comes, features are built of what was published of it, and what follows from them; Spark is spared."""
    ingest(world.workspace, world.use_case, day, rows)
    published = world.workspace.lake.read("parcels/shipments", [day.key]).to_pandas()
    synthetic.publish_features(world.workspace, world.use_case, day, synthetic.features(day, published))
    score(StageRun(world.workspace, world.use_case, day))
    (seen,) = stages.run_monitoring(StageRun(world.workspace, world.use_case, day))
    return seen


def verdict(world: World, day: Partition) -> tuple[Verdict, tuple[str, ...], str]:
    seen = latest(world.workspace, world.use_case)
    found = judge_window(world.use_case.monitoring, seen[day.key], [w for key, w in sorted(seen.items()) if key < day.key])
    return found.verdict, found.drivers, found.why


def decided(world: World) -> RetrainingDecision:
    """Of a new model that is surely better."""
    gain = Gain(world.days[11].key, 480, 0.1, 0.0999, 0.1001)
    return decide(StageRun(world.workspace, world.use_case, world.days[11]), gain)


@pytest.fixture
def faulty(one_champion: World) -> World:
    """Four days are served; in the first one's file no parcel has a weight."""
    first, *others = one_champion.days[8:12]
    arrive(one_champion, first, synthetic.parcels(first)[0].assign(weight=np.nan))
    for day in others:
        score(StageRun(one_champion.workspace, one_champion.use_case, day))
    return one_champion


def test_a_fault_names_its_table_and_blocks_until_the_corrected_file_has_come(
    faulty: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, day = faulty, faulty.days[8]
    found, drivers, why = verdict(world, day)
    assert (found, drivers[:2]) == (Verdict.DATA_FAULT, ("shipments", "weight"))
    assert "shipments: rows without a value: weight" in why
    assert (decided(world).cause, decided(world).retrain) == ("data fault", False)
    served = latest(world.workspace, world.use_case)[day.key]

    seen = arrive(world, day, synthetic.parcels(day)[0])
    assert seen.drift
    assert served.drift
    assert seen.drift.nulls == served.drift.nulls, "what was served stays as told"
    assert seen.performance == served.performance
    assert seen.drift.present
    found, drivers, why = verdict(world, day)
    assert (found, drivers[:2]) == (Verdict.MENDED, ("shipments", "weight"))
    assert f"measured at {seen.drift.present.at[:16]} they are in order" in why
    assert (decided(world).cause, decided(world).retrain) == ("gain", True)

    monkeypatch.setattr(mending, "compare", lambda *a: pytest.fail("measured again, though nothing was built again"))
    (again,) = stages.run_monitoring(StageRun(world.workspace, world.use_case, day))
    assert again == seen


def test_a_correction_that_corrects_nothing_ends_nothing(faulty: World) -> None:
    """Weights are there, and in another unit; then the file without weights comes again."""
    world, day = faulty, faulty.days[8]
    rows = synthetic.parcels(day)[0]
    arrive(world, day, rows.assign(distance=rows["distance"] / 1.609, weight=np.nan))
    found, drivers, _ = verdict(world, day)
    assert (found, drivers[:2]) == (Verdict.DATA_FAULT, ("shipments", "weight"))
    arrive(world, day, rows)
    assert verdict(world, day)[0] is Verdict.MENDED
    arrive(world, day, rows.assign(weight=np.nan, pieces=2))
    assert verdict(world, day)[0] is Verdict.DATA_FAULT
    assert (decided(world).cause, decided(world).retrain) == ("data fault", False)


def test_what_was_in_order_is_measured_once_whatever_is_built_again(
    one_champion: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, day = one_champion, one_champion.days[8]
    seen = arrive(world, day, synthetic.parcels(day)[0])
    monkeypatch.setattr(mending, "compare", lambda *a: pytest.fail("there is no fault to end"))
    assert arrive(world, day, synthetic.parcels(day)[0].assign(weight=np.nan)) == seen
