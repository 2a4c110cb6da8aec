"""While an experiment runs: whose row it is, by the hash, shares and units of bulk, and what that variant says of it.

The champion answers first; a challenger's answer takes its place where the row's unit is assigned to it. So the champion's
stays where a challenger cannot answer.
"""

from __future__ import annotations

import logging
import math
import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from pipelines import scoring
from pipelines.errors import TransientError, in_words
from pipelines.experiments import Plan, opened, plan_of, record_failure, record_slowness, variants_of
from pipelines.scoring import HUNDRED
from pipelines.serving.inputs import unit_column
from pipelines.serving.spool import Row
from pipelines.use_case import ColumnType, UseCase, source_table
from pipelines.workspace import CHAMPION, Decision, StageRun, Workspace

if TYPE_CHECKING:
    from pipelines.serving.champion import Served

_LOG = logging.getLogger(__name__)
_LAST = 100  # requests that tell whether a challenger is slow


class Asked(Protocol):
    """The rows of a request, however they were asked for."""

    def units(self, trial: Trial, plan: Plan) -> Sequence[str | None]:
        """None of a row whose unit nobody knows."""
        ...

    def told(self, by: Served, numbers: Sequence[int]) -> list[Row] | None:
        """What a version says of some of the rows; None where the request does not have its features."""
        ...


@dataclass(frozen=True)
class ByKeys:
    keys: Sequence[Any]
    partition: str
    version: int

    def units(self, trial: Trial, plan: Plan) -> Sequence[str | None]:
        known = trial.published_units(self.partition, plan.unit)
        return [known.get(key, str(key)) for key in self.keys]

    def told(self, by: Served, numbers: Sequence[int]) -> list[Row] | None:
        keys = [self.keys[number] for number in numbers]
        return by.told(by.lookup(keys, self.partition, self.version).rows)


@dataclass(frozen=True)
class ByFeatures:
    rows: Sequence[Row]
    features: frozenset[str]

    def units(self, trial: Trial, plan: Plan) -> Sequence[str | None]:
        return [_unit(trial.use_case, plan.unit, row) for row in self.rows]

    def told(self, by: Served, numbers: Sequence[int]) -> list[Row] | None:
        if not self.features.issuperset(by.model.meta["features"]):
            return None
        return by.told(by.rows([self.rows[number] for number in numbers]))


def _unit(use_case: UseCase, name: str | None, row: Row) -> str | None:
    """As bulk writes it, by the column's own type; a row that has none is a unit of its own, if it says its key."""
    key = row.get(use_case.features.key)
    column = None if name is None else unit_column(use_case, name)
    if name is not None and (column is None or name not in row):
        return None
    value = None if name is None else row[name]
    if value is None or column is None:
        return None if key is None else str(key)
    return str(int(value)) if column.type is ColumnType.INTEGER else str(value)


def _milliseconds(seconds: float, rows: Sequence[Row]) -> float:
    """For up to a hundred of them."""
    return seconds * 1e3 / max(1, math.ceil(len(rows) / HUNDRED))


class Trial:
    """The experiment that was opened last, by the ledger as it was read; `challengers` by version, those that load."""

    def __init__(
        self, workspace: Workspace, use_case: UseCase, decisions: Sequence[Decision], challengers: Mapping[int, Served]
    ) -> None:
        self.workspace, self.use_case, self.challengers = workspace, use_case, challengers
        self.about = opened(decisions)[-1]
        self.failures: dict[str, tuple[Plan, str, str]] = {}  # by variant: how it was asked, about which partition, why
        self.slow: dict[str, tuple[Plan, str, float]] = {}  # likewise, and in how many milliseconds
        self._lock = threading.Lock()
        self._times: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_LAST))
        self._plan = lru_cache(maxsize=64)(lambda key: plan_of(decisions, key))
        self._units = lru_cache(maxsize=4)(self._read_units)

    def plan(self, key: str) -> Plan | None:
        """How rows of a partition are answered; None where this experiment does not run on it."""
        plan = self._plan(key)
        return plan if plan and plan.name == self.about.spec.name else None

    def published_units(self, partition: str, column: str | None) -> Mapping[object, str]:
        if column is None:
            return {}
        table = source_table(self.use_case, self.use_case.features.entity)
        return self._units(partition, column, self.workspace.lake.version(table))

    def answer(self, plan: Plan, key: str, told: list[Row], asked: Asked, seconds: float) -> list[Row]:
        """The champion's rows, `told` in so many seconds, and in their place those of the challengers that are assigned."""
        units, weights = asked.units(self, plan), plan.weights
        whose = iter(variants_of(plan.salt, [unit for unit in units if unit is not None], plan.owners).tolist())
        assigned = [None if unit is None else next(whose) for unit in units]
        mine: Row = {"model_version": plan.versions[CHAMPION], "variant": CHAMPION, "weight": weights[CHAMPION]}
        found = [row | mine | {"unit": u, "assigned": a} for row, u, a in zip(told, units, assigned, strict=True)]
        for variant in sorted({each for each in assigned if each} - {CHAMPION}):
            numbers = [number for number, each in enumerate(assigned) if each == variant]
            its = {"model_version": plan.versions[variant], "variant": variant, "weight": weights[variant]}
            began = time.perf_counter()
            its_rows = self._of(variant, plan, key, asked, numbers) or []
            for number, row in zip(numbers, its_rows, strict=False):
                found[number] |= row | its
            if its_rows and _milliseconds(seconds, told) <= plan.max_latency_ms:  # or it is the machine that is slow
                self._timed(variant, plan, key, _milliseconds(time.perf_counter() - began, its_rows))
        return found

    def record_failures(self) -> None:
        """As bulk does: who could not answer, or was slow, is taken out, from the next partition on."""
        while self.failures:
            variant, (plan, key, error) = self.failures.popitem()
            record_failure(self._run(key), plan, variant, error, [key])
        while self.slow:
            variant, (plan, key, latency) = self.slow.popitem()
            record_slowness(self._run(key), plan, variant, latency, [key])

    def _run(self, key: str) -> StageRun:
        return StageRun(self.workspace, self.use_case, self.use_case.partition(key))

    def _of(self, variant: str, plan: Plan, key: str, asked: Asked, numbers: Sequence[int]) -> list[Row] | None:
        challenger = self.challengers.get(plan.versions[variant])
        if challenger is None:
            return None
        try:
            return asked.told(challenger, numbers)
        except TransientError:  # what did not answer says nothing about the version
            return None
        except Exception as error:  # whatever stopped it, the champion has answered
            _LOG.exception("%s: %s, v%d, cannot answer", self.use_case.name, variant, plan.versions[variant])
            self.failures[variant] = plan, key, in_words(error)
            return None

    def _timed(self, variant: str, plan: Plan, key: str, milliseconds: float) -> None:
        """Slow is who was so in three of four of its last requests: half of them would be reached by luck at the limit."""
        with self._lock:
            times = self._times[variant]
            times.append(milliseconds)
            if len(times) == times.maxlen and sorted(times)[len(times) // 4] > plan.max_latency_ms:
                self.slow[variant] = plan, key, statistics.median(times)
                times.clear()

    def _read_units(self, partition: str, column: str, version: int) -> Mapping[object, str]:
        return scoring.units_by_key(self._run(partition), partition, column)
