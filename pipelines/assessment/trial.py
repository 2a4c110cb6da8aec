"""Shallow models that tell what the data can do, before the real ones are trained.

They see a bounded, seeded sample of the rows before the holdout: its older three quarters to be fitted on, its newest
quarter to be scored on. Random probes, columns of noise, show how much of a feature's worth is luck.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipelines.use_case import UseCase

_FIT_SHARE = 0.75
_PROBES = tuple(f"random probe {number}" for number in range(1, 9))
_SMALLEST_SUBSET = 50
_IMPORTANCE_ROWS = 3000


@dataclass(frozen=True)
class Curve:
    """Log loss on the newest rows, after a fit on the `sizes` rows before them; `rows` is how many there are in all."""

    sizes: tuple[int, ...]
    losses: tuple[float, ...]
    rows: int


@dataclass(frozen=True)
class Power:
    """A shallow model on all features, and a dummy that knows none, on newer rows; guessing hardly exceeds `lucky_auc`."""

    auc: float
    lucky_auc: float
    log_loss: float
    dummy_log_loss: float


@dataclass(frozen=True)
class Alone:
    """AUC of each feature by itself, and of each random probe, on newer rows."""

    aucs: dict[str, float]
    probes: tuple[float, ...]


@dataclass(frozen=True)
class Importances:
    """By how much log loss grows when a feature is shuffled, and when a random probe is."""

    features: dict[str, float]
    probes: tuple[float, ...]


class Trial:
    """Each measure fits what it needs; the sample is drawn once."""

    def __init__(self, use_case: UseCase, rows: Any) -> None:
        self.use_case = use_case
        self.rows = rows

    @cached_property
    def parts(self) -> tuple[Any, Any]:
        """The sample's older rows and its newer ones, with the random probes as columns; no day is on both sides."""
        import numpy as np

        seed, date = self.use_case.training.seed, self.use_case.features.date
        count = min(len(self.rows), self.use_case.assessment.sample_rows)
        # Rows come in order of time, which their index has.
        sample = self.rows.sample(count, random_state=seed).sort_index()
        probes = np.random.default_rng(seed).normal(size=(count, len(_PROBES)))
        sample = sample.assign(**dict(zip(_PROBES, probes.T, strict=True)))
        first_newer = sample[date].iloc[int(count * _FIT_SHARE)]
        return sample[sample[date] < first_newer], sample[sample[date] >= first_newer]

    def curve(self) -> Curve:
        """Subsets are the newest half, quarter, ... of the older rows: what a shorter past would have given."""
        import numpy as np
        import pandas as pd
        from sklearn.model_selection import learning_curve

        older, newer = self.parts
        both, count = pd.concat([older, newer]), len(older)
        newest_first = np.arange(count)[::-1], np.arange(count, len(both))
        sizes = [count >> step for step in range(5, -1, -1) if count >> step >= _SMALLEST_SUBSET]
        found = learning_curve(
            self._model(self._names), both[self._names], both["label"], train_sizes=sizes, cv=[newest_first],
            scoring="neg_log_loss", error_score=np.nan,
        )  # fmt: skip
        known = [(int(size), -float(score[0])) for size, score in zip(found[0], found[2], strict=True) if np.isfinite(score[0])]
        return Curve(tuple(size for size, _ in known), tuple(loss for _, loss in known), len(self.rows))

    def power(self) -> Power:
        from sklearn.dummy import DummyClassifier
        from sklearn.metrics import log_loss, roc_auc_score

        older, newer = self.parts
        models = self._model(self._names), DummyClassifier(strategy="prior")
        fitted = [model.fit(older[self._names], older["label"]) for model in models]
        mine, dummy = (model.predict_proba(newer[self._names])[:, 1] for model in fitted)
        auc = float(roc_auc_score(newer["label"], mine))
        loss, base = (float(log_loss(newer["label"], p, labels=[0, 1])) for p in (mine, dummy))
        return Power(auc, lucky_auc(newer["label"]), loss, base)

    def alone(self) -> Alone:
        """A small tree per column; a category counts as its share of positive labels among the older rows."""
        from sklearn.metrics import roc_auc_score
        from sklearn.tree import DecisionTreeClassifier

        older, newer = self.parts
        columns = self._columns([*self._names, *_PROBES])
        before, after = columns.fit_transform(older, older["label"]), columns.transform(newer)
        tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=max(len(older) // 100, 5), random_state=0)
        found = {}
        for name in before.columns:
            probability = tree.fit(before[[name]], older["label"]).predict_proba(after[[name]])[:, 1]
            found[name] = float(roc_auc_score(newer["label"], probability))
        return Alone({name: found[name] for name in self._names}, tuple(found[probe] for probe in _PROBES))

    def importances(self) -> Importances:
        from sklearn.inspection import permutation_importance

        older, newer = self.parts
        names, seed = [*self._names, *_PROBES], self.use_case.training.seed
        model = self._model(names).fit(older[names], older["label"])
        few = newer.sample(min(len(newer), _IMPORTANCE_ROWS), random_state=seed)
        found = permutation_importance(model, few[names], few["label"], scoring="neg_log_loss", n_repeats=3, random_state=seed)
        means = dict(zip(names, map(float, found.importances_mean), strict=True))
        return Importances({name: means[name] for name in self._names}, tuple(means[probe] for probe in _PROBES))

    @property
    def _names(self) -> list[str]:
        return list(self.use_case.features.names)

    def _model(self, names: list[str]) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.pipeline import make_pipeline

        trees = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=8, early_stopping=False, random_state=0)
        return make_pipeline(self._columns(names), trees)

    def _columns(self, names: list[str]) -> Any:
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.model_selection import StratifiedKFold
        from sklearn.preprocessing import TargetEncoder

        categorical = [name for name in names if name in self.use_case.features.categorical]
        numeric = [name for name in names if name not in categorical]
        # A column without any value in a small subset stays a column, which gradient boosting would stumble over.
        impute = SimpleImputer(strategy="median", keep_empty_features=True)
        folds = StratifiedKFold(5, shuffle=True, random_state=self.use_case.training.seed)
        encode = TargetEncoder(target_type="binary", cv=folds)
        found = ColumnTransformer(
            [("numeric", impute, numeric), ("categorical", encode, categorical)], verbose_feature_names_out=False
        )
        return found.set_output(transform="pandas")


def lucky_auc(label: Any) -> float:
    """Two standard deviations above one half, over all orders of the rows.

    Source: Mann & Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger", 1947.
    """
    positive = int(label.sum())
    negative = len(label) - positive
    return 0.5 + 2 * math.sqrt((len(label) + 1) / (12 * positive * negative))
