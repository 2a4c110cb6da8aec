"""What may be said however often one looks: intervals of a mean difference, and a check of the shares. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_PRIOR = 100.0  # units that the shares' prior is worth
_MOST_PARTITIONS = 2_000
_POWER = 0.84  # normal quantile of 80 %


@dataclass(frozen=True)
class Sums:
    """A difference of rows by labelled partition (K,): how many, their sum, the sum of their squares; positive is better."""

    rows: Floats
    total: Floats
    squares: Floats

    @property
    def mean(self) -> float:
        return float(self.total.sum() / self.rows.sum()) if len(self.rows) else 0.0

    @property
    def row_variance(self) -> float:
        return max(0.0, float(self.squares.sum() / self.rows.sum()) - self.mean**2)

    @property
    def spread(self) -> float:
        """Variance of a row's difference as sums of partitions show it, and no less than single rows do."""
        residuals = (self.total - self.rows * self.mean) / np.sqrt(self.rows)
        between = float((residuals**2).sum()) / (len(self.rows) - 1) if len(self.rows) > 2 else 0.0
        return max(between, self.row_variance)


def interval(sums: Sums, chance: float, planned: int) -> tuple[float, float]:
    """A confidence sequence of the mean per row; infinite as long as too few partitions tell how much they differ.

    Partitions are the observations, as rows of a day are not independent: the t-test's mixture over effect sizes, which holds
    at every number of them. It is tightest about half of the `planned` ones. Sources: Lai, "On confidence sequences", 1976;
    Wang & Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance", 2024, here with
    partitions weighted by their rows.
    """
    count, rows = len(sums.rows), float(sums.rows.sum())
    if count < 2:
        return -math.inf, math.inf
    return _around(sums.mean, _half(sums.spread, count, rows, _prior(chance, planned / 2 * float(sums.rows[0])), chance))


def _half(spread: float, count: int, rows: float, prior: float, chance: float) -> float:
    bound = (1 - (chance**2 * prior / (rows + prior)) ** (1 / count)) * (rows + prior) / rows
    return math.inf if bound >= 1 else math.sqrt((count - 1) * spread * bound / (1 - bound) / rows)


def quick_interval(sums: Sums, chance: float) -> tuple[float, float]:
    """The same with rows as observations until three partitions tell how much they differ: for guards, to whom safe is better.

    Sources: Robbins' normal mixture, Howard et al., "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021,
    eq. 14; with an estimated variance: Waudby-Smith et al., "Time-uniform central limit theory", 2024, theorem 2.2.
    """
    rows = float(sums.rows.sum())
    if not rows:
        return -math.inf, math.inf
    prior = _prior(chance, 2 * float(sums.rows[0]))
    width = math.sqrt(sums.spread * (rows + prior) * math.log((rows + prior) / (prior * chance**2))) / rows
    return _around(sums.mean, width)


def _prior(chance: float, tightest: float) -> float:
    """The mixture's variance that makes it tightest at so many rows (Howard et al., 2021, sec. 3.5)."""
    log = -2 * math.log(chance)
    return tightest / (log + math.log(1 + log))


def _around(mean: float, half: float) -> tuple[float, float]:
    return mean - half, mean + half


def partitions_needed(sums: Sums, chance: float, planned: int, effect: float) -> int | None:
    """After how many partitions like these an effect of that size is seen in four of five experiments. None: too late"""
    if len(sums.rows) < 2:
        return None
    each, spread = float(sums.rows.mean()), sums.spread
    prior = _prior(chance, planned / 2 * float(sums.rows[0]))
    for count in range(2, _MOST_PARTITIONS):
        rows = count * each
        if _half(spread, count, rows, prior, chance) + _POWER * math.sqrt(spread / rows) <= effect:
            return count
    return None


def against_shares(shares: Floats, counts: Floats) -> Floats:
    """How strongly counts of units (K, V) speak against the shares (K, V) that they were drawn by, up to each partition (K,).

    Log of an e-value: 0 says nothing; it ever exceeds log(1 / a) with chance a at most. Each unit counts once. Source: Lindon &
    Malek, "Anytime-Valid Inference for Multinomial Count Data", 2022, theorem 1; where shares change, the prior's mean is what
    was seen so far over what was expected, times the new shares.
    """
    from scipy.special import gammaln

    found, seen, expected = np.zeros(len(shares)), np.zeros(shares.shape[1]), np.zeros(shares.shape[1])
    for i, (share, count) in enumerate(zip(shares, counts, strict=True)):
        live = share > 0
        now, n = share[live], count[live]
        tilted = now * (seen[live] + _PRIOR * now) / (expected[live] + _PRIOR * now)
        prior = tilted / tilted.sum() * (_PRIOR + seen.sum())
        evidence = gammaln(prior.sum()) - gammaln(prior.sum() + n.sum()) + (gammaln(prior + n) - gammaln(prior)).sum()
        found[i] = math.inf if count[~live].any() else evidence - (n * np.log(now)).sum()
        seen, expected = seen + count, expected + count.sum() * share
    return np.cumsum(found)
