"""All gates together: defects that several of them stop, and each gate taken out, to see that a defect would slip through."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from pipelines.gates.evidence import Evidence
from pipelines.gates.judgement import GATES, judge
from pipelines.gates.statistics import day_bootstrap
from pipelines.results import Verdict, to_json
from pipelines.use_case import Gates, Value, money
from tests.gates.planted import ROWS, SETTINGS, VALUE, defect, empty_set, failed, good, weak, with_nan

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # means of nothing, in the planted defects
# Gate -> defects that it alone stops, as its own tests plant them.
STOPPED_BY_ONE: dict[str, dict[str, Evidence]] = {gate: import_module(f"tests.gates.test_{gate}").DEFECTS for gate in GATES}
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


EVERY = {
    **{f"{gate}: {name}": defect for gate, defects in STOPPED_BY_ONE.items() for name, defect in defects.items()},
    **{name: defect for name, (defect, _) in STOPPED.items()},
}


def waved_through(gate: str) -> Any:
    return lambda evidence, settings: Verdict(gate, True, "waved through")


def always_pass(evidence: Evidence, settings: Gates) -> Verdict:
    return Verdict("any", True, "waved through")


def test_a_good_model_passes_every_gate() -> None:
    assert failed(good()) == []


@pytest.mark.parametrize("name", STOPPED)
def test_a_planted_defect_is_stopped_for_the_right_reasons(name: str) -> None:
    evidence, gates = STOPPED[name]
    assert gates <= set(failed(evidence))
    for gate in gates:
        assert gate not in failed(evidence, GATES | {gate: waved_through(gate)})


@pytest.mark.parametrize("gate", GATES)
def test_without_the_gate_a_defect_slips_through(gate: str) -> None:
    without = GATES | {gate: always_pass}
    through = [name for name, evidence in EVERY.items() if not failed(evidence, without)]
    assert through, f"no planted defect needs {gate}: test it, or take it out"
    assert all(failed(EVERY[name]) for name in through)


@pytest.mark.parametrize("name", EVERY)
def test_verdicts_can_always_be_recorded_and_have_a_sentence(name: str) -> None:
    verdicts = judge(EVERY[name], SETTINGS)
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


# Key -> a value that alone turns the good model away, and the gates that say so.
STRICTER: dict[str, tuple[Any, set[str]]] = {
    "min_auc": (0.95, {"quality"}),
    "max_auc": (0.7, {"plausible"}),
    "max_log_loss": (0.1, {"quality"}),
    "min_holdout_rows": (ROWS + 1, {"evaluation_set"}),
    "min_gain_over_simple": (0.5, {"beats_simple"}),
    "max_overfit": (0.0, {"overfit"}),
    "max_calibration_error": (0.0001, {"calibration"}),
    "min_gain_over_champion": (0.5, {"beats_champion"}),
    "min_slice_rows": (ROWS, {"slices"}),
    "min_slice_auc": (0.95, {"slices"}),
    "required_slices": ({"depot": ("west",)}, {"slices"}),
    "min_value_per_row": (100.0, {"economics"}),
    "max_noise_flips": (0.001, {"stability"}),
    "max_missing_flips": (0.001, {"stability"}),
    "max_unseen_flips": (0.001, {"stability"}),
    "max_latency_ms": (1.0, {"inference"}),
    "max_memory_mib": (1.0, {"inference"}),
}


@pytest.mark.parametrize("key", STRICTER)
def test_every_limit_alone_turns_the_good_model_away(key: str) -> None:
    value, gates = STRICTER[key]
    assert {v.gate for v in judge(good(), SETTINGS.model_copy(update={key: value})) if not v.passed} == gates


def test_no_limit_is_forgotten() -> None:
    assert {*STRICTER, "confidence", "slice_confidence"} == set(Gates.model_fields)


def test_who_asks_for_more_confidence_gets_a_wider_interval() -> None:
    def interval(sure: float) -> Any:
        numbers = GATES["beats_champion"](good(), SETTINGS.model_copy(update={"confidence": sure})).numbers
        return numbers["low"], numbers["high"]

    def highest(sure: float) -> list[Any]:
        numbers: Any = GATES["slices"](good(), SETTINGS.model_copy(update={"slice_confidence": sure})).numbers
        return [each["high"] for each in numbers["slices"]]

    (low, high), (lower, higher) = interval(0.8), interval(0.999)
    assert lower < low < high < higher
    assert all(more > less for less, more in zip(highest(0.8), highest(0.999), strict=True))


@pytest.mark.parametrize(
    ("key", "of_positive", "sign"),
    [("true_positive", 1, 7), ("false_positive", 0, 7), ("false_negative", 1, -7), ("true_negative", 0, -7)],
)
def test_every_price_counts(key: str, of_positive: int, sign: int) -> None:
    """Against doing nothing, only rows that are acted on are worth anything: what is saved is the price of leaving them."""
    prices = dict.fromkeys(("true_positive", "false_positive", "false_negative", "true_negative"), 0.0)
    rows = int(((good().challenger >= 0.5) & (good().label == of_positive)).sum())
    assert rows
    assert money(good().label, good().challenger, Value(**{**prices, key: 7.0}), 0.5) == sign * rows


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
