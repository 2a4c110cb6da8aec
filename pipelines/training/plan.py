"""Which rows a training sees: partitions and table versions, pinned, and the rows themselves in order of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.use_case import PARTITION, Definitions, UseCase, features_table, labels_table
from pipelines.workspace import (
    Lake,
    Ledger,
    Registry,
    StageRun,
    Workspace,
    published_definitions,
    refuse_mixed_definitions,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrainingPlan:
    """Which rows a training sees: pinned table versions, so that it can be repeated from the very same rows."""

    use_case: str
    partition: str
    partitions: tuple[str, ...]
    versions: dict[str, int]
    holdout_from: str
    trained_through: str
    candidates: tuple[str, ...]
    champion: int | None
    rows: int
    definitions: Definitions = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """Rows in order of time, split at the plan's `holdout_from`: the newest are judged on, never searched on."""

    fit: pd.DataFrame
    holdout: pd.DataFrame

    @property
    def all(self) -> pd.DataFrame:
        import pandas as pd

        return pd.concat([self.fit, self.holdout])


@dataclass(frozen=True)
class TrainingRun:
    """A training at work: its plan, and the workspace that has the rows and gets the models."""

    workspace: Workspace
    use_case: UseCase
    plan: TrainingPlan

    @property
    def key(self) -> str:
        return self.plan.partition

    @property
    def lake(self) -> Lake:
        return self.workspace.lake

    @property
    def registry(self) -> Registry:
        return self.workspace.registry

    @property
    def ledger(self) -> Ledger:
        return self.workspace.ledger

    @cached_property
    def rows(self) -> Rows:
        """The planned rows, features and label joined one to one, oldest first; read once.

        Raises:
            PermanentError: nothing lies before, or from, `holdout_from`.
        """
        spec, day_of_holdout = self.use_case.features, self.plan.holdout_from
        features, labels = (self._planned(table(self.use_case)) for table in (features_table, labels_table))
        rows = features.merge(labels[[PARTITION, spec.key, "label"]], on=[PARTITION, spec.key], validate="one_to_one")
        rows = rows.sort_values([spec.date, spec.key], ignore_index=True)
        newest = rows[spec.date].astype(str) >= day_of_holdout
        fit, holdout = rows[~newest], rows[newest]
        if fit.empty or holdout.empty:
            raise PermanentError(f"{self}: no rows before or after {day_of_holdout}; see training.holdout_days")
        return Rows(fit, holdout)

    def _planned(self, table: str) -> pd.DataFrame:
        return self.lake.read(table, self.plan.partitions, self.plan.versions[table]).to_pandas()

    def __str__(self) -> str:
        return f"{self.use_case.name} {self.key}"


def plan_training(run: StageRun) -> TrainingPlan:
    """Choose and pin the rows.

    Raises:
        PermanentError: the partition itself is not ready, there is less than `training.min_history`, or
            features of some were built by another definition than today's.
    """
    features, labels, settings = features_table(run.use_case), labels_table(run.use_case), run.use_case.training
    labelled = run.lake.partitions(labels)
    newest = run.partitions[-1].key
    chosen = _chosen(run, [k for k in run.lake.partitions(features) if k in labelled and k <= newest])
    versions = {table: run.lake.version(table) for table in (features, labels)}
    built = published_definitions(run.lake, features, chosen, versions[features])
    champion = run.ledger.champion(run.use_case.name)
    return TrainingPlan(
        use_case=run.use_case.name,
        partition=run.key,
        partitions=tuple(chosen),
        versions=versions,
        holdout_from=(run.partition.end - timedelta(days=settings.holdout_days)).isoformat(),
        trained_through=(run.partition.end - timedelta(days=1)).isoformat(),
        candidates=tuple(settings.candidates),
        champion=champion.version if champion else None,
        rows=sum(labelled[key] for key in chosen),
        definitions=refuse_mixed_definitions(run.use_case, built),
    )


def _chosen(run: StageRun, ready: list[str]) -> list[str]:
    """The newest partitions that are ready, as far back as the settings allow; less than they ask for is an error."""
    settings = run.use_case.training
    if run.partitions[-1].key not in ready:
        raise PermanentError(f"{run}: no features and labels; run ingestion, features, labels for it")
    since = run.partition.end - settings.max_history if settings.max_history else date.min
    chosen = [partition for partition in map(run.use_case.partition, ready) if partition.start >= since]
    history = sum((partition.end - partition.start for partition in chosen), timedelta(0))
    if history < settings.min_history:
        raise PermanentError(
            f"{run}: {history.days} days with features and labels "
            f"({', '.join(p.key for p in chosen)}), but training.min_history is {settings.min_history.days} days"
        )
    return [partition.key for partition in chosen]
