"""An experiment on the real pipeline: assigned, scored, served, measured; late, corrected, moved, twice, edited, refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipelines.errors import PermanentError, TransientError
from pipelines.experiments import gather, measure, open_declared, opened
from pipelines.experiments.assignment import slot
from pipelines.experiments.intervals import Sums, partitions_needed
from pipelines.features import FeaturePlan
from pipelines.maintenance import Again, compare
from pipelines.monitoring.windows import served as judged
from pipelines.pages import experiment_page, experiment_view
from pipelines.scoring import score
from pipelines.use_case import Experiment, Partition, UseCase
from pipelines.workspace import CommitRecord, Decision, Kind, Lake, StageRun, served_rows, write_bytes
from tests import synthetic
from tests.conftest import World

FIRST, TABLE = "2024-03-15", "parcels/predictions"
WORTH = {(True, 1): 10.0, (True, 0): -4.0, (False, 1): 0.0, (False, 0): 0.0}


def declared(world: World, **values: Any) -> World:
    """v2 against v1, from day 15 on."""
    told = {
        "name": "v2_worth", "question": "Is v2 worth more?", "challengers": {"newer": 2}, "first": FIRST, "last": "2024-03-24",
        "policy": "fixed", "shares": [0.5], "minimum_effect": 0.5, "max_action_change": 1.0, **values,
    }  # fmt: skip
    return replace(world, use_case=world.use_case.model_copy(update={"experiment": Experiment.model_validate(told)}))


@pytest.fixture
def world(two_champions: World) -> World:
    """v1 serves again from day 15 on, by a person's rollback; v2 passed its gates and does not serve. Days 15 to 24 are there.

    The label's cause is that of v2's training days, so that v2 is better by far.
    """
    moved(two_champions, 1, FIRST, Kind.ROLLED_BACK)
    for day in days(two_champions.use_case):
        synthetic.publish(two_champions.workspace, two_champions.use_case, day, flip=True)
    return two_champions


def days(use_case: UseCase, count: int = 10) -> list[Partition]:
    return synthetic.days(use_case, count, FIRST)


def moved(world: World, version: int, key: str, kind: Kind) -> None:
    now = world.workspace.ledger.champion("parcels")
    decision = Decision(f"hand/{kind}/{version}/{key}", "parcels", kind, key, "", "x", "x", {}, version, key)
    world.workspace.ledger.move_champion(decision, now.version if now else None)
    world.workspace.registry.set_alias("parcels", "champion", version)


def at(world: World, day: Partition | str, run: str = "test") -> StageRun:
    return StageRun(world.at(run), world.use_case, world.use_case.period(day if isinstance(day, str) else day.key))


def all_rows(world: World, *keys: str) -> pd.DataFrame:
    return world.workspace.lake.read(TABLE, keys or None).to_pandas()


def told(world: World, kind: Kind) -> list[Decision]:
    return [d for d in world.workspace.ledger.decisions("parcels") if d.kind == kind]


def live(world: World, count: int, **labels: Any) -> None:
    """Day after day: scored, then labels come, then it is looked at."""
    for day in days(world.use_case, count):
        score(at(world, day))
        if labels:
            synthetic.publish_labels(world.workspace, world.use_case, day, **labels)
        measure(at(world, day))


def only_v1_loads(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    load = world.workspace.registry.load

    def loaded(name: str, version: int) -> Any:
        if version != 1:
            raise error
        return load(name, version)

    monkeypatch.setattr(world.workspace.registry, "load", loaded)


# assigned, scored, served --------------------------------------------------------------------------------------------


def test_every_variant_scores_every_row_and_each_key_is_served_once(world: World) -> None:
    world = declared(world)
    assert open_declared(at(world, FIRST)) == open_declared(at(world, FIRST)) == "v2_worth"
    done = score(at(world, FIRST))
    rows = all_rows(world, FIRST)
    assert (done.rows, len(rows)) == (synthetic.ROWS, 2 * synthetic.ROWS)
    for _, row in rows.iterrows():
        assert row["assigned"] == ("champion" if slot("v2_worth", row["unit"]) < 5000 else "newer")
        assert row["served"] == (row["variant"] == row["assigned"])
        assert (row["weight"], row["model_version"]) == (0.5, {"champion": 1, "newer": 2}[row["variant"]])
    served = served_rows(world.workspace, world.use_case, [FIRST])
    assert sorted(served["shipment_id"]) == sorted(set(rows["shipment_id"]))
    assert set(served["model_version"]) == {1, 2}
    window = judged(at(world, FIRST))
    assert window is not None
    assert (window.version, window.rows) == (1, (served["model_version"] == 1).sum())


def test_what_a_challenger_served_is_not_judged_as_the_champions(world: World) -> None:
    world = declared(world, shares=[1.0])
    open_declared(at(world, FIRST))
    score(at(world, FIRST))
    assert set(served_rows(world.workspace, world.use_case, [FIRST])["model_version"]) == {2}
    assert judged(at(world, FIRST)) is None


def test_without_a_running_experiment_the_table_is_as_it_was(world: World) -> None:
    for declaring in (world, declared(world, first="2024-03-20")):
        open_declared(at(declaring, FIRST))
        score(at(declaring, FIRST))
        assert set(world.workspace.lake.column_types(TABLE)).isdisjoint({"variant", "unit", "weight", "assigned"})
    (start,) = told(world, Kind.EXPERIMENT_STARTED)
    assert start.effective_from == "2024-03-20"
    assert "'v2_worth' asks: Is v2 worth more? From 2024-03-20 to 2024-03-24, by fixed: champion v1, newer v2." in start.why


def test_rows_of_one_unit_get_one_variant(world: World) -> None:
    """A whole number that is missing in one row makes no other number of the others; who has no unit is one of its own."""
    world = declared(world, unit="pieces", salt="other")
    for day in days(world.use_case, 3):
        shipments, _ = synthetic.parcels(day, flip=True)
        pieces = [None if i == 0 and day.key == FIRST else int(n) for i, n in enumerate(shipments["pieces"])]
        arrow = pa.table({"shipment_id": shipments["shipment_id"].tolist(), "pieces": pa.array(pieces, pa.int64())})
        staged = world.workspace.lake.stage("parcels/shipments", day.key, arrow)
        world.workspace.lake.publish("parcels/shipments", day.key, [staged], CommitRecord())
    open_declared(at(world, FIRST))
    score(at(world, f"{FIRST}--2024-03-17"))
    served = served_rows(world.workspace, world.use_case, [d.key for d in days(world.use_case, 3)])
    by_unit = served.groupby("unit")["variant"].agg(["nunique", "first"])
    assert set(by_unit.index) == {*map(str, range(1, 8)), f"{FIRST}-0000"}
    assert (by_unit["nunique"] == 1).all()
    assert all(by_unit["first"][u] == ("champion" if slot("other", u) < 5000 else "newer") for u in by_unit.index)


def test_before_anything_is_scored_there_is_nothing_to_say(world: World) -> None:
    assert measure(at(world, FIRST)) is None
    world = declared(world)
    open_declared(at(world, FIRST))
    done = measure(at(world, FIRST))
    assert done
    assert (done.effective_from, done.weights) == (FIRST, {"champion": 0.5, "newer": 0.5})
    view = experiment_view(world.workspace, world.use_case)
    assert view
    assert (view.labelled, len(view.partitions), view.gained) == (0, 10, 0.0)
    assert "2024-03-15 is served next: champion 50.0%, newer 50.0%. Once the outcomes of 2024-03-15 are known" in view.next
    assert "Is v2 worth more?" in experiment_page("Late parcels", "parcels", view)
    score(at(world, FIRST))
    unlabelled(world, FIRST)
    assert measure(at(world, FIRST)) == replace(done, effective_from="2024-03-16")


def test_a_challenger_that_cannot_score_is_out_and_the_champion_serves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = declared(world)
    open_declared(at(world, FIRST))
    only_v1_loads(world, monkeypatch, OSError("torn"))
    score(at(world, FIRST))
    rows = all_rows(world, FIRST)
    assert rows.groupby("variant")["served"].all().to_dict() == {"champion": True}
    assert set(rows["assigned"]) == {"champion", "newer"}
    (guard,) = told(world, Kind.EXPERIMENT_GUARD)
    assert "newer (v2) was taken out of 'v2_worth': it could not score 2024-03-15 (OSError: torn)" in guard.why
    view = experiment_view(world.workspace, world.use_case)
    assert view
    assert view.weights == ((FIRST, {"champion": 0.5, "newer": 0.5}), ("2024-03-16", {"champion": 1.0}))
    assert (view.gone, view.verdict) == (("newer",), guard.why)
    score(at(world, "2024-03-16"))
    assert set(all_rows(world, "2024-03-16")["assigned"]) == {"champion"}
    done = measure(at(world, FIRST))
    assert done
    assert "no challenger takes part any more" in done.why


def test_a_registry_that_does_not_answer_takes_nobody_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = declared(world)
    open_declared(at(world, FIRST))
    only_v1_loads(world, monkeypatch, TransientError("busy"))
    with pytest.raises(TransientError, match="busy"):
        score(at(world, FIRST))
    assert told(world, Kind.EXPERIMENT_GUARD) == []


# what may take part --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("challengers", "words"),
    [
        ({"newer": 3}, "newer, 3, is no version that passed its gates and does not serve; there are v2"),
        ({"same": 1}, "same, 1, is no"),
    ],
)
def test_only_what_passed_its_gates_takes_part(world: World, challengers: dict[str, int], words: str) -> None:
    with pytest.raises(PermanentError, match=words):
        open_declared(at(declared(world, challengers=challengers), FIRST))
    assert told(world, Kind.EXPERIMENT_STARTED) == []


def test_a_gate_that_failed_keeps_a_version_out(world: World) -> None:
    """Planted: a ledger in which v3 was asked for though one of its gates failed; the newest is v2 then."""
    evidence = {"verdicts": [{"gate": "quality", "passed": True}, {"gate": "overfit", "passed": False}]}
    world.workspace.ledger.record(Decision("x", "parcels", Kind.ASKED, FIRST, "", "x", "x", evidence, 3))
    with pytest.raises(PermanentError, match="newer, 3, is no version that passed its gates"):
        open_declared(at(declared(world, challengers={"newer": 3}), FIRST))
    open_declared(at(declared(world, challengers={"newer": "newest"}), FIRST))
    assert told(world, Kind.EXPERIMENT_STARTED)[0].evidence["versions"] == {"champion": 1, "newer": 2}


# measured ------------------------------------------------------------------------------------------------------------


def recomputed(world: World, *keys: str) -> tuple[dict[str, float], float]:
    """By other code, from the tables: money per row of each variant on all rows, and what was gained against all-champion."""
    rows = all_rows(world, *keys)
    labels = world.workspace.lake.read("parcels/labels").to_pandas()
    label = dict(zip(labels["shipment_id"], labels["label"], strict=True))
    worth: dict[str, list[float]] = {}
    gained, champion = 0.0, {}
    for row in rows[rows["variant"].notna() & rows["shipment_id"].isin(label.keys())].to_dict("records"):
        money = WORTH[row["act"], label[row["shipment_id"]]]
        worth.setdefault(row["variant"], []).append(money)
        champion |= {row["shipment_id"]: money} if row["variant"] == "champion" else {}
    for row in rows[rows["served"] & rows["shipment_id"].isin(label.keys())].to_dict("records"):
        gained += WORTH[row["act"], label[row["shipment_id"]]] - champion[row["shipment_id"]]
    return {name: float(np.mean(values)) for name, values in worth.items()}, gained


def test_figures_and_money_are_those_of_the_tables(world: World) -> None:
    world = declared(world, policy="thompson")
    open_declared(at(world, FIRST))
    live(world, 4)
    rows = told(world, Kind.EXPERIMENT_WEIGHTS)
    worth, gained = recomputed(world, *rows[-1].evidence["labelled"])  # type: ignore[misc]
    assert rows[-1].effect == pytest.approx(gained)
    assert rows[-1].effect_unit == "USD"
    newer = next(f for f in rows[-1].evidence["figures"] if f["variant"] == "newer")  # type: ignore[attr-defined]
    assert newer["gain"] == pytest.approx(worth["newer"] - worth["champion"])
    about = opened(world.workspace.ledger.decisions("parcels"))[0]
    whole = gather(world.workspace, world.use_case, about).paired["newer"]
    count = len(rows[-1].evidence["labelled"])  # type: ignore[arg-type]
    paired = Sums(*(part[:count] for part in (whole.rows, whole.total, whole.squares)))
    assert newer["needed"] == partitions_needed(paired, 0.05, 10, 0.5)
    assert rows[-1].evidence["weights"]["newer"] == 0.95  # type: ignore[index]
    assert f"Against all-champion: {gained:+,.2f} USD" in rows[-1].why


def test_the_metric_may_be_the_log_loss(world: World) -> None:
    from sklearn.metrics import log_loss

    world = declared(world, metric="log_loss", policy="thompson")
    open_declared(at(world, FIRST))
    live(world, 3)
    last = told(world, Kind.EXPERIMENT_WEIGHTS)[-1]
    labels = world.workspace.lake.read("parcels/labels").to_pandas()
    rows = all_rows(world, *last.evidence["labelled"]).merge(labels, on=["partition", "shipment_id"])  # type: ignore[misc]
    loss = {name: log_loss(part["label"], part["probability"]) for name, part in rows.groupby("variant")}
    newer = last.evidence["figures"][1]  # type: ignore[index]
    assert newer["gain"] == pytest.approx(loss["champion"] - loss["newer"])
    assert last.effect == pytest.approx(recomputed(world, *last.evidence["labelled"])[1]), "money, as there is a value"  # type: ignore[misc]


def test_it_ends_once_all_is_labelled_with_what_it_found_and_promotes_nobody(world: World) -> None:
    world = declared(world, policy="winner")
    open_declared(at(world, FIRST))
    live(world, 10)
    (end,) = told(world, Kind.EXPERIMENT_ENDED)
    assert "all up to 2024-03-24 is served and labelled" in end.why
    assert "better" in end.why
    assert end.effect == pytest.approx(recomputed(world)[1])
    (share,) = {tuple(sorted(d.evidence["weights"].items())) for d in told(world, Kind.EXPERIMENT_WEIGHTS)}  # type: ignore[attr-defined]
    assert share == (("newer", 1.0),)
    assert world.workspace.ledger.champion("parcels").version == 1  # type: ignore[union-attr]
    after = world.use_case.partition("2024-03-25")
    synthetic.publish(world.workspace, world.use_case, after, flip=True)
    assert set(score(at(world, after)).served) == {after.key}
    assert all_rows(world, after.key)["variant"].isna().all()


def test_a_harmful_challenger_serves_nothing_from_the_next_partition_on(world: World) -> None:
    """The label's cause is turned around: v1's rows are the right ones."""
    world = declared(world)
    for day in days(world.use_case, 3):
        synthetic.publish(world.workspace, world.use_case, day)
    open_declared(at(world, FIRST))
    live(world, 2)
    (guard,) = told(world, Kind.EXPERIMENT_GUARD)
    assert guard.effective_from in ("2024-03-16", "2024-03-17")
    assert "newer (v2) serves nothing in 'v2_worth' from" in guard.why
    view = experiment_view(world.workspace, world.use_case, decisions=1)
    assert view
    assert "nobody is left to compare with" in view.decisions[0].why
    assert view.next.startswith(f"It ended: no challenger takes part any more. From {guard.effective_from} on the champion")
    assert ([d.kind for d in view.decisions], view.told) == ([Kind.EXPERIMENT_ENDED], 3)
    score(at(world, "2024-03-17"))
    assert set(served_rows(world.workspace, world.use_case, ["2024-03-17"])["model_version"]) == {1}


def test_shares_that_are_not_those_of_the_weights_stop_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the assignment forgets a part of the challenger's units."""
    from pipelines.scoring import variants

    right = variants.variants_of
    monkeypatch.setattr(variants, "variants_of", lambda salt, units, owners: np.where(
        [u.endswith(("1", "2", "3", "4")) for u in units], "champion", right(salt, units, owners)))  # fmt: skip
    world = declared(world, false_better=1e-9)
    open_declared(at(world, FIRST))
    live(world, 3)
    (end,) = told(world, Kind.EXPERIMENT_ENDED)
    assert "the shares that were served are not those of the weights" in end.why


# rules ---------------------------------------------------------------------------------------------------------------


def unlabelled(world: World, key: str) -> None:
    """The partition's labels are not there yet."""
    table = DeltaTable(world.workspace.lake.uri("parcels/labels"))
    table.delete(f"partition = '{key}'")


def test_late_labels_count_when_they_come_and_it_waits_for_them(world: World) -> None:
    world, late = declared(world, last="2024-03-17"), "2024-03-16"
    open_declared(at(world, FIRST))
    unlabelled(world, late)
    live(world, 3)
    about = opened(world.workspace.ledger.decisions("parcels"))[0]
    assert gather(world.workspace, world.use_case, about).labelled == ("2024-03-15", "2024-03-17")
    view = experiment_view(world.workspace, world.use_case)
    assert view
    assert "It ends once its outcomes are known; those of 2024-03-16 are waited for." in view.next
    assert told(world, Kind.EXPERIMENT_ENDED) == []
    synthetic.publish_labels(world.workspace, world.use_case, world.use_case.partition(late), flip=True)
    measure(at(world, late))
    (end,) = told(world, Kind.EXPERIMENT_ENDED)
    assert end.evidence["labelled"] == ["2024-03-15", "2024-03-16", "2024-03-17"]


def test_corrected_labels_count_from_the_next_look_on_and_what_was_served_stays(world: World) -> None:
    world = declared(world, policy="thompson")
    open_declared(at(world, FIRST))
    live(world, 3)
    before, weights = all_rows(world), told(world, Kind.EXPERIMENT_WEIGHTS)
    assert weights[-1].evidence["weights"]["newer"] == 0.95  # type: ignore[index]
    for day in days(world.use_case, 3):
        synthetic.publish_labels(world.workspace, world.use_case, day)  # turned around: the champion was right
    measure(at(world, "2024-03-17"))
    pd.testing.assert_frame_equal(all_rows(world), before)
    assert told(world, Kind.EXPERIMENT_WEIGHTS)[: len(weights)] == weights
    (guard,) = told(world, Kind.EXPERIMENT_GUARD)
    assert (guard.effective_from, guard.effect) == ("2024-03-18", pytest.approx(recomputed(world)[1]))


@pytest.mark.parametrize(("kind", "version"), [(Kind.PROMOTED, 2), (Kind.ROLLED_BACK, 2)])
def test_a_champion_that_moves_ends_it(world: World, kind: Kind, version: int) -> None:
    world = declared(world)
    open_declared(at(world, FIRST))
    live(world, 2)
    moved(world, version, "2024-03-17", kind)
    score(at(world, "2024-03-17"))  # nobody has looked yet
    assert all_rows(world, "2024-03-17")["variant"].isna().all()
    assert set(served_rows(world.workspace, world.use_case, ["2024-03-17"])["model_version"]) == {2}
    measure(at(world, "2024-03-16"))
    (end,) = told(world, Kind.EXPERIMENT_ENDED)
    assert f"the champion moved (hand/{kind}/2/2024-03-17), and v1 was what it compared with" in end.why


def test_a_partition_that_is_scored_twice_stays_as_it_is(world: World) -> None:
    """Also after the weights have changed, after the end, and without the section."""
    world, plain = declared(world, policy="thompson"), world
    open_declared(at(world, FIRST))
    live(world, 4)
    before, version = all_rows(world), world.workspace.lake.version(TABLE)
    for again in (world, plain):
        done = score(at(again, f"{FIRST}--2024-03-18", "again"))
        assert (done.served, done.what_if) == ((), ())
    measure(at(plain, FIRST))
    assert "its section was taken out" in told(world, Kind.EXPERIMENT_ENDED)[0].why
    score(at(world, f"{FIRST}--2024-03-18", "again"))
    assert world.workspace.lake.version(TABLE) == version
    pd.testing.assert_frame_equal(all_rows(world), before)


def test_features_that_were_built_anew_are_a_what_if_beside_the_experiment(world: World) -> None:
    world = declared(world)
    open_declared(at(world, FIRST))
    score(at(world, FIRST))
    before = all_rows(world)
    day = world.use_case.partition(FIRST)
    rows = synthetic.features(day, synthetic.parcels(day, flip=True)[0], flip=True)
    synthetic.publish_features(world.workspace, world.use_case, day, rows.assign(distance=rows["distance"] + 300))
    assert score(at(world, FIRST, "again")).what_if == (FIRST,)
    rows = all_rows(world)
    pd.testing.assert_frame_equal(rows[rows["variant"].notna()].reset_index(drop=True), before)
    assert rows[rows["variant"].isna()].groupby("model_version")["served"].any().to_dict() == {1: False, 2: False}


def test_an_experiment_that_is_edited_while_it_runs_is_refused_and_goes_on_as_it_was(world: World) -> None:
    world = declared(world)
    open_declared(at(world, FIRST))
    edited = declared(world, shares=[0.9])
    with pytest.raises(PermanentError, match="was changed since; what runs goes on as it was"):
        open_declared(at(edited, FIRST))
    score(at(edited, FIRST))
    assert set(all_rows(world, FIRST)["weight"]) == {0.5}


def test_two_experiments_at_once_are_refused(world: World) -> None:
    world = declared(world)
    open_declared(at(world, FIRST))
    other = declared(world, name="another")
    with pytest.raises(PermanentError, match="'v2_worth' runs, and two at once"):
        open_declared(at(other, FIRST))
    score(at(other, FIRST))
    assert [d.evidence["experiment"] for d in told(world, Kind.EXPERIMENT_STARTED)] == ["v2_worth"]
    assert (all_rows(world)["assigned"] == [
        "champion" if slot("v2_worth", unit) < 5000 else "newer" for unit in all_rows(world)["unit"]
    ]).all()  # fmt: skip


def test_one_after_the_other_is_fine_and_the_first_stays_told(world: World) -> None:
    world = declared(world, last="2024-03-16")
    open_declared(at(world, FIRST))
    live(world, 2)
    other = declared(world, name="another")
    open_declared(at(other, "2024-03-16"))
    score(at(other, "2024-03-17"))
    assert told(world, Kind.EXPERIMENT_STARTED)[-1].effective_from == "2024-03-17"
    before = all_rows(world, FIRST)
    score(at(other, FIRST, "again"))
    pd.testing.assert_frame_equal(all_rows(world, FIRST), before)


def test_shares_that_change_while_it_is_scored_stop_the_scoring(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = declared(world, policy="thompson")
    open_declared(at(world, FIRST))
    live(world, 2)
    load = world.workspace.registry.load

    def meanwhile(name: str, version: int) -> Any:
        monkeypatch.setattr(world.workspace.registry, "load", load)
        for day in days(world.use_case, 2):
            synthetic.publish_labels(world.workspace, world.use_case, day)
        measure(at(world, "2024-03-16"))
        return load(name, version)

    monkeypatch.setattr(world.workspace.registry, "load", meanwhile)
    with pytest.raises(TransientError, match="an experiment's shares changed while it was scored"):
        score(at(world, "2024-03-17"))
    assert "2024-03-17" not in world.workspace.lake.partitions(TABLE)


# bulk equals live ----------------------------------------------------------------------------------------------------


def test_a_bulk_run_replays_the_weights_that_were_recorded(world: World, tmp_path: Path) -> None:
    """The ledger of the live days, and a lake in which nothing was scored."""
    world = declared(world, policy="thompson")
    open_declared(at(world, FIRST))
    live(world, 5)
    shutil.copytree(world.workspace.lake.root, tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "parcels" / "predictions")
    other = replace(world, workspace=replace(world.workspace, lake=Lake(f"{tmp_path}/other")))
    score(at(other, f"{FIRST}--2024-03-19", "bulk"))
    by = ["partition", "shipment_id", "variant"]
    columns = [*by, "model_version", "probability", "act", "served", "unit", "weight", "assigned"]
    live_rows, bulk_rows = (all_rows(w)[columns].sort_values(by, ignore_index=True) for w in (world, other))
    assert live_rows.groupby("partition")["weight"].nunique().max() == 2
    assert live_rows[live_rows["variant"] == "newer"]["weight"].nunique() > 1
    pd.testing.assert_frame_equal(live_rows, bulk_rows, check_exact=True)


def test_the_skew_check_computes_each_row_by_the_version_that_served_it(world: World) -> None:
    """And finds a row whose probability is the other variant's."""
    world = declared(world)
    open_declared(at(world, FIRST))
    run, day = at(world, FIRST), world.use_case.partition(FIRST)
    score(run)
    rows = synthetic.features(day, synthetic.parcels(day, flip=True)[0], flip=True)
    compared = compare(run.workspace, run.use_case, built(run, rows))
    assert (compared.rows, compared.differences) == (synthetic.ROWS, 0)
    table = run.lake.read(TABLE, [FIRST]).drop_columns(["partition"])
    frame = table.to_pandas()
    shadow = frame.set_index(["shipment_id", "served"])["probability"]
    key = frame["shipment_id"][0]
    frame.loc[(frame["shipment_id"] == key) & frame["served"], "probability"] = shadow[key, False]
    planted = pa.Table.from_pandas(frame, table.schema, preserve_index=False)
    run.lake.publish(TABLE, FIRST, [run.lake.stage(TABLE, FIRST, planted)], CommitRecord())
    with pytest.raises(PermanentError, match=f"probability of {key} was"):
        compare(run.workspace, run.use_case, built(run, rows))


def built(run: StageRun, rows: pd.DataFrame) -> Again:
    """What a features job leaves of the day."""
    spec, table = run.use_case.features, "parcels/features"
    area = run.lake.staging_area(table, run.key)
    arrow = pa.Table.from_pandas(rows[[spec.key, spec.date, *spec.names]], preserve_index=False).replace_schema_metadata(None)
    with run.lake.staging(table, f"{area}/part-0.parquet", arrow.schema) as writer:
        writer.write_table(arrow)
    uri = f"{run.lake.uri(table)}/plans/again.json"
    write_bytes(uri, b'{"inputs": {}}')
    return Again(run.key, FeaturePlan(uri, area, len(rows), run.key), "")


def test_ledger_rows_of_an_experiment_are_plain_data(world: World) -> None:
    world = declared(world, policy="thompson")
    open_declared(at(world, FIRST))
    live(world, 3)
    found = [d.evidence for d in world.workspace.ledger.decisions("parcels")]
    assert any("figures" in each for each in found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
