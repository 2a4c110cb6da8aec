"""Evaluation: choose the best candidate, gather evidence on the holdout, let the gates judge it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.assessment import Assessed, log_report
from pipelines.errors import PermanentError, redact
from pipelines.gates.choice import Scorer, plainest, scorer, settle
from pipelines.gates.evidence import Array, Challenger, Evidence, Step
from pipelines.gates.judgement import MEASURES, details, judge, warm_up
from pipelines.metrics import scores
from pipelines.results import Verdict
from pipelines.training import Trained, TrainingRun
from pipelines.use_case import money
from pipelines.workspace import refuse_other_definitions

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)
Scores = dict[str, float | int | None]


@dataclass(frozen=True)
class Evaluation:
    """The chosen candidate, its scores on the holdout, and what every gate said of it."""

    chosen: Trained
    passed: bool
    verdicts: tuple[Verdict, ...]
    holdout: Scores
    champion_holdout: Scores | None
    worth: float | None
    why: str
    crashed: tuple[str, ...]
    trained: tuple[Trained, ...] = ()
    assessment: Assessed | None = None


@dataclass(frozen=True)
class Judged:
    """A training whose best candidate was before the gates."""

    training: TrainingRun
    evaluation: Evaluation

    def __str__(self) -> str:
        return str(self.training)


def evaluate(training: TrainingRun, trained: list[Trained], assessed: Assessed | None, steps: Iterable[Step]) -> Evaluation:
    """Judge the best candidate; verdicts and the assessment's report go to its MLflow run.

    `steps` are what would come after its promotion: they are tried on it.

    Raises:
        PermanentError: every candidate crashed, or the data did not pass its assessment.
    """
    if assessed is None or not assessed.passed:
        raise PermanentError(
            f"{training}: the data did not pass its assessment, so there is no model to evaluate; "
            "read what the assessment says, in its task or in the decisions"
        )
    result = evaluate_candidates(training, trained, steps, assessed)
    log_report(training.workspace, assessed, result.chosen.run_id)
    return result


def evaluate_candidates(
    training: TrainingRun, trained: list[Trained], steps: Iterable[Step], assessed: Assessed | None = None
) -> Evaluation:
    """`evaluate`, whatever the assessment said."""
    use_case, plan = training.use_case, training.plan
    crashed = tuple(sorted(set(plan.candidates) - {t.candidate for t in trained}))
    if not trained:
        raise PermanentError(f"{training}: every candidate crashed ({', '.join(crashed)}); read their logs")
    warm_up()
    score = scorer(training)
    chosen = settle(training, trained, score)
    evidence = gather(training, chosen, plainest(use_case, trained), score, tuple(steps))
    verdicts, label = tuple(judge(evidence, use_case.gates)), evidence.label
    result = Evaluation(
        chosen=chosen,
        passed=all(v.passed for v in verdicts),
        verdicts=verdicts,
        holdout=scores(label, evidence.challenger),
        champion_holdout=None if evidence.champion is None else scores(label, evidence.champion),
        worth=money(label, evidence.challenger, use_case.value, use_case.scoring.threshold) if use_case.value else None,
        why=_why(chosen, verdicts, crashed),
        crashed=crashed,
        trained=tuple(trained),
        assessment=assessed,
    )
    _log_in_mlflow(training, result)
    for gate, found in details(evidence, use_case.gates).items():
        training.registry.client.log_dict(chosen.run_id, found, f"gates/{gate}.json")
    return result


def gather(training: TrainingRun, chosen: Trained, simple: Trained | None, score: Scorer, steps: tuple[Step, ...]) -> Evidence:
    """Score the holdout with challenger, simple model, dummy and champion: the same rows for all of them."""
    use_case, rows, holdout = training.use_case, training.rows, training.rows.holdout
    model, probability = score(chosen.model_uri)
    challenger = Challenger(training, chosen.model_uri, model.predict, holdout, probability, steps)
    with ThreadPoolExecutor() as beside:  # the fresh process runs on the other core meanwhile
        measured = {name: beside.submit(measure, challenger) for name, measure in MEASURES.items()}
        champion, problem = _champion_scores(training)
        return Evidence(
            label=holdout["label"].to_numpy(),
            challenger=probability,
            simple=score(simple.model_uri)[1] if simple else None,
            day=holdout[use_case.features.date].astype(str).to_numpy(),
            training_auc=chosen.training["auc"],
            is_simple=use_case.training.candidates[chosen.candidate].simple,
            has_champion=training.plan.champion is not None,
            champion=champion,
            champion_problem=problem,
            dummy=dummy_scores(rows.fit["label"], len(holdout)),
            segments={s: holdout[s].astype(str).to_numpy() if s in holdout else None for s in use_case.features.segments},
            threshold=use_case.scoring.threshold,
            value=use_case.value,
            measured={name: future.result() for name, future in measured.items()},
        )


def dummy_scores(label: pd.Series, rows: int) -> Array:
    """What always saying the average of the training labels gives, for so many rows."""
    from sklearn.dummy import DummyClassifier

    dummy = DummyClassifier(strategy="prior").fit(label.to_frame(), label)
    return dummy.predict_proba(range(rows))[:, -1]


def _champion_scores(training: TrainingRun) -> tuple[Array | None, str | None]:
    """The champion's probabilities, or why there are none. One that was trained on the holdout may not be judged on it."""
    plan = training.plan
    if plan.champion is None:
        return None, None
    try:
        model = training.registry.load(training.use_case.name, plan.champion)
        if model.meta["trained_through"] >= plan.holdout_from:
            return None, f"v{plan.champion} was trained through {model.meta['trained_through']}, so it has seen the holdout"
        refuse_other_definitions(training.registry, training.use_case, model, {plan.partition: plan.definitions})
        return model.predict(training.rows.holdout), None
    # What the version itself lacks is evidence, and fails the gate; a registry that does not answer is asked again.
    except (PermanentError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        problem = redact(f"v{plan.champion} failed: {type(error).__name__}: {error}")
        _log.warning("the champion could not score the holdout: %s", problem)
        return None, problem


def _why(chosen: Trained, verdicts: tuple[Verdict, ...], crashed: tuple[str, ...]) -> str:
    failed = [v for v in verdicts if not v.passed]
    lost = f" Crashed and so out: {', '.join(crashed)}." if crashed else ""
    if failed:
        return f"{chosen.candidate} failed {', '.join(v.gate for v in failed)}: " + " ".join(v.sentence for v in failed) + lost
    last = next((v for v in verdicts if v.gate == "beats_champion"), verdicts[-1])
    return f"{chosen.candidate} passed all {len(verdicts)} gates. {last.sentence}{lost}"


def _log_in_mlflow(training: TrainingRun, result: Evaluation) -> None:
    """The verdicts, on the chosen candidate's MLflow run."""
    from mlflow.entities import Metric, RunTag

    said = {f"gate.{v.gate}": f"{'passed' if v.passed else 'FAILED'}: {v.sentence}"[:4900] for v in result.verdicts}
    tags = [RunTag(name, text) for name, text in {"gates": "passed" if result.passed else "failed", **said}.items()]
    now = int(time.time() * 1000)
    metrics = [Metric(f"holdout_{name}", value, now, 0) for name, value in result.holdout.items() if value is not None]
    training.registry.client.log_batch(result.chosen.run_id, metrics=metrics, tags=tags)
