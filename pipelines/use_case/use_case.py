"""A use case: one YAML file, one model in production. Frozen, typed, unknown keys refused with the nearest valid one."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from pipelines.errors import PermanentError
from pipelines.use_case.assessment import Assessment
from pipelines.use_case.contract import ColumnType, Contract
from pipelines.use_case.experiment import EXPERIMENT_COLUMNS, Experiment
from pipelines.use_case.features import Features
from pipelines.use_case.gates import Gates
from pipelines.use_case.label import Label
from pipelines.use_case.monitoring import Monitoring
from pipelines.use_case.partitions import LONGER, Grain, Partition
from pipelines.use_case.retraining import Retraining
from pipelines.use_case.schedules import Schedules, stop_at_bad_cron
from pipelines.use_case.scoring import Scoring, stop_at_prediction_column
from pipelines.use_case.section import PARTITION, Name, Section, nearest, stop_at_same_names
from pipelines.use_case.sources import Source
from pipelines.use_case.tables import stop_at_taken
from pipelines.use_case.training import Training
from pipelines.use_case.value import Value


class UseCase(Section):
    """One model in production, as its file declares it."""

    name: Name
    title: str
    owner: str
    purpose: str
    grain: Grain
    timezone: str = "UTC"
    tags: tuple[str, ...] = ()
    limits: tuple[str, ...] = Field((), description="what the model is not for; shown on its card")
    approval: Literal["automatic", "required"] = "required"
    approvers: str = Field("model-approvers", description="group of the environment whose members may approve")
    approval_deadline: timedelta = Field(timedelta(days=3), gt=timedelta(0), description="no answer until then is a no")
    alias_moved: Literal["put_back", "accept"] = Field(
        "put_back", description="when the champion alias was moved outside the pipeline"
    )
    schedules: Schedules = Schedules()
    keep_versions_for: timedelta = Field(
        timedelta(days=90), ge=timedelta(days=7), description="how long an older version of a table can be put back"
    )
    keep_quarantine_for: timedelta = Field(
        timedelta(days=365), ge=timedelta(days=1), description="how long the quarantine keeps the text of rejected rows"
    )
    sources: dict[Name, Source]
    contract: dict[Name, Contract]
    label: Label
    features: Features
    training: Training
    assessment: Assessment = Assessment()
    gates: Gates = Gates()
    value: Value | None = None
    scoring: Scoring = Scoring()
    monitoring: Monitoring = Monitoring()
    retraining: Retraining = Retraining()
    experiment: Experiment | None = None

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"unknown time zone '{zone}': use an IANA name such as America/New_York") from None
        return zone

    @model_validator(mode="after")
    def _tables_exist(self) -> UseCase:
        tables = set(self.sources)
        uses = {"label.source": self.label.source, "features.entity": self.features.entity}
        uses |= {f"features.joins.{i}.table": j.table for i, j in enumerate(self.features.joins)}
        uses |= {f"contract.{name}": name for name in self.contract}
        for where, table in uses.items():
            if table not in tables:
                raise ValueError(f"{where}: no table '{table}' among the sources{nearest(table, tables)}")
        for table in sorted(tables - set(self.contract)):
            raise ValueError(f"contract: source '{table}' has no contract; add contract.{table}")
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> UseCase:
        for column in (*self.features.categorical, *self.features.segments, *self.features.sparse):
            if column not in self.features.names:
                hint = nearest(column, self.features.names)
                raise ValueError(f"features.categorical/segments/sparse: no feature '{column}'{hint}")
        uses = [("label", self.label.source, c) for c in (self.label.column, self.label.known_at, self.features.key)]
        uses += [("features", self.features.entity, c) for c in (self.features.key, self.features.date)]
        uses += [(f"sources.{n}.time_column", n, s.time_column) for n, s in self.sources.items() if s.time_column]
        for where, table, column in uses:
            columns = self.contract[table].columns
            if column not in columns:
                raise ValueError(f"{where}: '{column}' is no column of {table}{nearest(column, columns)}")
        return self

    @model_validator(mode="after")
    def _times_are_times(self) -> UseCase:
        for name, source in self.sources.items():
            kind = self.contract[name].columns[source.time_column].type if source.time_column else None
            if kind not in (None, ColumnType.DATE, ColumnType.TIMESTAMP):
                raise ValueError(f"sources.{name}.time_column: '{source.time_column}' is a {kind}, must be a date or timestamp")
        known = self.contract[self.label.source].columns[self.label.known_at].type
        if known is not ColumnType.TIMESTAMP:
            raise ValueError(f"label.known_at: '{self.label.known_at}' is a {known}, which does not say at what time of a day")
        return self

    @model_validator(mode="after")
    def _outcomes_are_observed(self) -> UseCase:
        source = self.sources[self.label.source]
        if source.forecast or source.snapshot:
            kind = "forecast" if source.forecast else "snapshot"
            raise ValueError(
                f"label.source: '{self.label.source}' is a {kind}; what happened is observed, partition after partition"
            )
        return self

    @model_validator(mode="after")
    def _names_are_free(self) -> UseCase:
        for source in self.sources:
            stop_at_taken(source)
        stop_at_prediction_column(self.features.key)
        spec = self.features
        stop_at_same_names([spec.key, spec.date, *spec.names, PARTITION])
        stop_at_same_names([*self.contract[spec.entity].columns, *(alias for join in spec.joins for alias in join.columns)])
        return self

    @model_validator(mode="after")
    def _joins_find_one_partner(self) -> UseCase:
        mine = self.contract[self.features.entity].columns
        for number, join in enumerate(self.features.joins):
            where, theirs, source = f"features.joins.{number}.match", self.contract[join.table], self.sources[join.table]
            if join.table == self.label.source:
                raise ValueError(f"features.joins.{number}.table: '{join.table}' holds the label itself; use features.history")
            if not (source.snapshot or source.forecast or source.time_column):
                raise ValueError(f"sources.{join.table}: nobody knows when its rows were known; add time_column, or forecast")
            if not (source.snapshot or source.forecast) and (wide := join.unbounded_windows(str(source.time_column))):
                raise ValueError(
                    f"features.joins.{number}.columns.{wide[0]}: its window holds rows of later days, which were not known: "
                    f"'order by {source.time_column} range between interval ... preceding and current row'"
                )
            for column, expression in join.match.items():
                if column not in theirs.columns:
                    raise ValueError(f"{where}: '{column}' is no column of {join.table}{nearest(column, theirs.columns)}")
                here, there = mine.get(expression), theirs.columns[column]
                if here is not None and here.type is not there.type:
                    raise ValueError(
                        f"{where}: '{expression}' is a {here.type}, {join.table}.{column} a {there.type}; cast one"
                    )
            for column in theirs.key:
                if column not in join.match:
                    raise ValueError(
                        f"{where}: '{column}' is part of the key of {join.table}, so without it a row finds several partners"
                    )
        return self

    @model_validator(mode="after")
    def _time_fits_the_grain(self) -> UseCase:
        for section, window in (("monitoring", self.window), ("retraining", self.decided)):
            if window not in (self.grain, *LONGER[self.grain]):
                raise ValueError(f"{section}.window: a {window} is not made of whole partitions, which are a {self.grain} each")
        if [*Grain].index(self.decided) < [*Grain].index(self.window):
            raise ValueError(
                f"retraining.window: a {self.decided} is shorter than what is monitored at a time, a {self.window}"
            )
        for stage, cron in self.schedules:
            stop_at_bad_cron(f"schedules.{stage}", cron, self.grain if stage == "retraining" else None)
        return self

    @model_validator(mode="after")
    def _experiment_can_be_told(self) -> UseCase:
        if self.experiment is None:
            return self
        spec, columns = self.experiment, self.contract[self.features.entity].columns
        try:
            self.period(f"{self.partition(spec.first).key}--{self.partition(spec.last).key}")
        except PermanentError as error:
            raise ValueError(f"experiment.first, last: {error}") from None
        if spec.metric == "money" and self.value is None:
            raise ValueError("experiment.metric: money needs the section `value`; or ask for log_loss")
        if spec.unit is not None and spec.unit not in columns:
            raise ValueError(
                f"experiment.unit: '{spec.unit}' is no column of {self.features.entity}{nearest(spec.unit, columns)}"
            )
        stop_at_prediction_column(self.features.key, EXPERIMENT_COLUMNS)
        return self

    @model_validator(mode="after")
    def _nobody_goes_around_the_approvers(self) -> UseCase:
        if self.approval == "required" and self.alias_moved == "accept":
            raise ValueError("alias_moved: 'accept' would let who moves the alias go around 'approval: required'; use put_back")
        return self

    @property  # not cached: pydantic's copies take a cached value along
    def numeric(self) -> tuple[str, ...]:
        return tuple(n for n in self.features.names if n not in self.features.categorical)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The sources that features stand on: the entity, what is joined, and the outcomes where there is a history."""
        history = (self.label.source,) if self.features.history else ()
        return tuple(dict.fromkeys((self.features.entity, *(join.table for join in self.features.joins), *history)))

    def partition(self, key: str) -> Partition:
        return Partition.parse(key, self.grain)

    def partition_after(self, key: str) -> str:
        """The first partition after a partition, or after a longer period."""
        return Partition.of(self.period(key).end, self.grain).key

    @property
    def window(self) -> Grain:
        """The period that monitoring judges at a time."""
        return self.monitoring.window or self.grain

    @property
    def decided(self) -> Grain:
        """The period that a retraining decision is about."""
        return self.retraining.window or self.window

    def period(self, key: str) -> Partition:
        """A partition, or a longer period that a run may be about; `StageRun.partitions` are its parts."""
        return Partition.parse_period(key, self.grain)
