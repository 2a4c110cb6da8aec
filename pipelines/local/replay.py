"""The replay of 2013 through real Airflow: history at once, then month after month, then day after day by the clock.

In bulk, a period's files arrive; the DAGs ingest, build features, score, label and monitor, linked by assets; the retraining
policy decides, and a training follows when it says so. Live, a day's plan arrives, predictions are published, and its outcomes
arrive the day after. What is complete is not run again, so that a replay that was cut off goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError, TransientError
from pipelines.local.feeds import arrive
from pipelines.local.progress import Progress
from pipelines.use_case import Partition, UseCase, span
from pipelines.workspace import Kind, Workspace

if TYPE_CHECKING:
    from airflow_client.client import DAGRunResponse

    from pipelines.local.api import Airflow

CHAIN = ("features", "scoring", "labels", "monitoring")
_POLL = 0.5
_PATIENCE = 15 * 60
_AFTER = timedelta(minutes=5)  # when files have come that were due at midnight
Report = Callable[[str, str, str, float | None], None]


@dataclass
class Replay:
    """Drives one use case's DAGs over a span of partitions."""

    workspace: Workspace
    use_case: UseCase
    airflow: Airflow
    report: Report

    @property
    def state(self) -> Progress:
        return Progress(self.workspace, self.use_case)

    def prepare(self, stages: tuple[str, ...]) -> None:
        """Wait for the DAGs, and clear what a killed replay left half-run."""
        wanted = {self._dag(stage) for stage in (*self._ingestions(self.use_case.sources), *stages)}
        deadline = time.monotonic() + _PATIENCE / 3
        while not wanted <= self.airflow.dags():
            self._stop_at_import_errors()
            if time.monotonic() > deadline:
                absent = sorted(wanted - self.airflow.dags())
                raise TransientError(f"Airflow did not load {absent}; look into var/logs/dag-processor.log")
            time.sleep(_POLL)
        self._stop_at_import_errors()
        for dag in sorted(wanted):
            for run in self.airflow.runs(dag):
                if _is_active(run) and not run.dag_run_id.startswith("scheduled__"):
                    self.report(_key(run) or "", _stage(run), "cleared: left over from a run that was cut off", None)
                    self.airflow.discard_run(run)

    def history(self, period: Partition) -> None:
        """Take a period in at once, and train the first champion on it."""
        if self.state.has_features_and_labels(period):
            self.report(period.key, "history", "complete already", None)
        else:
            self._bulk(period)
        if self.workspace.ledger.champion(self.use_case.name) is None:
            self._train(period, f"first__{period.key}__{_stamp()}")

    def bulk(self, period: Partition) -> None:
        """Take a period in at once, serve it as of then, and, where decisions are about such, decide whether to train anew."""
        if self.state.is_decided(period):
            self.report(period.key, "period", "complete already", None)
            return
        if not self.state.is_monitored(period):
            self._bulk(period)
        if period.grain is self.use_case.decided:
            self.decide(period)

    def live(self, days: list[Partition]) -> None:
        """Partition after partition by the clock: its plan comes, it is predicted, and later its outcomes come, in parts."""
        complete = self.use_case.sources[self.use_case.label.source].complete_at
        last = complete(days[-1], self.use_case.timezone)
        day = days[0]
        while (now := day.starts_at(self.use_case.timezone) + _AFTER) < last + _AFTER * 2:
            known = [p for p in span(days[0].previous.previous, day) if p <= days[-1]]
            if self.state.is_lived(day, days, now):
                self.report(day.key, "day", "complete already", None)
            else:
                self._live(day, known, days, now)
            day = day.next

    def _bulk(self, period: Partition) -> None:
        since = datetime.now(UTC)
        zone, sources = self.use_case.timezone, self.use_case.sources.values()
        now = max(s.complete_at(period.within(self.use_case.grain)[-1], zone) for s in sources if not s.snapshot) + _AFTER
        self._set_clock(period, now)
        arrive(self.workspace, self.use_case, period, now)
        self.report(period.key, "arrival", "files are in the landing zone", None)
        # Reference data does not change here: it is taken in once.
        known = {s for s, declared in self.use_case.sources.items() if declared.snapshot and self.state.is_known(s)}
        for stage in self._ingestions(source for source in self.use_case.sources if source not in known):
            self.airflow.trigger(self._dag(stage), f"replay__{period.key}__{_stamp()}", conf={"partition": period.key})
        self._watch(period, self._chain, since, lambda run: _key(run) == period.key, lambda: self.state.is_settled(period))

    def _live(self, day: Partition, known: list[Partition], days: list[Partition], now: datetime) -> None:
        since = datetime.now(UTC)
        self._set_clock(day, now)
        for partition in known:
            arrive(self.workspace, self.use_case, partition, now)
        self.report(day.key, "arrival", f"files are in the landing zone at {now:%Y-%m-%d %H:%M}", None)
        for stage in self._ingestions(s for s, declared in self.use_case.sources.items() if not declared.snapshot):
            self.airflow.trigger(self._dag(stage), f"live__{day.key}__{_stamp()}")
        self._watch(day, self._chain, since, lambda run: True, lambda: self.state.is_lived(day, days, now))

    def _set_clock(self, period: Partition, now: datetime) -> None:
        self.workspace.clock.set(now)
        self.report(period.key, "clock", f"it is {now:%Y-%m-%d %H:%M %Z}", None)

    @property
    def _chain(self) -> tuple[str, ...]:
        return (*self._ingestions(self.use_case.sources), *CHAIN)

    def _ingestions(self, sources: Iterable[str]) -> list[str]:
        return [f"ingestion.{source}" for source in sources]

    def decide(self, partition: Partition) -> None:
        """Ask the policy about a period, and train when it says so."""
        since = datetime.now(UTC)
        if self.state.decision(partition) is None:
            self.airflow.trigger(self._dag("retraining"), f"replay__{partition.key}__{_stamp()}", partition.key)
            self._watch(
                partition,
                ("retraining",),
                since,
                lambda run: _key(run) == partition.key,
                lambda: self.state.decision(partition) is not None,
            )
        decision = self.state.decision(partition)
        assert decision is not None
        self.report(partition.key, "decision", decision[1], None)
        if decision[0] and not self.state.is_trained(partition):
            prefix = f"retraining__{partition.key}__"
            attempts = [r.dag_run_id for r in self.airflow.runs(self._dag("training")) if r.dag_run_id.startswith(prefix)]
            self._train(partition, attempts[0] if attempts else f"resumed__{partition.key}__{_stamp()}")

    def _train(self, partition: Partition, run_id: str) -> None:
        if not run_id.startswith("retraining__"):
            self.airflow.trigger(self._dag("training"), run_id, conf={"partition": partition.key})

        def started() -> list[DAGRunResponse]:
            return [r for r in self.airflow.runs(self._dag("training")) if r.dag_run_id == run_id]

        for run in self._until_done(partition, started):
            self._report_run(partition, run)
        moves = [d for d in self.workspace.ledger.decisions(self.use_case.name) if d.partition == partition.key]
        made = [d for d in moves if d.kind in (Kind.PROMOTED, Kind.KEPT)]
        if not made:
            raise PermanentError(
                f"{partition.key}: the training succeeded, but no decision about the champion is in the ledger"
            )
        self.report(partition.key, "champion", f"{made[-1].kind}: {made[-1].why}", None)

    def _watch(
        self,
        period: Partition,
        stages: tuple[str, ...],
        since: datetime,
        is_ours: Callable[[DAGRunResponse], bool],
        is_settled: Callable[[], bool],
    ) -> None:
        """Report each run of the stages as it ends, until the state is there and nothing is under way any more."""
        seen: set[str] = set()
        deadline = time.monotonic() + _PATIENCE
        wanted = {self._dag(stage) for stage in stages}
        while True:
            recent = [r for r in reversed(self.airflow.runs()) if r.dag_id in wanted and _is_since(r, since)]
            runs = [r for r in recent if is_ours(r)]
            for run in runs:
                if not _is_active(run) and run.dag_id + run.dag_run_id not in seen:
                    seen.add(run.dag_id + run.dag_run_id)
                    self._report_run(period, run)
            if not any(_is_active(r) for r in runs) and is_settled():
                return
            if time.monotonic() > deadline:
                late = ", ".join(stages)
                raise TransientError(f"{period.key}: {late} did not settle in {_PATIENCE} s; look at Airflow's pages")
            time.sleep(_POLL)

    def _until_done(self, partition: Partition, find: Callable[[], list[DAGRunResponse]]) -> Iterator[DAGRunResponse]:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            runs = find()
            if runs and not any(_is_active(r) for r in runs):
                yield from runs
                return
            time.sleep(_POLL)
        raise TransientError(f"{partition.key}: training did not end in {_PATIENCE} s; look at Airflow's pages")

    def _report_run(self, partition: Partition, run: DAGRunResponse) -> None:
        self.report(partition.key, _stage(run), run.state.value, run.duration)
        if run.state == "failed":
            tasks = ", ".join(self.airflow.failed_tasks(run))
            raise PermanentError(
                f"{run.dag_id} failed for {partition.key} at {tasks}; its log: "
                f"{self.airflow.address}/dags/{run.dag_id}/runs/{run.dag_run_id} or below var/airflow/logs"
            )

    def _stop_at_import_errors(self) -> None:
        errors = self.airflow.import_errors()
        if errors:
            raise PermanentError("Airflow could not load a DAG file:\n" + "\n".join(errors))

    def _dag(self, stage: str) -> str:
        return f"{self.use_case.name}.{stage}"


def _is_since(run: DAGRunResponse, since: datetime) -> bool:
    return (run.queued_at or run.run_after) >= since.replace(microsecond=0)


def _is_active(run: DAGRunResponse) -> bool:
    return run.state in ("queued", "running")


def _stage(run: DAGRunResponse) -> str:
    return run.dag_id.partition(".")[2]


def _key(run: DAGRunResponse) -> str | None:
    """The partition that a run is about: its key, or what was filled into its form."""
    return run.partition_key or (run.conf or {}).get("partition")


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
