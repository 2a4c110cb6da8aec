"""Which candidate goes before the gates: the best by its folds, unless a simple one does as well."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

from pipelines.gates.evidence import Array
from pipelines.metrics import losses
from pipelines.training import Trained, TrainingRun
from pipelines.use_case import UseCase
from pipelines.workspace import Model

_log = logging.getLogger(__name__)
Scorer = Callable[[str], tuple[Model, Array]]


def scorer(training: TrainingRun) -> Scorer:
    """From a model's address to the model and its probabilities on the holdout; each is loaded and asked once."""

    @cache
    def score(model_uri: str) -> tuple[Model, Array]:
        model = training.registry.load_uri(training.use_case.name, model_uri)
        return model, model.predict(training.rows.holdout)

    return score


def choose(use_case: UseCase, trained: list[Trained]) -> Trained:
    """The lowest log loss over the folds; a complex model has to beat the best simple one by the margin."""
    best, simple = min(trained, key=lambda t: t.folds_log_loss), plainest(use_case, trained)
    if simple is None:
        return best
    return best if simple.folds_log_loss - best.folds_log_loss >= use_case.gates.min_gain_over_simple else simple


def settle(training: TrainingRun, trained: list[Trained], score: Scorer) -> Trained:
    """The chosen candidate; a complex one that does not beat the simple one on the holdout too loses to it."""
    chosen, simple = choose(training.use_case, trained), plainest(training.use_case, trained)
    if simple is None or simple is chosen:
        return chosen
    label = training.rows.holdout["label"].to_numpy()
    mine, plain = (losses(label, score(t.model_uri)[1]).mean() for t in (chosen, simple))
    if plain - mine >= training.use_case.gates.min_gain_over_simple:
        return chosen
    _log.warning("%s does not beat %s on newer rows and loses to it", chosen.candidate, simple.candidate)
    return simple


def plainest(use_case: UseCase, trained: list[Trained]) -> Trained | None:
    """The best of the simple candidates."""
    simple = [t for t in trained if use_case.training.candidates[t.candidate].simple]
    return min(simple, key=lambda t: t.folds_log_loss, default=None)
