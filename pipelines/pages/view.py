"""The state of a use case as people look at it: one view, for the command line and for the page inside Airflow."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from pipelines.ingestion import Feed, late
from pipelines.monitoring import Answered, Crossing, Judgement, Monitored, forecast_loss, judge_window, latest
from pipelines.use_case import (
    Grain,
    UseCase,
    features_table,
    labels_table,
    monitoring_table,
    predictions_table,
    source_table,
)
from pipelines.workspace import Decision, Kind, Workspace, list_files

_JUDGED = 60  # windows: each is judged by all before it, and a page is asked for often
# Names of runs are not unique over DAGs: two that are scheduled for the same minute share one.
_MADE_BY = {
    Kind.ASKED: "training",
    Kind.APPROVED: "training",
    Kind.PROMOTED: "training",
    Kind.KEPT: "training",
    Kind.FAILED: "training",
    Kind.STARTED: "retraining",
    Kind.NOT_RETRAINED: "retraining",
    Kind.LATE: "ingestion",
    Kind.ROLLED_BACK: "rollback",
    Kind.LIFTED: "rollback",
    Kind.NOT_SCORED: "scoring",
    Kind.SKEW: "maintenance",
    Kind.REPLAYED: "quarantine_replay",
    Kind.RESTORED: "restore",
    Kind.EXPERIMENT_STARTED: "experiments",
    Kind.EXPERIMENT_WEIGHTS: "experiments",
    Kind.EXPERIMENT_ENDED: "experiments",
}


@dataclass(frozen=True)
class ChampionView:
    version: int
    effective_from: str
    age: str
    why: str


@dataclass(frozen=True)
class Quality:
    """One partition's figures; None where not known yet."""

    partition: str
    model_version: int | None
    labels: int | None
    auc: float | None
    log_loss: float | None
    drifted_share: float | None
    worth: float | None
    report: str | None
    verdict: str | None = None
    why: str | None = None
    answers: tuple[Answered, ...] = ()


@dataclass(frozen=True)
class Lifecycle:
    use_case: str
    title: str
    owner: str
    purpose: str
    unit: str
    champion: ChampionView | None
    last_partitions: dict[str, str | None]
    quality: tuple[Quality, ...]
    decisions: tuple[Decision, ...]
    late: tuple[str, ...] = ()
    forecast: Crossing | None = None

    @property
    def answered(self) -> list[tuple[Quality, Answered]]:
        """What the API said, by window and version, the newest first."""
        return [(quality, each) for quality in reversed(self.quality) for each in quality.answers]

    @property
    def judged(self) -> Quality | None:
        """The newest partition whose outcomes are known."""
        return next((q for q in reversed(self.quality) if q.auc is not None), None)


def lifecycle(workspace: Workspace, use_case: UseCase, decisions: int = 20) -> Lifecycle:
    """Champion, last partition per stage, which source owes what, quality per partition, and the newest decisions first."""
    return Lifecycle(
        use_case=use_case.name,
        title=use_case.title,
        owner=use_case.owner,
        purpose=use_case.purpose,
        unit=use_case.value.unit if use_case.value else "",
        champion=_champion(workspace, use_case),
        last_partitions=_last_partitions(workspace, use_case),
        late=tuple(missing.why for source in use_case.sources if (missing := late(Feed(workspace, use_case, source)))),
        quality=tuple(_judged(workspace, use_case)),
        decisions=tuple(workspace.ledger.decisions(use_case.name)[::-1][:decisions]),
        forecast=forecast_loss(workspace, use_case),
    )


def decisions_of_run(workspace: Workspace, use_case: UseCase, stage: str, run: str) -> list[Decision]:
    """What one run of the stage's DAG decided, newest first."""
    decisions = workspace.ledger.decisions(use_case.name)
    return [d for d in decisions[::-1] if d.evidence.get("asked_by", d.run) == run and _made_by(d) in (None, stage)]


def _made_by(decision: Decision) -> str | None:
    """The stage whose DAG made it; an experiment is opened and ended by a person's form too."""
    stage = {str(kind): name for kind, name in _MADE_BY.items()}.get(decision.kind)
    by_form = stage == "experiments" and decision.actor != "experiment"
    return "experiment_form" if by_form else stage


def _champion(workspace: Workspace, use_case: UseCase) -> ChampionView | None:
    champion = workspace.ledger.champion(use_case.name)
    if champion is None:
        return None
    return ChampionView(
        version=champion.version,
        effective_from=champion.effective_from,
        age=_age(workspace.clock.now(), champion.at),
        why=champion.why,
    )


def _age(now: datetime, at: str) -> str:
    seconds = (now - datetime.fromisoformat(at)).total_seconds()
    for unit, size in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"


def _last_partitions(workspace: Workspace, use_case: UseCase) -> dict[str, str | None]:
    tables = {
        "ingestion": source_table(use_case, use_case.features.entity),
        "features": features_table(use_case),
        "labels": labels_table(use_case),
        "scoring": predictions_table(use_case),
        "monitoring": monitoring_table(use_case),
    }
    return {stage: next(reversed(workspace.lake.partitions(table)), None) for stage, table in tables.items()}


def _judged(workspace: Workspace, use_case: UseCase) -> Iterator[Quality]:
    """Every window, the newest with their verdicts, by the limits of now and those windows before it that are as long."""
    before: dict[Grain, list[Monitored]] = {}
    known, place = latest(workspace, use_case), f"{workspace.environment.reports}/"
    drawn = {page.removeprefix(place) for page, _ in list_files(f"{place}{use_case.name}/drift")}
    for left, (key, monitored) in zip(range(len(known), 0, -1), known.items(), strict=True):
        alike = before.setdefault(use_case.period(key).grain, [])
        judged = judge_window(use_case.monitoring, monitored, alike) if left <= _JUDGED else None
        yield _quality(monitored, judged, drawn)
        alike.append(monitored)


def _quality(monitored: Monitored, judged: Judgement | None, drawn: Collection[str]) -> Quality:
    drift, performance = monitored.drift, monitored.performance
    crashed = "crashed; " if monitored.failure else ""
    return Quality(
        partition=monitored.partition,
        model_version=monitored.model_version,
        labels=performance.labels if performance else None,
        auc=performance.auc if performance else None,
        log_loss=performance.log_loss if performance else None,
        drifted_share=drift.drifted_share if drift else None,
        worth=performance.worth if performance else None,
        report=drift.report if drift and drift.report in drawn else None,  # old pages are swept
        verdict=f"{crashed}{judged.verdict}" if judged else None,
        why=judged.why if judged else None,
        answers=monitored.answers,
    )
