"""What a new model would save: the champion's recipe on what came since, on rows that neither has seen."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.metrics import losses
from pipelines.retraining.challenger import Split, choose, estimate, gain
from pipelines.retraining.gain import Gain
from pipelines.training import fit
from pipelines.use_case import Grain, UseCase, features_table, labels_table
from pipelines.workspace import CommitRecord, StageRun
from tests import synthetic
from tests.conftest import FIRST_TRAINING, SECOND_TRAINING, World, changed


def asked(world: World, day: int = SECOND_TRAINING, use_case: UseCase | None = None) -> StageRun:
    return StageRun(world.workspace, use_case or world.use_case, world.days[day])


def relabel(world: World, day: int, known_at: datetime) -> None:
    """The same outcomes of a day, which became known at another moment."""
    table, key = labels_table(world.use_case), world.days[day].key
    rows = world.workspace.lake.read(table, [key]).to_pandas().drop(columns="partition").assign(known_at=known_at)
    staged = world.workspace.lake.stage(table, key, pa.Table.from_pandas(rows, preserve_index=False))
    world.workspace.lake.publish(table, key, [staged], CommitRecord(run="known later"))


def unchanged(world: World) -> None:
    """From the first training on, days like those before it."""
    for day in world.days[FIRST_TRAINING + 1 :]:
        synthetic.publish(world.workspace, world.use_case, day)


def test_a_changed_meaning_is_worth_a_new_model(one_champion: World) -> None:
    found = estimate(asked(one_champion))
    assert isinstance(found, Gain)
    assert found.window == one_champion.days[SECOND_TRAINING].key
    assert 0 < found.low < found.mean < found.high
    assert found == estimate(asked(one_champion))  # asked again, the same


def test_nothing_changed_is_worth_nothing(one_champion: World) -> None:
    unchanged(one_champion)
    found = estimate(asked(one_champion))
    assert isinstance(found, Gain)
    assert found.low < 0.01
    assert abs(found.mean) < 0.02


def test_it_is_the_champions_own_recipe_on_older_rows(one_champion: World) -> None:
    """By hand: all rows before the judged days, the registered parameters, the loss of each row against the champion's."""
    run, days = asked(one_champion), one_champion.days
    model = run.registry.load(run.use_case.name, 1)
    fitted, judged = rows(one_champion, slice(0, 11)), rows(one_champion, slice(11, 14))
    own = fit(run.use_case, run.use_case.training.candidates[model.meta["candidate"]], model.meta["params"], fitted)
    label = judged["label"].to_numpy(dtype=float)
    saved = losses(label, model.predict(judged)) - losses(label, own.predict_proba(judged[model.meta["features"]])[:, 1])
    found = estimate(run)
    assert isinstance(found, Gain)
    assert (found.rows, found.mean) == (len(judged), pytest.approx(saved.mean(), abs=1e-12))
    assert days[11].start == days[13].end - timedelta(days=3)


def rows(world: World, which: slice) -> pd.DataFrame:
    keys = [day.key for day in world.days[which]]
    read = (world.workspace.lake.read(table(world.use_case), keys).to_pandas() for table in (features_table, labels_table))
    spec = world.use_case.features
    return next(read).merge(next(read), on=["partition", spec.key]).sort_values([spec.date, spec.key])


def test_it_learns_only_of_outcomes_that_were_known_when_the_window_began(one_champion: World) -> None:
    """The days that tell of the new meaning became known while the judged ones went on."""
    for day in (8, 9, 10):
        relabel(one_champion, day, datetime(2024, 3, 13, 12, tzinfo=UTC))
    found = estimate(asked(one_champion))
    assert isinstance(found, Gain)
    assert abs(found.mean) < 0.01


def test_outcomes_that_are_not_known_yet_are_not_judged(one_champion: World) -> None:
    before = estimate(asked(one_champion))
    relabel(one_champion, 12, datetime(2024, 4, 1, tzinfo=UTC))
    one_champion.workspace.clock.set(datetime(2024, 3, 20, tzinfo=UTC))
    assert isinstance(before, Gain)
    assert "2 days to judge by" in str(estimate(asked(one_champion)))
    one_champion.workspace.clock.set(datetime(2024, 4, 2, tzinfo=UTC))
    found = estimate(asked(one_champion))
    assert isinstance(found, Gain)
    assert found.rows == before.rows


@pytest.mark.parametrize(
    ("day", "why"),
    [(FIRST_TRAINING + 2, "has seen days of"), (FIRST_TRAINING + 3, "no labelled row is newer than the champion")],
)
def test_too_early_says_why(one_champion: World, day: int, why: str) -> None:
    assert why in str(estimate(asked(one_champion, day)))


def test_without_a_champion_there_is_no_gain(published: World) -> None:
    assert "no champion" in str(estimate(asked(published)))


def test_features_by_other_definitions_are_no_comparison(one_champion: World) -> None:
    key, table = one_champion.days[9].key, features_table(one_champion.use_case)
    staged = one_champion.workspace.lake.stage(table, key, one_champion.workspace.lake.read(table, [key]).drop(["partition"]))
    record = CommitRecord(run="other", definitions=dict.fromkeys(one_champion.use_case.features.names, "other"))
    one_champion.workspace.lake.publish(table, key, [staged], record)
    assert "by another definition" in str(estimate(asked(one_champion)))


@pytest.mark.parametrize("section", ["monitoring", "retraining"])
def test_the_newest_window_whose_labels_are_all_there(published: World, section: str) -> None:
    """Friday, the 1st, to Thursday, the 14th of March 2024: one whole week, and the next when it is over.

    Also where days are monitored, and weeks are decided about.
    """
    week = synthetic.days(published.use_case, 7, "2024-03-04")
    found = choose(asked(published, 13, changed(published.use_case, section, window=Grain.WEEK)), date(2024, 3, 2))
    assert isinstance(found, Split)
    assert (found.window.key, found.judged) == ("2024-W10", tuple(day.key for day in week))
    assert found.fitted == ("2024-03-01", "2024-03-02", "2024-03-03")


def test_a_window_that_is_not_over_is_not_the_newest(published: World) -> None:
    """A cron on Friday, the 15th of March: what came of its month has all its labels."""
    monthly = changed(published.use_case, "retraining", window=Grain.MONTH)
    inside = StageRun(published.workspace, monthly, monthly.period("2024-03"))
    published.workspace.clock.set(published.days[13].ends_at("UTC"))
    assert "no window up to 2024-03 is over" in str(choose(inside, date(2024, 2, 1)))
    published.workspace.clock.set(inside.partition.ends_at("UTC"))
    assert "no labelled row" in str(choose(inside, date(2024, 2, 1))), "there is nothing from before it"


def test_a_window_that_waits_for_labels_is_not_the_newest(published: World) -> None:
    tomorrow = published.days[13].next
    shipments, _ = synthetic.parcels(tomorrow)
    synthetic.publish_features(published.workspace, published.use_case, tomorrow, synthetic.features(tomorrow, shipments))
    found = choose(StageRun(published.workspace, published.use_case, tomorrow), date(2024, 3, 8))
    assert isinstance(found, Split)
    assert found.window == published.days[13]


def test_older_rows_than_a_training_would_see_are_not_fitted(published: World) -> None:
    use_case = changed(changed(published.use_case, "monitoring", window=Grain.WEEK), "training", max_history=timedelta(days=2))
    found = choose(asked(published, 13, use_case), date(2024, 3, 2))
    assert isinstance(found, Split)
    assert found.fitted == ("2024-03-02", "2024-03-03")


def test_the_interval_knows_that_rows_of_a_day_belong_together() -> None:
    """Each day's rows say the same: a thousand rows of a day are no more evidence than ten."""
    means = np.array([0.03, -0.02, 0.02, -0.01, 0.04, 0.0, 0.01])
    few, many = (gain("w", np.repeat(np.arange(7), n), np.repeat(means, n), np.zeros(7 * n), 0.9) for n in (10, 1000))
    assert (few.low, few.high) == pytest.approx((many.low, many.high))
    assert few.low < 0 < few.mean
