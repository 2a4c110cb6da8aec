"""The champion that answers: followed through the ledger, tried before it takes over, kept while another does not load."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from pipelines import scoring
from pipelines.errors import PermanentError, in_words
from pipelines.experiments import KINDS, opened
from pipelines.serving.rows import SAME, Columns, Rows, probabilities
from pipelines.serving.spool import Row
from pipelines.serving.trial import Latencies, Trial
from pipelines.use_case import Partition, UseCase, decisions_table, features_table
from pipelines.workspace import CHAMPION, Champion, Decision, Model, Workspace, feature_rows

if TYPE_CHECKING:
    from pandas import DataFrame

_LOG = logging.getLogger(__name__)
_AGAIN = 20.0  # seconds until what did not load is tried again, if the ledger says nothing new


class Unknown(Exception):
    """Keys, by row, that have no published features; or the whole partition."""

    def __init__(self, partition: str, keys: dict[int, object]) -> None:
        super().__init__(partition, keys)
        self.partition, self.keys = partition, keys


@dataclass(frozen=True)
class Looked:
    """Rows of published features, in the order that was asked for, and the version of their table."""

    rows: Rows
    partition: str
    version: int


@dataclass(frozen=True)
class _Published:
    partition: str
    rows: Rows
    places: dict[Any, int]  # by key


class Served:
    """A loaded champion, and all that its answers need; or a challenger of it. `trial` is the experiment that it is part of."""

    def __init__(self, workspace: Workspace, use_case: UseCase, champion: Champion, model: Model) -> None:
        self.workspace, self.use_case, self.champion, self.model = workspace, use_case, champion, model
        self.since = workspace.clock.now()
        self.trial: Trial | None = None
        self._published = lru_cache(maxsize=4)(self._read)
        self._categories, self._columns = _categories(model), Columns(use_case, model)
        self._probabilities = probabilities(model, self._columns, self.rows(self._probes()))

    @property
    def example(self) -> list[dict[str, Any]]:
        """Rows of its training, with its scores unless it was logged before these were kept."""
        return self.model.meta["example"]["rows"] if "example" in self.model.meta else []

    @property
    def age(self) -> float:
        """Seconds since it became champion."""
        return (self.workspace.clock.now() - datetime.fromisoformat(self.champion.at)).total_seconds()

    @property
    def today(self) -> str:
        """The partition of now."""
        day = self.workspace.clock.now().astimezone(ZoneInfo(self.use_case.timezone)).date()
        return Partition.of(day, self.use_case.grain).key

    def rows(self, records: list[dict[str, Any]]) -> Rows:
        """Rows of a request."""
        return self._columns.of(records)

    def frame(self, rows: Rows) -> DataFrame:
        return self._columns.frame(rows)

    def predict(self, rows: Rows) -> dict[str, list[Any]]:
        """Of each row its key, the probability and the action that the threshold asks for."""
        probability = self._probabilities(rows)
        act = probability >= self.use_case.scoring.threshold
        return {self.use_case.features.key: rows.keys, "probability": probability.tolist(), "act": act.tolist()}

    def told(self, rows: Rows) -> list[Row]:
        """`predict`, row by row."""
        columns = self.predict(rows)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def during(self, trial: Trial | None) -> Served:
        found = copy(self)
        found.trial = trial
        return found

    def lookup(self, keys: Sequence[Any], partition: str | None, version: int | None = None) -> Looked:
        """Published features of these rows, now or at a version; without a partition, of the newest.

        Raises:
            Unknown: there are none.
            PermanentError: they are not those that the model was trained on.
        """
        version = self.workspace.lake.version(features_table(self.use_case)) if version is None else version
        found = self._published(partition, version)
        missing = {number: key for number, key in enumerate(keys) if key not in found.places}
        if missing:
            raise Unknown(found.partition, missing)
        return Looked(found.rows[[found.places[key] for key in keys]], found.partition, version)

    def odd(self, rows: Rows) -> dict[tuple[str, str], int]:
        """By feature and kind, how many values are missing or no category that the training knew."""
        missing = np.isnan(rows.numbers).sum(axis=0).tolist()
        found = dict(zip(((name, "missing") for name in self._columns.numbers), missing, strict=True))
        for name, values in zip(self._columns.texts, rows.texts.T.tolist(), strict=True):
            known = self._categories.get(name)
            found[name, "missing"] = values.count(None)
            if known is not None:
                found[name, "unknown"] = sum(value is not None and value not in known for value in values)
        return {about: count for about, count in found.items() if count}

    def _probes(self) -> list[dict[str, Any]]:
        """The example, a row of which nothing is known, and one of categories that the training did not know."""
        return [*self.example, {}, dict.fromkeys(self._categories, "?")]

    def _read(self, partition: str | None, version: int) -> _Published:
        known = list(self.workspace.lake.partitions(features_table(self.use_case), version))
        partition = partition or known[-1]
        if partition not in known:
            raise Unknown(partition, {})
        rows = self._columns.published(feature_rows(self.workspace, self.use_case, self.model, [partition], version))
        return _Published(partition, rows, {key: place for place, key in enumerate(rows.keys)})


def _categories(model: Model) -> dict[str, set[Any]]:
    """By categorical feature, what the training knew; a model without any has no such encoder."""
    encoder = model.pipeline.named_steps["columns"].named_transformers_["categorical"]
    known = getattr(encoder, "categories_", ())
    return {name: set(found) for name, found in zip(getattr(encoder, "feature_names_in_", ()), known, strict=True)}


def load(workspace: Workspace, use_case: UseCase, champion: Champion) -> Served:
    """Load the version and try it: each row of its example gets the score that it had when the model was logged.

    Raises:
        PermanentError: it does not load, or answers otherwise.
    """
    served = Served(workspace, use_case, champion, workspace.registry.load(use_case.name, champion.version))
    # One from before there were examples is at least asked about a row of which nothing is known.
    rows = served.rows(served.example or [{}])
    scoring.rehearse(use_case, served.model, served.frame(rows))
    example = served.model.meta.get("example")
    if example and not np.allclose(served.predict(rows)["probability"], example["probability"], rtol=0, atol=SAME):
        raise PermanentError(f"{use_case.name} v{champion.version}: does not give its example the scores that it had")
    return served


class Follower:
    """Looks at the ledger and hands a new champion over, loaded and tried, as a whole; None where there is none.

    So are the challengers of its experiment. One that does not load is an alarm, and the champion answers for it.
    """

    def __init__(self, workspace: Workspace, use_case: UseCase, adopt: Callable[[Served | None], None]) -> None:
        self.workspace, self.use_case, self.adopt = workspace, use_case, adopt
        self.alarm: str | None = None
        self._decisions: list[str] | None = None  # that made who answers
        self._served: Served | None = None
        self._challengers, self._latencies = dict[int, Served](), Latencies()
        self._seen: int | None = None  # version of the ledger
        self._failed: tuple[int | None, float] = (None, 0.0)  # likewise, and when it may be tried again

    def look(self) -> None:
        """Adopt the ledger's champion if it is another; whatever goes wrong, the one before answers on, and it is told."""
        version = None
        try:
            if self._served and self._served.trial:
                self._served.trial.record_failures()
            version = self._ledger()
            if version != self._seen:
                if version == self._failed[0] and time.monotonic() < self._failed[1]:
                    return
                self._follow()
            self._seen, self.alarm = version, None
        except Exception as error:  # nothing about a new model may stop the old one
            self._failed = version, time.monotonic() + _AGAIN
            self._tell(error)

    def _tell(self, error: Exception | None) -> None:
        before, self.alarm = self.alarm, in_words(error) if error else None
        if self.alarm not in (None, before):
            _LOG.error("%s: what the ledger says is not served: %s", self.use_case.name, self.alarm)

    def _ledger(self) -> int:
        table = decisions_table(self.use_case.name)
        return self.workspace.lake.version(table) if self.workspace.lake.exists(table) else -1

    def _follow(self) -> None:
        decisions = self.workspace.ledger.decisions(self.use_case.name)
        champion = self.workspace.ledger.champion(self.use_case.name)
        made = [champion.decision if champion else "", *(d.id for d in decisions if d.kind in KINDS)]
        if self._seen is None or made != self._decisions:
            served = self._load(champion)
            served, missing = self._with_trial(served, decisions) if served else (None, [])
            replaces, self._served = self._served is not None, served
            self._decisions = None if missing else made
            unserved = PermanentError(f"the champion answers for {'; '.join(missing)}") if missing else None
            self._tell(unserved)  # before it answers: who is answered by the new one sees no alarm of the old one
            self.adopt(served)
            if replaces:
                gc.collect()  # applications are cycles: dozens, with their models, would wait for Python's own rare look
            _LOG.info("%s: %s answers, by %s", self.use_case.name, f"v{champion.version}" if champion else "nobody", made[-1])
            if unserved:
                raise unserved

    def _load(self, champion: Champion | None) -> Served | None:
        """The one before where it is by the same decision."""
        if champion is None or (self._served and self._served.champion.decision == champion.decision):
            return self._served if champion else None
        return load(self.workspace, self.use_case, champion)

    def _with_trial(self, served: Served, decisions: Sequence[Decision]) -> tuple[Served, list[str]]:
        """The champion with its experiment, where one runs; and the challengers that do not load, with what they trip over."""
        about = next(iter(opened(decisions)[::-1]), None)
        over = about is not None and about.ended is not None and str(about.ended.effective_from) <= served.today
        if about is None or over or about.versions[CHAMPION] != served.champion.version:
            self._challengers = {}
            return served.during(None), []
        found, missing = dict[int, Served](), list[str]()
        for variant, version in about.versions.items():
            try:
                if version != served.champion.version:
                    found[version] = self._challengers.get(version) or load(
                        self.workspace, self.use_case, replace(served.champion, version=version)
                    )
            except Exception as error:  # nothing about a challenger may stop the champion
                missing.append(f"{variant}, v{version}, of '{about.spec.name}' ({in_words(error)})")
        self._challengers = found
        return served.during(Trial(self.workspace, self.use_case, decisions, found, self._latencies)), missing
