"""Each gate against planted defects; and each gate taken out, to see that one of them would slip through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines.gates.evidence import Evidence, Inference, Stability
from pipelines.gates.gates import GATES, judge
from pipelines.gates.statistics import day_bootstrap
from pipelines.results import Verdict, to_json
from pipelines.use_case import Gates, Value, money

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # means of nothing, in the planted defects
ROWS, DAYS = 3000, 10
DEPOTS = ("north", "south") * 4 + ("east", "east")
VALUE = Value(true_positive=45, false_positive=-15, false_negative=-20, true_negative=1)
SETTINGS = Gates(
    min_auc=0.65, max_log_loss=0.66, min_holdout_rows=1000, max_overfit=0.1, max_calibration_error=0.05,
    min_slice_rows=200, min_slice_auc=0.55, required_slices={"depot": ("north", "south")},
)  # fmt: skip
SERVES = Inference(rows=1000, max_difference=0.0, latency_ms=12.0, memory_mib=400.0)
STEADY = Stability(rows=1000, noise_flips=0.01, missing_flips=0.1, unseen_flips=0.05)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _logit(p: Any) -> Any:
    return np.log(p / (1 - p))


def good() -> Evidence:
    """A challenger that knows the true probability; simple model and champion know half of it."""
    random = np.random.default_rng(1)
    cause = random.normal(0, 1.5, ROWS)
    truth = _sigmoid(cause)
    average = np.full(ROWS, truth.mean())
    return Evidence(
        label=(random.random(ROWS) < truth).astype(int),
        challenger=truth,
        simple=_sigmoid(0.5 * cause),
        day=np.repeat([f"2024-03-{d:02d}" for d in range(1, DAYS + 1)], ROWS // DAYS),
        training_auc=0.85,
        is_simple=False,
        has_champion=True,
        champion=_sigmoid(0.5 * cause + random.normal(0, 0.5, ROWS)),
        dummy=average,
        segments={"depot": np.resize(DEPOTS, ROWS)},
        value=VALUE,
        inference=SERVES,
        stability=STEADY,
    )


def defect(**values: Any) -> Evidence:
    return replace(good(), **values)


def few_rows() -> Evidence:
    keep = np.sort(np.random.default_rng(6).permutation(ROWS)[:900])
    e = good()
    arrays = {name: getattr(e, name)[keep] for name in ("label", "challenger", "simple", "day", "champion")}
    return replace(e, **arrays, segments={"depot": e.segments["depot"][keep]})


def empty_set() -> Evidence:
    none = np.array([])
    return defect(label=none, challenger=none, simple=none, day=none, champion=none, segments={"depot": none})


def weak() -> Evidence:
    """Honest and calibrated, better than the others, but it knows nearly nothing."""
    random = np.random.default_rng(2)
    truth = _sigmoid(random.normal(0, 0.35, ROWS))
    average = np.full(ROWS, 0.5)
    label = (random.random(ROWS) < truth).astype(int)
    return defect(label=label, challenger=truth, simple=average, champion=average, training_auc=0.6)


def with_nan(scores: Any) -> Any:
    return np.where(np.arange(len(scores)) == 7, np.nan, scores)


def overconfident() -> Evidence:
    """Tells the cases apart as well as before, but its probabilities are too far out."""
    e, average = good(), np.full(ROWS, 0.5)
    return replace(e, challenger=_sigmoid(1.6 * _logit(e.challenger) + 0.2), simple=average, champion=average)


def bad_in(depot: str, challenger: Any, **more: Any) -> Evidence:
    """The good challenger, but with other scores in one depot."""
    e = good()
    return replace(e, challenger=np.where(e.segments["depot"] == depot, challenger, e.challenger), **more)


def champion_knows(depot: str) -> Evidence:
    """Better on the whole, but for one depot the champion was much better."""
    e = good()
    there = e.segments["depot"] == depot
    noisy = _sigmoid(_logit(e.challenger) + np.random.default_rng(3).normal(0, 1.5, ROWS))
    simple = np.full(ROWS, 0.5)
    champion = np.where(there, e.challenger, 0.5 * e.champion + 0.25)
    return replace(e, challenger=np.where(there, noisy, e.challenger), champion=champion, simple=simple)


def sure_of_one_slice() -> Evidence:
    """In one depot nothing is ever late; the challenger says it often is, the champion knows."""
    e = good()
    there = e.segments["depot"] == "east"
    label = np.where(there, 0, e.label)
    challenger, champion = np.where(there, 0.15, e.challenger), np.where(there, 0.05, 0.5 * e.champion + 0.25)
    return replace(e, label=label, challenger=challenger, champion=champion, simple=np.full(ROWS, 0.5))


def matrix(**wrong: float) -> Evidence:
    return defect(value=VALUE.model_copy(update=wrong))


def served(**values: Any) -> Evidence:
    return defect(inference=replace(SERVES, **values))


def disturbed(**values: Any) -> Evidence:
    return defect(stability=replace(STEADY, **values))


# Defect -> the only gate that stops it.
STOPPED_BY_ONE = {
    "too few rows": (few_rows(), "evaluation_set"),
    "one outcome in a large slice, and wrong there": (sure_of_one_slice(), "slices"),
    "weak model": (weak(), "quality"),
    "label among the features": (defect(challenger=np.where(good().label == 1, 0.97, 0.03), training_auc=1.0), "plausible"),
    "no better than the simple model": (defect(simple=good().challenger), "beats_simple"),
    "simple model unknown": (defect(simple=None), "beats_simple"),
    "learnt by heart": (defect(training_auc=1.0), "overfit"),
    "training score unknown": (defect(training_auc=None), "overfit"),
    "overconfident": (overconfident(), "calibration"),
    "worse than the champion": (
        defect(champion=good().challenger, challenger=_sigmoid(0.8 * _logit(good().challenger))),
        "beats_champion",
    ),
    "the champion itself": (defect(champion=good().challenger), "beats_champion"),
    "champion not comparable": (defect(champion=None, champion_problem="v3 failed: it is gone"), "beats_champion"),
    "champion with NaN": (defect(champion=with_nan(good().champion)), "beats_champion"),
    "champion of wrong length": (defect(champion=good().champion[:-1]), "beats_champion"),
    "gain on a single day": (defect(day=np.full(ROWS, "2024-03-01")), "beats_champion"),
    "useless in one slice": (
        bad_in("east", np.random.default_rng(5).random(ROWS) * 0.2 + 0.4, simple=np.full(ROWS, 0.5)),
        "slices",
    ),
    "worse than the champion in one slice": (champion_knows("east"), "slices"),
    "segment missing": (defect(segments={"depot": None}), "slices"),
    "required slice missing": (defect(segments={"depot": np.resize(("north", "east"), ROWS)}), "slices"),
    "required slice too small": (defect(segments={"depot": np.resize(("north",) * 19 + ("south",), ROWS)}), "slices"),
    "wrong sign: a hit costs": (matrix(true_positive=-45), "economics"),
    "wrong sign: a false alarm pays": (matrix(false_positive=15), "economics"),
    "wrong sign: a miss pays": (matrix(false_negative=200), "economics"),
    "wrong sign: peace costs": (matrix(true_negative=-100), "economics"),
    "worth too little": (matrix(true_positive=-19, false_positive=-2, true_negative=1), "economics"),
    "never tried in a fresh process": (defect(inference=None), "inference"),
    "did not load": (served(max_difference=None, problem="v9 holds types outside the allow-list"), "inference"),
    "other scores in a fresh process": (served(max_difference=1e-6), "inference"),
    "too slow": (served(latency_ms=251.0), "inference"),
    "too large": (served(memory_mib=2049.0), "inference"),
    "no rows scored": (served(rows=0), "inference"),
    "no latency known": (served(latency_ms=None), "inference"),
    "latency is no number": (served(latency_ms=float("nan")), "inference"),
    "never disturbed": (defect(stability=None), "stability"),
    "flips with noise": (disturbed(noise_flips=0.11), "stability"),
    "flips with gaps": (disturbed(missing_flips=0.51), "stability"),
    "flips on unseen categories": (disturbed(unseen_flips=0.51), "stability"),
    "crashes on unseen categories": (disturbed(unseen_flips=None, problem="unseen values crash it"), "stability"),
    "flips not known": (disturbed(missing_flips=None), "stability"),
}
# Defects that more than one gate stops, with those that must be among them.
STOPPED = {
    "empty evaluation set": (empty_set(), {"evaluation_set", "quality"}),
    "one class only": (defect(label=np.ones(ROWS, dtype=int)), {"evaluation_set", "quality", "overfit"}),
    "swapped labels": (defect(label=1 - good().label), {"quality", "beats_simple", "beats_champion", "slices"}),
    "constant predictor": (defect(challenger=np.full(ROWS, good().label.mean())), {"quality", "beats_simple", "slices"}),
    "NaN scores": (defect(challenger=with_nan(good().challenger)), {"evaluation_set", "quality", "beats_champion"}),
    "scores too few": (defect(challenger=good().challenger[:-1]), {"evaluation_set", "quality", "beats_champion"}),
    "scores as a column": (defect(challenger=good().challenger[:, None]), {"evaluation_set"}),
    "no scores": (defect(challenger=None), {"evaluation_set", "quality", "beats_champion"}),
}


def failed(evidence: Evidence, gates: dict[str, Any] | None = None) -> list[str]:
    return [v.gate for v in judge(evidence, SETTINGS, gates) if not v.passed]


def waved_through(gate: str) -> Any:
    return lambda evidence, settings: Verdict(gate, True, "waved through")


def test_scores_above_1_are_no_probabilities() -> None:
    above = defect(challenger=np.where(good().label == 1, 1 + good().challenger * 1e-3, good().challenger))
    assert "evaluation_set" in failed(above)


def always_pass(evidence: Evidence, settings: Gates) -> Verdict:
    return Verdict("any", True, "waved through")


def test_a_good_model_passes_every_gate() -> None:
    assert failed(good()) == []


@pytest.mark.parametrize("name", STOPPED_BY_ONE)
def test_a_planted_defect_is_stopped_by_the_gate_meant_for_it(name: str) -> None:
    evidence, gate = STOPPED_BY_ONE[name]
    assert failed(evidence)
    assert failed(evidence) == [gate]


@pytest.mark.parametrize("name", STOPPED)
def test_a_planted_defect_is_stopped_for_the_right_reasons(name: str) -> None:
    evidence, gates = STOPPED[name]
    assert gates <= set(failed(evidence))
    for gate in gates:
        assert gate not in failed(evidence, GATES | {gate: waved_through(gate)})


@pytest.mark.parametrize("gate", GATES)
def test_without_the_gate_a_defect_slips_through(gate: str) -> None:
    defects = {name: evidence for name, (evidence, _) in (STOPPED_BY_ONE | STOPPED).items()}
    without = GATES | {gate: always_pass}
    through = [name for name, evidence in defects.items() if not failed(evidence, without)]
    assert through, f"no planted defect needs {gate}: test it, or take it out"
    assert all(failed(defects[name]) for name in through)


@pytest.mark.parametrize("name", [*STOPPED_BY_ONE, *STOPPED])
def test_verdicts_can_always_be_recorded_and_have_a_sentence(name: str) -> None:
    evidence = (STOPPED_BY_ONE | STOPPED)[name][0]
    verdicts = judge(evidence, SETTINGS)
    to_json(tuple(verdicts))
    assert all(v.sentence for v in verdicts)
    assert [v.gate for v in verdicts] == list(GATES)


def _raises(evidence: Evidence, settings: Gates) -> Verdict:
    raise RuntimeError("the evaluator is broken")


@pytest.mark.parametrize(
    "crashed",
    [
        _raises,
        lambda evidence, settings: None,
        lambda evidence, settings: Verdict("x", None, ""),  # type: ignore[arg-type]
        lambda evidence, settings: Verdict("x", "yes", ""),  # type: ignore[arg-type]
        lambda evidence, settings: Verdict("x", True, "", {"gain": float("nan")}),
    ],
    ids=["raises", "says nothing", "says none", "says text", "says yes of nan"],
)
def test_a_gate_that_gives_no_clear_answer_has_failed(crashed: Any) -> None:
    (verdict,) = judge(good(), SETTINGS, {"broken": crashed})
    assert (verdict.gate, verdict.passed) == ("broken", False)
    assert "counted as no" in verdict.sentence


def test_the_crash_is_named_in_the_verdict() -> None:
    assert "the evaluator is broken" in judge(good(), SETTINGS, {"broken": _raises})[0].sentence


def test_without_a_champion_the_first_model_needs_the_other_gates_only() -> None:
    assert failed(defect(has_champion=False, champion=None)) == []
    assert "quality" in failed(replace(weak(), has_champion=False, champion=None))


def test_the_simple_model_has_to_beat_the_average() -> None:
    assert failed(defect(is_simple=True, simple=None)) == []
    assert "beats_simple" in failed(defect(is_simple=True, challenger=good().dummy))
    assert failed(defect(is_simple=True, simple=None, dummy=None)) == ["beats_simple"]


def test_a_gain_that_may_be_luck_is_undecided_and_says_how_many_labels_would_settle_it() -> None:
    gain = GATES["beats_champion"](good(), SETTINGS).numbers["gain"]
    nearly_as_much = SETTINGS.model_copy(update={"min_gain_over_champion": 0.95 * gain})
    undecided = GATES["beats_champion"](good(), nearly_as_much)
    assert not undecided.passed
    assert "more labels would settle it" in undecided.sentence


def test_the_champion_is_beaten_by_the_smallest_useful_gain_only() -> None:
    gain = GATES["beats_champion"](good(), SETTINGS).numbers["gain"]
    assert failed(good()) == []
    more = SETTINGS.model_copy(update={"min_gain_over_champion": gain})
    assert not GATES["beats_champion"](good(), more).passed


def test_dependent_days_make_the_interval_wider_than_independent_rows() -> None:
    random = np.random.default_rng(4)
    day = np.repeat(np.arange(20), 100)
    difference = np.repeat(random.normal(0, 1, 20), 100)
    _, low, high = day_bootstrap(difference, day, 0.95)
    _, row_low, row_high = day_bootstrap(difference, np.arange(2000), 0.95)
    assert high - low > 5 * (row_high - row_low)
    assert day_bootstrap(difference, day, 0.95) == day_bootstrap(difference, day, 0.95)


def test_the_perfect_model_earns_most_the_useless_least_and_doing_nothing_is_zero() -> None:
    label = good().label
    perfect, useless = label.astype(float), 1.0 - label
    earned = [money(label, p, VALUE, 0.5) for p in (perfect, good().challenger, useless)]
    assert earned == sorted(earned, reverse=True)
    assert earned[0] > earned[1] > 0 > earned[2]
    assert money(label, np.zeros(ROWS), VALUE, 0.5) == 0


def test_money_is_counted_row_by_row() -> None:
    label, probability = np.array([1, 1, 0, 0]), np.array([0.9, 0.1, 0.9, 0.1])
    # Against doing nothing: the late one found saves 45 and avoids a miss of 20; the false alarm costs 15 and the 1 of peace.
    assert money(label, probability, VALUE, 0.5) == 45 + 20 - 15 - 1
