"""The search for a candidate's best parameters, over time-ordered folds of the rows before the holdout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import PermanentError
from pipelines.training.estimators import evaluate_on, fit, suggest
from pipelines.use_case import Candidate, UseCase

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    Folds = list[tuple[pd.Series, pd.Series]]


@dataclass(frozen=True)
class Found:
    """The best parameters, their mean log loss over the folds, and how many trials ran."""

    params: dict[str, Any]
    log_loss: float
    trials: int


def search(use_case: UseCase, candidate: Candidate, rows: pd.DataFrame) -> Found:
    """Optuna's TPE with median pruning, within `training.trials` and `training.seconds`.

    Every trial is judged on the same expanding, time-ordered folds: a fold's validation days all come after its fitting
    days.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = use_case.training
    newest = newest_rows(rows, use_case)
    folds = time_folds(newest[use_case.features.date], settings.folds)

    def objective(trial: optuna.Trial) -> float:
        return _folds_loss(use_case, candidate, newest, folds, trial)

    sampler = optuna.samplers.TPESampler(seed=settings.seed)
    study = optuna.create_study(direction="minimize", sampler=sampler, pruner=optuna.pruners.MedianPruner(n_startup_trials=2))
    study.optimize(objective, n_trials=settings.trials if candidate.search else 1, timeout=settings.seconds)
    return Found(params=dict(study.best_params), log_loss=float(study.best_value), trials=len(study.trials))


def newest_rows(rows: pd.DataFrame, use_case: UseCase) -> pd.DataFrame:
    """At most `training.search_rows`: the newest; where these are too few days for the folds, a sample within more days."""
    import math

    settings, date = use_case.training, use_case.features.date
    newest = rows.tail(settings.search_rows)
    days = 2 * settings.folds  # as many as the first fold fits on and each validates one
    if len(newest) == len(rows) or newest[date].nunique() >= days:
        return newest
    wanted = rows[rows[date].isin(sorted(rows[date].unique())[-days:])]
    share = settings.search_rows / len(wanted)
    sample = wanted.groupby(date, group_keys=False)
    return sample.apply(lambda day: day.sample(math.floor(len(day) * share), random_state=settings.seed)).sort_index()


def _folds_loss(use_case: UseCase, candidate: Candidate, rows: pd.DataFrame, folds: Folds, trial: optuna.Trial) -> float:
    import optuna

    params, total = suggest(trial, candidate), 0.0
    for number, (before, after) in enumerate(folds):
        pipeline = fit(use_case, candidate, params, rows[before])
        total += evaluate_on(pipeline, use_case, rows[after])["log_loss"] or float("inf")
        trial.report(total / (number + 1), number)
        if trial.should_prune() and number + 1 < len(folds):
            raise optuna.TrialPruned
    return total / len(folds)


def time_folds(dates: pd.Series, folds: int) -> Folds:
    """Expanding windows over whole days, validated on the newer half: boolean masks (fit, validate); no day is on both sides.

    Raises:
        PermanentError: fewer days than folds.
    """
    from sklearn.model_selection import TimeSeriesSplit

    days = sorted(dates.unique())
    if len(days) <= folds:
        raise PermanentError(f"{len(days)} days are too few for {folds} folds; lower training.folds or wait for more data")
    found = []
    # The first fold fits on half of the days: on less, plain models win only because they need little data.
    for before, after in TimeSeriesSplit(n_splits=folds, test_size=max(len(days) // (2 * folds), 1)).split(days):
        first, last = days[after[0]], days[after[-1]]
        found.append((dates < days[before[-1] + 1], (dates >= first) & (dates <= last)))
    return found
