"""Each question about the data, with a planted defect that turns its verdict around; and what a no does to a training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from pipelines.assessment.assessment import Assessed, admit, assess, conclude, finite
from pipelines.assessment.evidence import Counts, DataEvidence, Delays, Duplicates, Missing, Rewritten, Unseen
from pipelines.assessment.measures import counts, delays, measured, measures_of
from pipelines.assessment.rules import RULES, doubling_gain, judge_data
from pipelines.assessment.trial import Alone, Curve, Importances, Power, Trial, lucky_auc
from pipelines.commands import stages
from pipelines.errors import PermanentError
from pipelines.gates import evaluate
from pipelines.pages.reports import read_report, reports_of
from pipelines.pages.site import assessment_page
from pipelines.results import Verdict, from_json, to_json
from pipelines.training import Rows, TrainingRun
from pipelines.use_case import Assessment, Question, UseCase
from pipelines.workspace import Kind, StageRun, files
from tests import synthetic
from tests.conftest import World, changed

DAYS, PER_DAY, HOLDOUT_DAYS = 20, 120, 3
SETTINGS = Assessment(min_rows=1000, min_class_rows=200, min_slice_rows=100)
Frame = pd.DataFrame


def rows_of(frame: Frame) -> Rows:
    newest = frame["ship_date"] > sorted(frame["ship_date"].unique())[-HOLDOUT_DAYS - 1]
    return Rows(frame[~newest], frame[newest])


@pytest.fixture(scope="module")
def good(use_case: UseCase) -> Frame:
    """Twenty days of parcels with their labels, in order of time. Every feature but weight and pieces says something."""
    days = []
    for day in synthetic.days(use_case, DAYS):
        shipments, deliveries = synthetic.parcels(day, rows=PER_DAY)
        features = synthetic.features(day, shipments).assign(partition=day.key, label=(deliveries.delay >= 15).astype(int))
        days.append(features)
    frame = pd.concat(days, ignore_index=True)
    # What is noise or next to it in `synthetic` is related to the label here, so that nothing is wrong with the good data.
    random = np.random.default_rng(5)
    cause = random.normal(size=(4, len(frame))) + 1.2 * frame["label"].to_numpy()
    told = np.where(frame["label"] == 1, "CC", "AA")
    return frame.assign(
        weight=cause[0],
        pieces=cause[1],
        all_parcels_late_1d=cause[2],
        all_parcels_late_3d=cause[2] + cause[1],
        rating=cause[3],
        carrier=np.where(random.random(len(frame)) < 0.4, told, frame["carrier"]),
    )


def few(frame: Frame) -> Frame:
    return frame.groupby("partition").head(20)


def few_of_one_class(frame: Frame) -> Frame:
    late = frame.index[frame["label"] == 1]
    return frame.drop(late[150:-30])


def small_slice(frame: Frame) -> Frame:
    return frame.assign(depot=np.where(np.arange(len(frame)) % 100 == 0, "west", frame["depot"]))


def constant_target(frame: Frame) -> Frame:
    return frame.assign(label=0)


def pure_noise(frame: Frame) -> Frame:
    random = np.random.default_rng(3)
    numbers = frame.select_dtypes("number").columns.drop("label")
    noise = frame.assign(**{name: random.normal(size=len(frame)) for name in numbers})
    return noise.assign(**{name: random.permutation(frame[name]) for name in ("depot", "carrier")})


def one_feature_says_it_all(frame: Frame) -> Frame:
    random = np.random.default_rng(4)
    return pure_noise(frame).assign(distance=frame["label"] + random.normal(0, 1, len(frame)))


def leaked(frame: Frame) -> Frame:
    """As a delay that is only known afterwards would be."""
    return frame.assign(weight=frame["label"] * 20 + np.random.default_rng(4).normal(0, 3, len(frame)))


def leaked_as_category(frame: Frame) -> Frame:
    return frame.assign(carrier=np.where(frame["label"] == 1, "LATE", "FINE"))


def repeated_across_the_split(frame: Frame) -> Frame:
    """Days of the holdout are days of before again, under new keys and dates, with their history worked out anew."""
    split = rows_of(frame)
    again = split.fit.tail(len(split.holdout))[["depot", "carrier", "distance", "weight", "pieces", "rating"]]
    return pd.concat([split.fit, split.holdout.assign(**{c: again[c].to_numpy() for c in again})])


def noise_feature(frame: Frame) -> Frame:
    return frame.assign(weight=np.random.default_rng(6).normal(size=len(frame)))


def rare_class(frame: Frame) -> Frame:
    return frame.drop(frame.index[frame["label"] == 1][8:])


def missing_in_one_slice(frame: Frame) -> Frame:
    return frame.assign(weight=frame["weight"].where(frame["depot"] != "north"))


def missing_since_a_day(frame: Frame) -> Frame:
    return frame.assign(weight=frame["weight"].where(frame["partition"] < "2024-03-16"))


def new_category(frame: Frame) -> Frame:
    split = rows_of(frame)
    return pd.concat([split.fit, split.holdout.assign(carrier="DD")])


def out_of_range(frame: Frame) -> Frame:
    split = rows_of(frame)
    return pd.concat([split.fit, split.holdout.assign(distance=lambda rows: rows["distance"] * 1000)])


# Defect -> the verdict that it must turn, and a word that its sentence must have.
PLANTED: dict[Callable[[Frame], Frame], tuple[str, str]] = {
    few: ("rows", "340 rows"),
    few_of_one_class: ("rows", "150 positive"),
    small_slice: ("slices", "depot=west"),
    constant_target: ("balanced", "one outcome only"),
    pure_noise: ("predictive", "luck alone"),
    one_feature_says_it_all: ("more_than_one_feature", "'distance' alone"),
    leaked: ("leaked_label", "'weight'"),
    leaked_as_category: ("leaked_label", "'carrier'"),
    repeated_across_the_split: ("duplicates", "100.0%"),
    noise_feature: ("related", "'weight'"),
    rare_class: ("balanced", "0.7% of the rows are positive"),
    missing_in_one_slice: ("missing", "weight @ depot=north"),
    missing_since_a_day: ("missing", "weight @ partition=2024-03-16"),
    new_category: ("unseen", "'carrier' (100.0%)"),
    out_of_range: ("unseen", "'distance'"),
}
# What a frame of rows alone does not tell.
OTHER = {"fresh", "rewritten"}


NEEDS = {
    "rows": ["counts"],
    "slices": ["counts"],
    "balanced": ["counts"],
    "predictive": ["power"],
    "more_than_one_feature": ["power", "alone"],
    "leaked_label": ["alone"],
    "related": ["alone", "importances"],
}


def judged(use_case: UseCase, frame: Frame, *gates: str) -> dict[str, Verdict]:
    """The verdicts of these gates, or of all; only what they need is measured."""
    measures = measures_of(use_case, rows_of(frame))
    wanted = {name for gate in gates for name in NEEDS.get(gate, [gate])} or set(measures)
    evidence = measured({name: measures[name] for name in wanted})
    return {v.gate: v for v in judge_data(evidence, SETTINGS, {g: RULES[g] for g in gates} if gates else None)}


def test_every_question_has_its_rule_and_is_asked() -> None:
    assert list(RULES) == list(get_args(Question))


def test_good_data_passes(good: Frame, use_case: UseCase) -> None:
    found = judged(use_case, good)
    assert {name: v.sentence for name, v in found.items() if not v.passed and name not in OTHER} == {}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_defect_turns_its_verdict(plant: Callable[[Frame], Frame], good: Frame, use_case: UseCase) -> None:
    gate, word = PLANTED[plant]
    verdict = judged(use_case, plant(good), gate)[gate]
    assert not verdict.passed
    assert word in verdict.sentence


def test_each_verdict_has_a_defect_that_turns_it() -> None:
    elsewhere = {"learning_curve", *OTHER}
    assert {gate for gate, _ in PLANTED.values()} | elsewhere == set(RULES)


@pytest.mark.parametrize(
    ("losses", "word", "passed"),
    [
        ((0.70, 0.60, 0.52, 0.46), "help much", False),
        ((0.60, 0.52, 0.510, 0.505), "helps a little", True),
        ((0.60, 0.510, 0.501, 0.5000), "plateau", True),
        ((0.60, 0.50, 0.49, 0.50), "plateau", True),
    ],
)
def test_the_learning_curve_says_whether_more_data_helps(losses: tuple[float, ...], word: str, passed: bool) -> None:
    verdict = judge_one("learning_curve", curve=Curve((100, 200, 400, 800), losses, 5000))
    assert verdict.passed is passed
    assert word in verdict.sentence


def test_the_gain_of_doubling_follows_a_power_law() -> None:
    sizes = (100, 200, 400, 800)
    losses = tuple(0.4 + 2 * size**-0.5 for size in sizes)
    assert doubling_gain(sizes, losses) == pytest.approx(losses[-1] - (0.4 + 2 * 1600**-0.5))


def test_a_curve_of_too_few_rows_is_a_no() -> None:
    verdict = judge_one("learning_curve", curve=Curve((60, 120), (0.7, 0.6), 160))
    assert not verdict.passed
    assert "too few rows" in verdict.sentence


def judge_one(gate: str, settings: Assessment = SETTINGS, **evidence: Any) -> Verdict:
    return judge_data(DataEvidence(**evidence), settings, {gate: RULES[gate]})[0]


# How fast --------------------------------------------------------------------------------------------------------------


def labels(known: str, partition: str = "2024-03-01") -> Frame:
    return Frame({"ship_date": [partition] * 100, "partition": [partition] * 100, "known_at": [pd.Timestamp(known)] * 100})


def test_a_label_can_be_used_once_its_partition_is_complete(use_case: UseCase) -> None:
    """`deliveries` are complete a day after the day's end; known before or not, nobody has them earlier."""
    found = delays(use_case, labels("2024-03-01T15:00Z"))
    assert found == Delays(100, 2.0, 2.0, 0.0)
    assert judge_one("fresh", delays=found).passed


def test_late_labels_are_a_no(use_case: UseCase) -> None:
    found = delays(use_case, labels("2024-03-11T12:00Z"))
    assert found == Delays(100, 10.5, 10.5, 1.0)
    assert "100.0% came after they were due" in judge_one("fresh", delays=found).sentence
    assert not judge_one("fresh", delays=found).passed


def test_a_label_known_at_no_time_is_late(use_case: UseCase) -> None:
    assert delays(use_case, labels("NaT")).late_share == 1.0


def test_data_slower_than_the_use_case_needs_is_a_no() -> None:
    measure = Delays(100, 16.0, 30.0, 0.0)
    verdict = judge_one("fresh", Assessment(max_delay="P7D"), delays=measure)
    assert not verdict.passed
    assert "within 30.0 (at most 7.0 asked)" in verdict.sentence
    assert judge_one("fresh", Assessment(max_delay="P31D"), delays=measure).passed


# Every limit ------------------------------------------------------------------------------------------------------------

FINE = DataEvidence(
    counts=Counts(1000, 400, 600, {"depot=north": 500, "depot=south": 500}),
    curve=Curve((100, 200, 400, 800), (0.60, 0.52, 0.510, 0.505), 5000),
    delays=Delays(100, 1.0, 2.0, 0.005),
    power=Power(auc=0.8, log_loss=0.5, dummy_log_loss=0.65, lucky_auc=0.53),
    alone=Alone(aucs={"distance": 0.7, "weight": 0.6}, probes=(0.5, 0.51)),
    rewritten=Rewritten(3, 300, {"distance": 0.005}),
    duplicates=Duplicates(200, 1),
    missing=Missing({"weight": 0.1}, {"weight @ depot=north": 0.1}),
    unseen=Unseen(200, {"carrier": 0.02}),
)
# Key -> a value that alone turns one verdict on them, and which.
STRICTER: dict[str, tuple[Any, str]] = {
    "min_rows": (1001, "rows"),
    "min_class_rows": (401, "rows"),
    "min_slice_rows": (501, "slices"),
    "max_doubling_gain": (0.001, "learning_curve"),
    "max_delay": (timedelta(days=1), "fresh"),
    "max_late_share": (0.001, "fresh"),
    "min_auc": (0.85, "predictive"),
    "min_gain_over_one_feature": (0.2, "more_than_one_feature"),
    "max_single_auc": (0.65, "leaked_label"),
    "max_rewritten_share": (0.001, "rewritten"),
    "max_duplicate_share": (0.001, "duplicates"),
    "min_class_share": (0.45, "balanced"),
    "max_missing_gap": (0.05, "missing"),
    "max_unseen_share": (0.01, "unseen"),
}


@pytest.mark.parametrize("key", STRICTER)
def test_every_limit_alone_turns_its_verdict(key: str) -> None:
    value, gate = STRICTER[key]
    rules = {name: rule for name, rule in RULES.items() if name != "related"}
    assert all(v.passed for v in judge_data(FINE, Assessment(), rules))
    strict = Assessment().model_copy(update={key: value})
    assert [v.gate for v in judge_data(FINE, strict, rules) if not v.passed] == [gate]


def test_no_limit_is_forgotten() -> None:
    assert {*STRICTER, "warn", "sample_rows"} == set(Assessment.model_fields)


# Unknown is a no -------------------------------------------------------------------------------------------------------


def test_nothing_measured_passes_nothing() -> None:
    assert [v.gate for v in judge_data(DataEvidence(), SETTINGS) if v.passed] == []


def test_a_crashed_measure_fails_its_verdicts_and_no_other(good: Frame, use_case: UseCase) -> None:
    def crash() -> Any:
        raise OSError("the disk is gone")

    measures = {"counts": lambda: counts(use_case, good), "power": crash}
    found = {v.gate: v for v in judge_data(measured(measures), SETTINGS)}
    assert found["rows"].passed
    assert found["balanced"].passed
    assert not found["predictive"].passed
    assert "OSError: the disk is gone" in found["predictive"].sentence


def test_a_measure_that_came_to_nothing_is_a_no() -> None:
    verdict = judge_one("predictive", power=Power(float("nan"), 0.5, 0.5, 0.6))
    assert not verdict.passed
    assert "no finite auc" in verdict.sentence


def test_no_verdict_at_all_is_no_pass(use_case: UseCase) -> None:
    assert not conclude(use_case, "2024-03-01", [], "place").passed


def test_what_only_warns_does_not_stop(use_case: UseCase) -> None:
    verdicts = [Verdict("rows", True, "Enough."), Verdict("slices", False, "Too few in depot=west.")]
    warned = conclude(use_case, "2024-03-01", verdicts, "place")
    assert (warned.passed, warned.warned) == (True, ("slices",))
    assert "Warnings: slices." in warned.why
    strict = conclude(changed(use_case, "assessment", warn=()), "2024-03-01", verdicts, "place")
    assert (strict.passed, strict.warned) == (False, ())
    assert "Too few in depot=west." in strict.why


# Time and samples ------------------------------------------------------------------------------------------------------


def test_the_sample_is_bounded_and_no_day_is_on_both_sides(good: Frame, use_case: UseCase) -> None:
    trial = Trial(changed(use_case, "assessment", sample_rows=400), good)
    older, newer = trial.parts
    assert len(older) + len(newer) == 400
    assert older["ship_date"].max() < newer["ship_date"].min()


def test_a_column_without_values_does_not_stop_the_measures(good: Frame, use_case: UseCase) -> None:
    evidence = measured(measures_of(use_case, rows_of(good.assign(weight=np.nan))))
    assert evidence.problems == {}
    assert evidence.curve is not None
    assert len(evidence.curve.sizes) == 5


def test_luck_shrinks_with_rows() -> None:
    few_rows, many = lucky_auc(pd.Series([0, 1] * 20)), lucky_auc(pd.Series([0, 1] * 2000))
    assert few_rows == pytest.approx(0.685, abs=0.001)
    assert many == pytest.approx(0.518, abs=0.001)


# In the lake, the ledger and MLflow ------------------------------------------------------------------------------------


def planned(world: World) -> TrainingRun:
    return world.training(7)


def test_the_report_is_saved_and_its_page_drawn_from_it(published: World) -> None:
    world = published
    found = assess(planned(world))
    assert found.passed
    assert from_json(Assessed, to_json(found)) == found
    report = json.loads(files.read_bytes(f"{world.workspace.environment.reports}/{found.report}"))
    assert report["passed"] is True
    assert report["evidence"]["counts"]["rows"] == next(v for v in found.verdicts if v.gate == "rows").numbers["rows"]
    assert report["plan"]["versions"] == planned(world).plan.versions
    page = read_report(world.workspace, *found.page.split("/")).decode()
    assert page.count("data-verdict=") == len(RULES)
    assert page.count("<svg") >= 3
    assert [r.path for r in reports_of(world.workspace, "parcels", "assessment", "2024-03-08")] == [found.page]


def test_data_that_is_not_fit_trains_nothing_and_the_ledger_says_why(published: World) -> None:
    world = published
    strict = changed(world.use_case, "assessment", min_rows=100_000)
    with pytest.raises(PermanentError, match=r"not fit for a model: rows\. .*at least 100,000 asked.*Nothing was trained"):
        stages.run_training(StageRun(world.workspace, strict, world.days[7]))
    (decision,) = world.workspace.ledger.decisions("parcels")
    assert (decision.kind, decision.actor) == (Kind.KEPT, "assessment")
    assert decision.why.startswith("No champion. The data is not fit for a model: rows.")
    assert "rows" in [v["gate"] for v in decision.evidence["assessment"]["verdicts"] if not v["passed"]]
    assert world.workspace.registry.client.get_experiment_by_name("parcels") is None


@pytest.mark.long
def test_the_report_goes_with_the_model_and_into_the_decision(published: World, simple_only: UseCase) -> None:
    world = published
    assert stages.run_training(StageRun(world.workspace, simple_only, world.days[7])).decision == Kind.PROMOTED
    (decision,) = world.workspace.ledger.decisions("parcels")
    assert decision.evidence["assessment"]["passed"] is True
    assert len(decision.evidence["assessment"]["verdicts"]) == len(RULES)
    client = world.workspace.registry.client
    experiment = client.get_experiment_by_name("parcels").experiment_id
    runs = client.search_runs([experiment])
    logged = [{f.path for f in client.list_artifacts(run.info.run_id, "assessment")} for run in runs]
    assert len(runs) == 2, "the candidate, and its refit that is registered"
    assert logged == [{"assessment/2024-03-08.json"}] * 2


def test_without_a_passed_assessment_nothing_is_evaluated(published: World) -> None:
    world = published
    training = planned(world)
    failed = Assessed("parcels", training.key, False, (), (), "no", "r", "p")
    for assessed in (None, failed):
        with pytest.raises(PermanentError, match="did not pass its assessment"):
            evaluate(training, [], assessed, ())


def republish(world: World, change: Callable[[Frame], Frame], day: int) -> None:
    shipments, _ = synthetic.parcels(world.days[day])
    features = synthetic.features(world.days[day], shipments)
    synthetic.publish_features(world.workspace, world.use_case, world.days[day], change(features))


def rewritten_verdict(world: World) -> Verdict:
    return next(v for v in assess(planned(world)).verdicts if v.gate == "rewritten")


@pytest.mark.long
def test_values_changed_after_the_label_was_known_are_named(published: World) -> None:
    world = published
    assert "what they were before" in rewritten_verdict(world).sentence
    republish(world, lambda features: features, 5)
    assert rewritten_verdict(world).passed, "the same again is no change"
    republish(world, lambda features: features.assign(distance=lambda rows: rows["distance"] + 100), 5)
    verdict = rewritten_verdict(world)
    assert not verdict.passed
    assert "'distance' (12.5%)" in verdict.sentence
    assert "weight" not in verdict.sentence
    with pytest.raises(PermanentError, match="rewritten"):
        admit(planned(world))


def test_where_only_one_version_is_known_it_says_so() -> None:
    verdict = judge_one("rewritten", rewritten=Rewritten(0, 0, {}))
    assert verdict.passed
    assert "Only one version" in verdict.sentence


# The page --------------------------------------------------------------------------------------------------------------


def test_the_page_escapes_what_the_data_says_and_runs_no_script(good: Frame, use_case: UseCase) -> None:
    evil = good.assign(depot=np.where(good["depot"] == "north", "<script>alert(1)</script>", good["depot"]))
    evidence = measured(measures_of(use_case, rows_of(missing_in_evil(evil))))
    verdicts = judge_data(evidence, SETTINGS)
    page = page_of(replace(conclude(use_case, "2024-03-08", verdicts, "r"), why="why & how", warned=("slices",)), evidence)
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "why &amp; how" in page
    assert " style=" not in page


def page_of(assessed: Assessed, evidence: DataEvidence) -> str:
    """As `assess` saves it, read again."""
    return assessment_page(json.loads(json.dumps(to_json(assessed) | {"evidence": finite(asdict(evidence))})))


def missing_in_evil(frame: Frame) -> Frame:
    return frame.assign(weight=frame["weight"].where(~frame["depot"].str.startswith("<")))


def test_the_page_shows_what_could_not_be_measured(use_case: UseCase) -> None:
    evidence = DataEvidence(problems={"power": "ValueError: <b>"})
    page = page_of(conclude(use_case, "2024-03-08", judge_data(evidence, SETTINGS), "r"), evidence)
    assert "Could not be measured" in page
    assert "ValueError: &lt;b&gt;" in page
    assert "No, it stopped the training" in page


def test_the_page_opens_where_a_measure_came_to_nothing(use_case: UseCase) -> None:
    """As with one outcome only: no AUC is known, neither a feature's nor a probe's."""
    nan = float("nan")
    evidence = DataEvidence(
        alone=Alone({"weight": nan, "pieces": 0.6}, (nan, nan)), importances=Importances({"weight": nan}, ())
    )
    page = page_of(conclude(use_case, "2024-03-08", judge_data(evidence, SETTINGS), "r"), evidence)
    assert ">pieces<" in page
    assert ">weight<" not in page
    assert "noise ends here" not in page


def test_a_report_has_none_where_a_number_is_not_finite() -> None:
    assert finite({"a": (float("nan"), 1.0), "b": [float("inf")]}) == {"a": [None, 1.0], "b": [None]}
