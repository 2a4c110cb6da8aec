"""Assessment: is the data fit for a model at all? Asked before training, answered with numbers and in plain words.

gather   `measures.py`: counts, delays, what was rewritten; `trial.py`: learning curve, random probes
judge    `rules.py`: pure functions; unknown or crashed evidence is a no
admit    save the report; data that fails is recorded in the ledger, and nothing is trained on it
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.assessment.measures import gather
from pipelines.assessment.rules import judge_data
from pipelines.errors import PermanentError
from pipelines.results import Verdict, to_json
from pipelines.training import TrainingRun
from pipelines.use_case import UseCase
from pipelines.workspace import Decision, Kind, Workspace, read_bytes, write_bytes


@dataclass(frozen=True)
class Assessed:
    """What every rule said of the data; `warned` failed without stopping the training.

    `report` (JSON) is an address below the environment's reports; `page` one below `lifecycle/reports/` in Airflow, where it
    is drawn from the report.
    """

    use_case: str
    partition: str
    passed: bool
    verdicts: tuple[Verdict, ...]
    warned: tuple[str, ...]
    why: str
    report: str
    page: str


def admit(training: TrainingRun) -> Assessed:
    """Assess the planned rows; only what passes may be trained on.

    Raises:
        PermanentError: a verdict that is not among `assessment.warn` failed; the ledger has the reasons.
    """
    assessed = assess(training)
    if not assessed.passed:
        training.ledger.record(_stopped(training, assessed))
        raise PermanentError(
            f"{training}: {assessed.why} Nothing was trained; mend the data, or change `assessment` "
            f"in the use case's file if a limit is wrong. Report: lifecycle/reports/{assessed.page}"
        )
    return assessed


def assess(training: TrainingRun) -> Assessed:
    """Measure, judge, and save the report."""
    use_case, plan = training.use_case, training.plan
    evidence = gather(training)
    verdicts = judge_data(evidence, use_case.assessment)
    place = f"{use_case.name}/assessment/{plan.partition}"
    assessed = conclude(use_case, plan.partition, verdicts, place)
    document = {"title": use_case.title, **to_json(assessed), "plan": to_json(plan), "evidence": finite(asdict(evidence))}
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
    write_bytes(f"{training.workspace.environment.reports}/{assessed.report}", text.encode())
    return assessed


def conclude(use_case: UseCase, partition: str, verdicts: list[Verdict], place: str) -> Assessed:
    failed = [v for v in verdicts if not v.passed]
    warned = tuple(v.gate for v in failed if v.gate in use_case.assessment.warn)
    stopping = [v for v in failed if v.gate not in warned]
    passed = bool(verdicts) and not stopping
    why = _why(stopping, warned, len(verdicts))
    return Assessed(
        use_case=use_case.name,
        partition=partition,
        passed=passed,
        verdicts=tuple(verdicts),
        warned=warned,
        why=why,
        report=f"{place}.json",
        page=f"{place}.html",
    )


def log_report(workspace: Workspace, assessed: Assessed, run_id: str) -> None:
    """The report, as an artifact of an MLflow run."""
    text = read_bytes(f"{workspace.environment.reports}/{assessed.report}").decode()
    workspace.registry.client.log_text(run_id, text, f"assessment/{assessed.report.rsplit('/', 1)[-1]}")


def finite(value: Any) -> Any:
    """The same with None for NaN and infinity: a report shows what was measured, also when it came to nothing."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not -float("inf") < value < float("inf") else value


def _why(stopping: list[Verdict], warned: tuple[str, ...], count: int) -> str:
    also = f" Warnings: {', '.join(warned)}." if warned else ""
    if stopping:
        named, said = ", ".join(v.gate for v in stopping), " ".join(v.sentence for v in stopping)
        return f"The data is not fit for a model: {named}. {said}{also}"
    return f"The data is fit for a model: {count - len(warned)} of {count} verdicts are good.{also}"


def _stopped(training: TrainingRun, assessed: Assessed) -> Decision:
    champion, run = training.plan.champion, training.workspace.run
    kept = f"v{champion} stays. " if champion else "No champion. "
    return Decision(
        id=f"{Kind.KEPT}/{training.key}/{run}",
        use_case=training.use_case.name,
        kind=Kind.KEPT,
        partition=training.key,
        why=kept + assessed.why,
        actor="assessment",
        run=run,
        evidence={"assessment": to_json(assessed), "champion": champion},
        model_version=champion,
    )
