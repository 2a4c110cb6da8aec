"""The replay of 2013: January to March arrive as history, then one month after the other, through real Airflow.

Each month: its files arrive; the DAGs ingest, build features, score, label and monitor, linked by assets; the retraining
policy decides, and a training follows when it says so. A month that is complete is not run again, so that a replay
that was cut off goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError, TransientError
from pipelines.local.feeds import arrive
from pipelines.monitoring import latest
from pipelines.use_case import Partition, UseCase, features_table, labels_table, predictions_table, span
from pipelines.workspace import Kind, Workspace

if TYPE_CHECKING:
    from airflow_client.client import DAGRunResponse

    from pipelines.local.api import Airflow

CHAIN = ("ingestion", "features", "scoring", "labels", "monitoring")
_POLL = 0.5
_PATIENCE = 15 * 60
Report = Callable[[str, str, str, float | None], None]


@dataclass
class Replay:
    """Drives one use case's DAGs over a span of partitions."""

    workspace: Workspace
    use_case: UseCase
    airflow: Airflow
    report: Report

    def prepare(self, stages: tuple[str, ...]) -> None:
        """Wait for the DAGs, and clear what a killed replay left half-run."""
        wanted = {f"{self.use_case.name}.{stage}" for stage in stages}
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
                    self.report(run.partition_key or "", _stage(run), "cleared: left over from a run that was cut off", None)
                    self.airflow.discard_run(run)

    def history(self, first: str, last: str) -> None:
        """Ingest a span and train the first champion on it."""
        partitions = span(self.use_case.partition(first), self.use_case.partition(last))
        missing = [p for p in partitions if not self._has_features_and_labels(p)]
        for partition in partitions:
            if partition not in missing:
                self.report(partition.key, "history", "complete already", None)
        # History is there all at once: the months are let in together, and the DAGs take them in order.
        since = datetime.now(UTC)
        for partition in missing:
            self._let_in(partition)
        for partition in missing:
            self._watch(partition, CHAIN, since, self._is_settled)
        if self.workspace.ledger.champion(self.use_case.name) is None:
            self._train(partitions[-1], f"first__{partitions[-1].key}__{_stamp()}")

    def live(self, first: str, last: str) -> None:
        """Partition after partition: arrive, run the chain, decide, retrain when asked."""
        for partition in span(self.use_case.partition(first), self.use_case.partition(last)):
            if self._is_decided(partition):
                self.report(partition.key, "month", "complete already", None)
                continue
            if not self._is_monitored(partition):
                self._ingest(partition)
            self._decide(partition)

    def _ingest(self, partition: Partition) -> None:
        since = datetime.now(UTC)
        self._let_in(partition)
        self._watch(partition, CHAIN, since, self._is_settled)

    def _let_in(self, partition: Partition) -> None:
        """Its files arrive, and ingestion is told."""
        arrive(self.workspace, self.use_case, partition)
        self.report(partition.key, "arrival", "files are in the landing zone", None)
        self.airflow.trigger(self._dag("ingestion"), f"replay__{partition.key}__{_stamp()}", partition.key)

    def _decide(self, partition: Partition) -> None:
        since = datetime.now(UTC)
        if self._decision(partition) is None:
            self.airflow.trigger(self._dag("retraining"), f"replay__{partition.key}__{_stamp()}", partition.key)
            self._watch(partition, ("retraining",), since, lambda p: self._decision(p) is not None)
        decision = self._decision(partition)
        assert decision is not None
        self.report(partition.key, "decision", decision[1], None)
        if decision[0] and not self._is_trained(partition):
            attempts = [r.dag_run_id for r in self.airflow.runs(self._dag("training")) if r.dag_run_id.startswith(
                f"retraining__{partition.key}__"
            )]  # fmt: skip
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
        self, partition: Partition, stages: tuple[str, ...], since: datetime, settled: Callable[[Partition], bool]
    ) -> None:
        """Report each run of the stages as it ends, until the state is there and nothing is under way any more."""
        seen: set[str] = set()
        deadline = time.monotonic() + _PATIENCE
        while True:
            wanted = {self._dag(stage) for stage in stages}
            runs = [r for r in reversed(self.airflow.runs()) if r.dag_id in wanted and self._is_ours(r, partition, since)]
            for run in runs:
                if not _is_active(run) and run.dag_id + run.dag_run_id not in seen:
                    seen.add(run.dag_id + run.dag_run_id)
                    self._report_run(partition, run)
            if not any(_is_active(r) for r in runs) and settled(partition):
                return
            if time.monotonic() > deadline:
                late = ", ".join(stages)
                raise TransientError(f"{partition.key}: {late} did not settle in {_PATIENCE} s; look at Airflow's pages")
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

    def _is_ours(self, run: DAGRunResponse, partition: Partition, since: datetime) -> bool:
        return run.partition_key == partition.key and (run.queued_at or run.run_after) >= since.replace(microsecond=0)

    def _is_settled(self, partition: Partition) -> bool:
        if self.workspace.ledger.champion(self.use_case.name, partition.key) is None:
            return self._has_features_and_labels(partition)
        return self._is_monitored(partition)

    def _has_features_and_labels(self, partition: Partition) -> bool:
        tables = (features_table(self.use_case), labels_table(self.use_case))
        return all(partition.key in self.workspace.lake.partitions(table) for table in tables)

    def _is_monitored(self, partition: Partition) -> bool:
        """Scored by the champion of that time, and its quality measured after that."""
        seen = latest(self.workspace, self.use_case).get(partition.key)
        champion = self.workspace.ledger.champion(self.use_case.name, partition.key)
        scored = partition.key in self.workspace.lake.partitions(predictions_table(self.use_case))
        return bool(scored and champion and seen and seen.drift and seen.performance and seen.model_version == champion.version)

    def _decision(self, partition: Partition) -> tuple[bool, str] | None:
        for decision in reversed(self.workspace.ledger.decisions(self.use_case.name)):
            if decision.partition == partition.key and decision.kind in (Kind.RETRAINED, Kind.NOT_RETRAINED):
                return decision.kind == Kind.RETRAINED, decision.why
        return None

    def _is_trained(self, partition: Partition) -> bool:
        made = (Kind.PROMOTED, Kind.KEPT)
        return any(d.partition == partition.key and d.kind in made for d in self.workspace.ledger.decisions(self.use_case.name))

    def _is_decided(self, partition: Partition) -> bool:
        decision = self._decision(partition)
        return self._is_monitored(partition) and decision is not None and (not decision[0] or self._is_trained(partition))

    def _dag(self, stage: str) -> str:
        return f"{self.use_case.name}.{stage}"


def _is_active(run: DAGRunResponse) -> bool:
    return run.state in ("queued", "running")


def _stage(run: DAGRunResponse) -> str:
    return run.dag_id.rpartition(".")[2]


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
