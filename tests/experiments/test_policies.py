"""Every policy and setting, on simulated partitions; each protection of an experiment, and what happens without it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks import experiments as simulation
from pipelines.experiments import intervals, policies
from pipelines.experiments.intervals import Sums, against_shares, interval, partitions_needed, quick_interval
from pipelines.experiments.policies import bounded, harmful, next_weights
from pipelines.use_case import Experiment, UseCase

EMPTY = Sums(np.zeros(0), np.zeros(0), np.zeros(0))
BASE = simulation.Setting(1000, 60, 0.3, 0)
COUNT = 150


def declared(**values: Any) -> Experiment:
    told = {"name": "x1", "question": "?", "challengers": {"newer": 2}, "first": "a", "last": "b", "minimum_effect": 0.1}
    return Experiment.model_validate(told | values)


def sums(mean: float, count: int = 20, rows: int = 1000, spread: float = 1.0, seed: int = 0) -> Sums:
    """Partitions of rows with this mean difference, and a variance of each row."""
    random = np.random.default_rng(seed)
    total = random.normal(mean * rows, math.sqrt(spread * rows), count)
    return Sums(np.full(count, float(rows)), total, np.full(count, rows * (spread + mean**2)))


def weights_of(spec: Experiment, planned: int = 60, **paired: Sums) -> dict[str, float]:
    return next_weights(spec, paired, planned).weights


# policies ------------------------------------------------------------------------------------------------------------


SHARES: dict[str, tuple[dict[str, Any], Sums, float]] = {
    "shadow": ({"policy": "shadow"}, sums(1.0), 0.0),
    "fixed": ({"policy": "fixed", "shares": [0.3]}, sums(-1.0), 0.3),
    "winner, better": ({"policy": "winner", "shares": [0.3]}, sums(1.0), 1.0),
    "winner, worse": ({"policy": "winner", "shares": [0.3]}, sums(-1.0), 0.0),
    "winner, not sure": ({"policy": "winner", "shares": [0.3]}, sums(0.0), 0.3),
    "canary, first step": ({"policy": "canary", "shares": [0.1, 0.4]}, EMPTY, 0.1),
    "canary, second step": ({"policy": "canary", "shares": [0.1, 0.4]}, sums(0.0, 1), 0.4),
    "canary, last step": ({"policy": "canary", "shares": [0.1, 0.4]}, sums(0.0, 9), 0.4),
    "thompson, too early": ({"policy": "thompson", "shares": [0.2]}, sums(1.0, 1), 0.2),
    "thompson, ceiling": ({"policy": "thompson", "ceiling": 0.8}, sums(1.0), 0.8),
    "thompson, floor": ({"policy": "thompson", "floor": 0.3}, sums(-1.0), 0.3),
}


@pytest.mark.parametrize("case", SHARES)
def test_a_policy_gives_the_challenger_its_share(case: str) -> None:
    values, paired, share = SHARES[case]
    found = weights_of(declared(**values), newer=paired)
    assert found["newer"] == pytest.approx(share)
    assert sum(found.values()) == pytest.approx(1)


def test_false_better_is_how_sure_a_winner_has_to_be() -> None:
    paired, shares = sums(0.02, spread=1.0, seed=1), {}
    for chance in (0.05, 0.9):
        shares[chance] = weights_of(declared(policy="winner", shares=[0.3], false_better=chance), newer=paired)["newer"]
    assert shares == {0.05: 0.3, 0.9: 1.0}


def test_several_challengers_share_and_the_best_of_them_wins() -> None:
    three = declared(challengers={"aa": 2, "bb": 3, "cc": 4}, policy="fixed", shares=[0.3])
    paired = {"aa": sums(0.2), "bb": sums(0.5, seed=1), "cc": sums(-0.5, seed=2)}
    assert weights_of(three, **paired) == pytest.approx({"champion": 0.7, "aa": 0.1, "bb": 0.1, "cc": 0.1})
    assert weights_of(three, aa=paired["aa"]) == pytest.approx({"champion": 0.9, "aa": 0.1}), (
        "who is out leaves it to the champion"
    )
    winner = three.model_copy(update={"policy": "winner"})
    assert weights_of(winner, **paired)["bb"] == 1.0
    thompson = weights_of(three.model_copy(update={"policy": "thompson"}), **paired)
    assert thompson == pytest.approx({"champion": 0.05, "aa": 0.05, "bb": 0.85, "cc": 0.05})
    assert next_weights(three, {}, 60).weights == {"champion": 1.0}


def test_thompson_follows_the_posterior() -> None:
    """One challenger: the chance that a t-distributed mean is above 0."""
    from scipy.stats import t

    paired = sums(0.02, 15, spread=1.0, seed=3)
    found = weights_of(declared(policy="thompson", floor=0.0, ceiling=1.0), newer=paired)["newer"]
    wanted = t.cdf(paired.mean / math.sqrt(paired.spread / paired.rows.sum()), 14)
    assert found == pytest.approx(wanted, abs=0.03)
    assert 0.1 < found < 0.97


def test_the_same_evidence_gives_the_same_weights() -> None:
    spec = declared(policy="thompson")
    assert weights_of(spec, newer=sums(0.02)) == weights_of(spec, newer=sums(0.02))


def test_bounds_hold_and_keep_the_order() -> None:
    found = bounded({"champion": 0.0, "a": 0.2, "b": 0.8}, 0.1, 0.6)
    assert found == pytest.approx({"champion": 0.1, "a": 0.3, "b": 0.6})
    assert bounded({"champion": 1.0}, 0.1, 0.6) == {"champion": 1.0}


# guards --------------------------------------------------------------------------------------------------------------


GUARDS: dict[str, tuple[dict[str, Any], float, float, bool]] = {
    "worse": ({}, -1.0, 0.0, True),
    "alike": ({}, 0.0, 0.0, False),
    "worse, within max_loss": ({"max_loss": 2.0}, -1.0, 0.0, False),
    "worse, beyond max_loss": ({"max_loss": 0.5}, -1.0, 0.0, True),
    "acts more": ({}, 0.0, 0.3, True),
    "acts less": ({}, 0.0, -0.3, True),
    "acts more, within max_action_change": ({"max_action_change": 0.4}, 0.0, 0.3, False),
}


@pytest.mark.parametrize("case", GUARDS)
def test_a_guard_takes_out_what_it_guards_against(case: str) -> None:
    values, mean, change, out = GUARDS[case]
    assert ("newer" in harmful(declared(**values), {"newer": sums(mean, 2)}, {"newer": change})) is out


def test_a_guard_says_what_it_saw() -> None:
    told = harmful(declared(), {"newer": sums(-1.0, 2), "other": sums(0, 2)}, {"other": 0.25})
    assert "worse than the champion by 1" in told["newer"]
    assert told["other"] == "it acts on 25.0% more of the rows than the champion, and 20% is allowed"


# what may be said however often one looks ----------------------------------------------------------------------------


def called_better(effect: float = 0.0, setting: simulation.Setting = BASE, policy: str = "fixed") -> list[simulation.Lived]:
    seeds = np.random.SeedSequence(1).spawn(COUNT)
    setting = simulation.replace(setting, effect=effect)
    return [simulation.lived(simulation.declared(policy, 0.2), setting, seed) for seed in seeds]


def rate(found: list[simulation.Lived]) -> float:
    return sum(each.better is not None for each in found) / len(found)


def test_no_difference_is_seldom_called_better_though_it_is_looked_at_every_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what allows for the looking (a t-interval of 95 %, fresh each day), and without the days, it often is."""
    from scipy.stats import t

    assert rate(called_better()) <= 0.05

    def fixed_size(paired: Sums, chance: float, planned: int) -> tuple[float, float]:
        if len(paired.rows) < 2:
            return -math.inf, math.inf
        half = t.ppf(1 - chance / 2, len(paired.rows) - 1) * math.sqrt(paired.spread / paired.rows.sum())
        return paired.mean - half, paired.mean + half

    monkeypatch.setattr(simulation, "interval", fixed_size)
    assert rate(called_better()) > 0.09


def test_days_that_hang_together_are_allowed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    heavy = simulation.replace(BASE, day_effect=1.0)
    assert rate(called_better(setting=heavy)) <= 0.05
    monkeypatch.setattr(Sums, "spread", property(lambda paired: paired.row_variance))
    assert rate(called_better(setting=heavy)) > 0.2


def test_most_of_what_a_better_challenger_is_worth_is_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    def value(found: list[simulation.Lived]) -> float:
        return float(np.mean([each.gained for each in found])) / (0.3 * BASE.rows * BASE.days)

    assert value(called_better(0.3, policy="thompson")) >= 0.8
    monkeypatch.setitem(policies._POLICIES, "thompson", policies._POLICIES["fixed"])
    assert value(called_better(0.3, policy="thompson")) < 0.6


def test_a_harmful_challenger_serves_nothing_after_two_labelled_days(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped() -> float:
        return sum(each.stopped is not None and each.stopped <= 2 for each in called_better(-2.0)) / COUNT

    assert stopped() >= 0.95
    monkeypatch.setattr(policies, "quick_interval", lambda paired, chance: interval(paired, chance, 60))
    assert stopped() < 0.05, "by days alone nothing can be said so soon"


@pytest.mark.parametrize("changing", [False, True])
def test_a_broken_assignment_is_found_and_a_right_one_is_not(changing: bool) -> None:
    """A share that is compared with a fixed one, whatever the weights were, cries where they change."""
    random = np.random.default_rng(1)
    found = {True: 0, False: 0}
    for _ in range(COUNT):
        steps = random.uniform(0.1, 0.9, 60) if changing else np.full(60, 0.5)
        shares = np.column_stack([1 - steps, steps])
        for right in found:
            newer = random.binomial(1000, steps * (1 if right else 0.95))
            path = against_shares(shares, np.column_stack([1000 - newer, newer]).astype(float))
            found[right] += path.max() > math.log(1000)
    assert found[True] <= 1
    assert found[False] >= 0.95 * COUNT


def test_who_serves_without_a_share_is_found_at_once() -> None:
    assert against_shares(np.array([[1.0, 0.0]]), np.array([[99.0, 1.0]]))[-1] == math.inf
    assert against_shares(np.array([[1.0, 0.0]]), np.array([[100.0, 0.0]]))[-1] == pytest.approx(0)
    assert against_shares(np.zeros((0, 2)), np.zeros((0, 2))).max(initial=0.0) == 0


def test_the_check_of_shares_is_a_bayes_factor_where_they_stand() -> None:
    """Lindon & Malek's, by one formula over all counts."""
    from scipy.special import gammaln

    share, counts = np.array([0.3, 0.7]), np.array([[25.0, 75], [40, 60], [33, 67]])
    prior, n = share * 100, counts.sum(axis=0)
    wanted = gammaln(100) - gammaln(100 + n.sum()) + (gammaln(prior + n) - gammaln(prior)).sum() - (n * np.log(share)).sum()
    assert against_shares(np.tile(share, (3, 1)), counts)[-1] == pytest.approx(wanted)


def test_the_interval_is_where_the_likelihood_ratio_of_the_mixture_says_so() -> None:
    """At its ends the Bayes factor, integrated numerically, is 1 / chance."""
    from scipy.integrate import quad
    from scipy.stats import norm

    drawn = np.random.default_rng(5).normal(0.3, 1.0, 8)
    paired = Sums(np.ones(8), drawn, drawn**2)
    low, high = interval(paired, 0.05, 40)
    prior = intervals._prior(0.05, 20.0)
    for end in (low, high):
        x = drawn - end

        def likelihood(effect: float, x: np.ndarray = x) -> float:
            return quad(lambda s: np.exp(norm.logpdf(x, effect * s, s).sum()) / s, 0.02, 50, limit=300)[0]

        mixed = quad(lambda d: likelihood(d) * norm.pdf(d, 0, 1 / math.sqrt(prior)), -4, 4)[0]
        assert mixed / likelihood(0.0) == pytest.approx(20, rel=0.02)


def test_too_few_partitions_say_nothing_and_equal_ones_are_not_sure() -> None:
    for count in (0, 1, 2):
        assert interval(sums(1.0, count), 0.05, 60) == (-math.inf, math.inf)
    assert quick_interval(EMPTY, 0.05) == (-math.inf, math.inf)
    alike = Sums(np.full(4, 10.0), np.full(4, 10.0), np.full(4, 100.0))  # one row of ten gained 10, each day
    low, high = interval(alike, 0.05, 60)
    assert low < 0 < high, "sums that happen to be equal do not hide how rows differ"


def test_the_minimum_effect_says_when_an_answer_is_expected() -> None:
    paired = sums(0.0, 5)
    few, many = (partitions_needed(paired, 0.05, 60, effect) for effect in (0.1, 0.05))
    assert few
    assert many
    assert 5 < few < many
    seen = [interval(sums(0.1, few, seed=seed), 0.05, 60)[0] > 0 for seed in range(200)]
    assert 0.65 < np.mean(seen) < 0.95
    assert partitions_needed(paired, 0.05, 60, 1e-9) is None


# declared ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"last": "2024-03-01"}, "experiment.first, last: .* ends before it begins"),
        ({"first": "2024-03"}, "is no day partition"),
        ({"unit": "carier"}, "experiment.unit: 'carier' is no column of shipments; did you mean 'carrier'"),
        ({"challengers": {"champion": 2}}, "'champion' is the variant that serves now"),
        ({"challengers": {"aa": 2, "bb": 2}}, "two of them are the same version"),
        ({"challengers": {}}, "at least 1"),
        ({"floor": 0.6}, "2 variants cannot share all units"),
        ({"ceiling": 0.4}, "2 variants cannot share all units"),
        ({"shares": []}, "at least 1"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_file(use_case: UseCase, values: dict[str, Any], words: str) -> None:
    told = {"name": "x1", "question": "?", "challengers": {"newer": 2}, "first": "2024-03-15", "last": "2024-03-20"}
    whole = use_case.model_dump(mode="json") | {"experiment": told | {"minimum_effect": 0.1}}
    UseCase.model_validate(whole)
    with pytest.raises(ValueError, match=words):
        UseCase.model_validate(whole | {"experiment": whole["experiment"] | values})


def test_money_needs_what_a_row_is_worth(use_case: UseCase) -> None:
    told = {"name": "x1", "question": "?", "challengers": {"newer": 2}, "first": "2024-03-15", "last": "2024-03-20"}
    whole = use_case.model_dump(mode="json") | {"value": None, "experiment": told | {"minimum_effect": 0.1}}
    with pytest.raises(ValueError, match=r"experiment\.metric: money needs the section `value`"):
        UseCase.model_validate(whole)
    UseCase.model_validate(whole | {"experiment": whole["experiment"] | {"metric": "log_loss"}})
