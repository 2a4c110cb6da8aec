"""When the watched loss will cross its limit: an interval of dates, of the history of windows, with its own back-test.

A window's loss is its level plus the noise of finitely many rows; the level moves by a drift and a random walk. Each ratio of
walk to noise is weighed by how well it tells the history, and level, drift and noise are integrated out, so that a short
history gives a wide interval (ADR 28).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.monitoring.observations import Performance, latest
from pipelines.use_case import UseCase
from pipelines.workspace import Workspace

MIN_WINDOWS = 8
_NEWEST = 120  # windows: the walk forgets older ones, and the time grows with their cube
_ORIGINS, _SINCE = 20, 4  # of the back-test: as many at most, spread over the history, each with so many windows since
_DRAWS = 1000
_WALKS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # step of the level in a window, in standard deviations of the noise
_STILL = 3.0  # a level that does not walk is thought as likely as so many of the others

_Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Crossing:
    """The first window, from the newest known on, whose level (the loss without its noise) is above the threshold.

    It lies in `[earliest, latest]` with probability `coverage`, and is as likely before as after. Dates are windows' first
    days; None lies after `horizon`. Of `origins` past windows, `covered` had such an interval that what came then lay in.
    `lacking` says why nothing is known: then there are no dates.
    """

    threshold: float
    coverage: float
    lacking: str | None = None
    newest: date | None = None
    horizon: date | None = None
    earliest: date | None = None
    expected: date | None = None
    latest: date | None = None
    origins: int = 0
    covered: int = 0

    @property
    def words(self) -> str:
        """In one sentence, for people."""
        if self.lacking:
            return f"When the loss crosses {self.threshold:g} cannot be told: {self.lacking}."
        tested = f"back-tested: {self.covered} of {self.origins}" if self.origins else "too short a history for a back-test"
        return f"At this pace the loss {self._dates()} ({self.coverage:.0%}); {tested}."

    def _dates(self) -> str:
        if self.earliest is None:
            return f"stays within {self.threshold:g} through {self.horizon}"
        if self.latest is None:
            return f"crosses {self.threshold:g} not before {self.earliest}, and maybe not by {self.horizon}"
        if self.latest == self.newest:
            return f"is above {self.threshold:g} already"
        return f"crosses {self.threshold:g} between {self.earliest} and {self.latest}"


def forecast_loss(workspace: Workspace, use_case: UseCase) -> Crossing:
    """The forecast for the champion of now, of the windows that it served and whose outcomes are known."""
    settings, champion = use_case.monitoring, workspace.ledger.champion(use_case.name)
    history = []
    for key, seen in latest(workspace, use_case).items():
        window, measured = use_case.period(key), seen.performance
        if champion and measured and window.grain is use_case.window and measured.model_version == champion.version:
            history.append((window.start, _watched(measured)))
    known = [(day, loss) for day, loss in history if loss is not None]
    days = settings.forecast_horizon.days
    return forecast(known, _limit(use_case), settings.forecast_coverage, days, use_case.training.seed)


def _watched(measured: Performance) -> float | None:
    return measured.log_loss


def _limit(use_case: UseCase) -> float:
    return use_case.gates.max_log_loss


def forecast(
    history: Sequence[tuple[date, float]], threshold: float, coverage: float, horizon_days: int, seed: int
) -> Crossing:
    """When the loss crosses the threshold, of `history`: each window's first day and loss, in any order.

    Each end of the interval is passed with probability `(1 - coverage) / 2`; what lies more than `horizon_days` after the
    newest window is not looked at. Pure: the same arguments give the same dates.
    """
    if len(history) < MIN_WINDOWS:
        windows = f"{len(history)} window{'' if len(history) == 1 else 's'}"
        return Crossing(threshold, coverage, f"not enough history: {windows} of at least {MIN_WINDOWS}")
    days, losses = zip(*sorted(history)[-_NEWEST:], strict=True)
    spacing = float(np.median([(after - before).days for before, after in pairwise(days)]))
    known = _Known(np.array([(day - days[0]).days for day in days]) / spacing, np.array(losses))
    random, ahead = np.random.default_rng(seed), np.arange(int(horizon_days // spacing) + 1)
    positions = _first_above(_levels(known, known.times[-1] + ahead, random), threshold)
    ends = np.quantile(positions, [(1 - coverage) / 2, 0.5, (1 + coverage) / 2], method="inverted_cdf")
    earliest, expected, end = (days[-1] + timedelta(days=round(at * spacing)) if at < len(ahead) else None for at in ends)
    horizon = days[-1] + timedelta(days=horizon_days)
    tested = _back_test(known, max(len(ahead) - 1, 1), coverage, random)
    return Crossing(threshold, coverage, None, days[-1], horizon, earliest, expected, end, len(tested), sum(tested))


@dataclass(frozen=True)
class _Known:
    """Losses, and their times in windows since the first: what was not measured is a gap."""

    times: _Floats
    losses: _Floats

    def until(self, count: int) -> _Known:
        return _Known(self.times[:count], self.losses[:count])


def _back_test(known: _Known, ahead: int, coverage: float, random: np.random.Generator) -> list[bool]:
    """Of past windows, whether the highest loss of the `ahead` windows since lay where those until then foretold it.

    A threshold is crossed once the highest is above it: this asks of all thresholds what a crossing's date says of one, which
    the history need not have crossed; and of losses, as nobody sees a level.
    """
    last, found = len(known.times) - _SINCE, []
    origins = np.unique(np.linspace(MIN_WINDOWS, last, _ORIGINS).astype(int)) if last >= MIN_WINDOWS else ()
    for origin in origins:
        since = slice(origin, origin + ahead)
        foretold = _levels(known.until(origin), known.times[since], random, noise=1.0).max(axis=1)
        low, high = np.quantile(foretold, [(1 - coverage) / 2, (1 + coverage) / 2])
        found.append(bool(low <= known.losses[since].max() <= high))
    return found


def _first_above(levels: _Floats, threshold: float) -> NDArray[np.integer[Any]]:
    """Of each row the first position above the threshold; the number of positions where there is none."""
    above = levels > threshold
    return np.where(above.any(axis=1), above.argmax(axis=1), levels.shape[1])


def _levels(known: _Known, at: _Floats, random: np.random.Generator, noise: float = 0.0) -> _Floats:
    """Levels at the times `at`, given the losses: one path per row, drawn from what is known of them; with noise 1, losses.

    A Gaussian process, linear trend and random walk, with flat priors of level, drift and logarithm of the noise, and of the
    ratio of walk to noise over `_WALKS`. Source: Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006,
    ch. 2.7 (trend), 5.2 (ratio); Harvey, "Forecasting, Structural Time Series Models and the Kalman Filter", 1989, ch. 2.3.
    """
    fits = [_Fit(known, walk**2) for walk in _WALKS]
    evidence = np.array([fit.evidence for fit in fits])
    weights = np.exp(evidence - evidence.max()) * np.where(np.array(_WALKS) == 0, _STILL, 1.0)
    counts = random.multinomial(_DRAWS, weights / weights.sum())
    return np.concatenate([fit.draw(at, count, random, noise) for fit, count in zip(fits, counts, strict=True) if count])


class _Fit:
    """What is known at one ratio of the walk's variance in a window to that of the noise."""

    def __init__(self, known: _Known, ratio: float) -> None:
        times, losses = known.times, known.losses
        self.times, self.ratio, self.freedom = times, ratio, len(times) - 2
        trend = _trend(times)
        covariance = np.eye(len(times)) + self._walk(times, times)
        self.precision = np.linalg.inv(covariance)
        weighted = trend.T @ self.precision
        self.uncertainty = np.linalg.inv(weighted @ trend)
        self.coefficients = self.uncertainty @ weighted @ losses
        self.rest = losses - trend @ self.coefficients
        self.squares = max(float(self.rest @ self.precision @ self.rest), float(np.finfo(float).tiny))
        determinants = np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(self.uncertainty)[1]
        self.evidence = -0.5 * (determinants + self.freedom * np.log(self.squares))

    def _walk(self, one: _Floats, other: _Floats) -> _Floats:
        return self.ratio * np.minimum.outer(one, other)

    def draw(self, at: _Floats, count: int, random: np.random.Generator, noise: float) -> _Floats:
        gain = self._walk(at, self.times) @ self.precision
        unknown = _trend(at) - gain @ _trend(self.times)
        mean = _trend(at) @ self.coefficients + gain @ self.rest
        spread = self._walk(at, at) - gain @ self._walk(self.times, at) + unknown @ self.uncertainty @ unknown.T
        root = np.linalg.cholesky(spread + (noise + 1e-9 * np.trace(spread)) * np.eye(len(at)))
        scale = np.sqrt(self.squares / random.chisquare(self.freedom, (count, 1)))
        return mean + scale * (random.standard_normal((count, len(at))) @ root.T)


def _trend(times: _Floats) -> _Floats:
    return np.column_stack([np.ones_like(times), times])
