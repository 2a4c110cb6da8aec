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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol

from pipelines import scoring
from pipelines.errors import TransientError, in_words
from pipelines.experiments import Plan, opened, plan_of, record_failure, record_slowness, variants_of
from pipelines.scoring import HUNDRED
from pipelines.serving.inputs import unit_column
from pipelines.serving.rows import Rows
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

    def rows_for(self, by: Served, numbers: Sequence[int]) -> Rows | None:
        """Some of the rows, as a version takes them; None where the request does not have its features."""
        ...


@dataclass(frozen=True)
class ByKeys:
    keys: Sequence[Any]
    partition: str
    version: int

    def units(self, trial: Trial, plan: Plan) -> Sequence[str | None]:
        known = trial.published_units(self.partition, plan.unit)
        return [known.get(key, str(key)) for key in self.keys]

    def rows_for(self, by: Served, numbers: Sequence[int]) -> Rows | None:
        return by.lookup([self.keys[number] for number in numbers], self.partition, self.version).rows


@dataclass(frozen=True)
class ByFeatures:
    asked: Sequence[Row]
    features: frozenset[str]

    def units(self, trial: Trial, plan: Plan) -> Sequence[str | None]:
        return [_unit(trial.use_case, plan.unit, row) for row in self.asked]

    def rows_for(self, by: Served, numbers: Sequence[int]) -> Rows | None:
        if not self.features.issuperset(by.model.meta["features"]):
            return None
        return by.rows([self.asked[number] for number in numbers])


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


def _milliseconds(seconds: float, rows: int) -> float:
    """For up to a hundred of them."""
    return seconds * 1e3 / max(1, math.ceil(rows / HUNDRED))


class Latencies:
    """By challenger, how long its last requests took; kept while shares change, and with them the `Trial`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[object, deque[float]] = defaultdict(lambda: deque(maxlen=_LAST))

    def too_slow(self, whose: object, milliseconds: float, allowed: float) -> float | None:
        """The median, where three of four of the last were too slow: half of them are by luck where it is at the limit."""
        with self._lock:
            times = self._times[whose]
            times.append(milliseconds)
            if len(times) < _LAST or sorted(times)[_LAST // 4] <= allowed:
                return None
            slow = statistics.median(times)
            times.clear()
            return slow


class Trial:
    """The experiment that was opened last, by the ledger as it was read; `challengers` by version, those that load."""

    def __init__(
        self,
        workspace: Workspace,
        use_case: UseCase,
        decisions: Sequence[Decision],
        challengers: Mapping[int, Served],
        latencies: Latencies,
    ) -> None:
        self.workspace, self.use_case, self.challengers, self._latencies = workspace, use_case, challengers, latencies
        self.about = opened(decisions)[-1]
        self._unwritten: dict[str, Callable[[], None]] = {}  # by variant that could not answer, or was slow: its row
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
        in_time = _milliseconds(seconds, len(told)) <= plan.max_latency_ms  # where it is not, the machine is slow
        for variant in sorted({each for each in assigned if each} - {CHAMPION}):
            numbers = [number for number, each in enumerate(assigned) if each == variant]
            its = {"model_version": plan.versions[variant], "variant": variant, "weight": weights[variant]}
            for number, row in zip(numbers, self._of(variant, plan, key, asked, numbers, in_time) or (), strict=False):
                found[number] |= row | its
        return found

    def record_failures(self) -> None:
        """As bulk does: who could not answer, or was slow, is taken out, from the next partition on."""
        for variant, write in list(self._unwritten.items()):
            write()
            del self._unwritten[variant]

    def _run(self, key: str) -> StageRun:
        return StageRun(self.workspace, self.use_case, self.use_case.partition(key))

    def _of(self, variant: str, plan: Plan, key: str, asked: Asked, numbers: Sequence[int], in_time: bool) -> list[Row] | None:
        challenger = self.challengers.get(plan.versions[variant])
        if challenger is None:
            return None
        try:
            rows = asked.rows_for(challenger, numbers)
            if rows is None:
                return None
            began = time.perf_counter()
            told = challenger.told(rows)
            if in_time:
                self._timed(variant, plan, key, _milliseconds(time.perf_counter() - began, len(told)))
            return told
        except TransientError:  # what did not answer says nothing about the version
            return None
        except Exception as error:  # whatever stopped it, the champion has answered
            _LOG.exception("%s: %s, v%d, cannot answer", self.use_case.name, variant, plan.versions[variant])
            self._unwritten[variant] = partial(record_failure, self._run(key), plan, variant, in_words(error), [key])
            return None

    def _timed(self, variant: str, plan: Plan, key: str, milliseconds: float) -> None:
        slow = self._latencies.too_slow((plan.name, variant), milliseconds, plan.max_latency_ms)
        if slow is not None:
            self._unwritten[variant] = partial(record_slowness, self._run(key), plan, variant, slow, [key])

    def _read_units(self, partition: str, column: str, version: int) -> Mapping[object, str]:
        return scoring.units_by_key(self._run(partition), partition, column)
