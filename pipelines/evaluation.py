"""Evaluation: choose the best candidate, gather evidence on the holdout, let the gates judge it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from pipelines.assessment import Assessed, log_report
from pipelines.config import UseCase
from pipelines.environment import Yard
from pipelines.errors import PermanentError
from pipelines.gates import Evidence, judge, money
from pipelines.modelling import scores
from pipelines.results import Verdict
from pipelines.training import Trained, TrainingPlan, load_rows

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The chosen candidate, its scores on the holdout, and what every gate said of it."""

    chosen: Trained
    passed: bool
    verdicts: tuple[Verdict, ...]
    holdout: dict[str, Any]
    champion_holdout: dict[str, Any] | None
    worth: float | None
    why: str
    crashed: tuple[str, ...]
    assessment: Assessed | None = None


def evaluate(yard: Yard, use_case: UseCase, plan: TrainingPlan, trained: list[Trained]) -> Evaluation:
    """Judge the best candidate.

    Raises:
        PermanentError: every candidate crashed.
    """
    crashed = tuple(sorted(set(plan.candidates) - {t.candidate for t in trained}))
    if not trained:
        raise PermanentError(
            f"{use_case.name} {plan.partition}: every candidate crashed ({', '.join(crashed)}); read their logs"
        )
    holdout = load_rows(yard, use_case, plan).holdout
    chosen, evidence, verdicts = _judged(yard, use_case, plan, trained, holdout)
    champion = None if evidence.champion is None else scores(evidence.label, evidence.champion)
    worth = money(evidence.label, evidence.challenger, use_case.value, use_case.scoring.threshold) if use_case.value else None
    result = Evaluation(
        chosen,
        all(v.passed for v in verdicts),
        verdicts,
        scores(evidence.label, evidence.challenger),
        champion,
        worth,
        _why(chosen, verdicts, crashed),
        crashed,
    )
    _log_in_mlflow(yard, result)
    return result


def _judged(
    yard: Yard, use_case: UseCase, plan: TrainingPlan, trained: list[Trained], holdout: Any
) -> tuple[Trained, Evidence, tuple[Verdict, ...]]:
    """The best candidate with its verdicts; a complex one that does not beat the simple one on the holdout loses to it."""
    chosen = choose(use_case, trained)
    evidence = gather(yard, use_case, plan, chosen, trained, holdout)
    verdicts = tuple(judge(evidence, use_case.gates))
    plainest = _plainest(use_case, trained)
    if plainest is None or plainest is chosen or all(v.passed for v in verdicts if v.gate == "beats_simple"):
        return chosen, evidence, verdicts
    _log.warning("%s does not beat %s on newer rows and loses to it", chosen.candidate, plainest.candidate)
    evidence = gather(yard, use_case, plan, plainest, trained, holdout)
    return plainest, evidence, tuple(judge(evidence, use_case.gates))


def _plainest(use_case: UseCase, trained: list[Trained]) -> Trained | None:
    """The best of the simple candidates."""
    simple = [t for t in trained if use_case.training.candidates[t.candidate].simple]
    return min(simple, key=lambda t: t.folds_log_loss, default=None)


def evaluate_assessed(
    yard: Yard, use_case: UseCase, plan: TrainingPlan, trained: list[Trained], assessed: Assessed | None
) -> Evaluation:
    """`evaluate`, with what the assessment said of the data; its report goes to the chosen candidate's MLflow run.

    Raises:
        PermanentError: as in `evaluate`, or the data did not pass its assessment.
    """
    if assessed is None or not assessed.passed:
        raise PermanentError(
            f"{use_case.name} {plan.partition}: the data did not pass its assessment, so there is no model to evaluate; "
            "read what the assessment says, in its task or in the decisions"
        )
    result = replace(evaluate(yard, use_case, plan, trained), assessment=assessed)
    log_report(yard, assessed, result.chosen.run_id)
    return result


def choose(use_case: UseCase, trained: list[Trained]) -> Trained:
    """The lowest log loss over the folds; a complex model has to beat the best simple one by the margin."""
    best = min(trained, key=lambda t: t.folds_log_loss)
    plainest = _plainest(use_case, trained)
    if plainest is None:
        return best
    return best if plainest.folds_log_loss - best.folds_log_loss >= use_case.gates.min_gain_over_simple else plainest


def gather(
    yard: Yard, use_case: UseCase, plan: TrainingPlan, chosen: Trained, trained: list[Trained], holdout: Any
) -> Evidence:
    """Score the holdout with challenger, simple model and champion: the same rows for all three."""
    challenger = yard.registry.load_uri(use_case.name, chosen.model_uri).predict(holdout)
    simple = _plainest(use_case, trained)
    plain = yard.registry.load_uri(use_case.name, simple.model_uri).predict(holdout) if simple else None
    champion, problem = _champion_scores(yard, use_case, plan, holdout)
    return Evidence(
        label=holdout["label"].to_numpy(),
        challenger=challenger,
        simple=plain,
        day=holdout[use_case.features.date].astype(str).to_numpy(),
        training_auc=chosen.training["auc"],
        is_simple=use_case.training.candidates[chosen.candidate].simple,
        has_champion=plan.champion is not None,
        champion=champion,
        champion_problem=problem,
    )


def _champion_scores(yard: Yard, use_case: UseCase, plan: TrainingPlan, holdout: Any) -> tuple[Any, str | None]:
    """The champion's probabilities, or why there are none. One that was trained on the holdout may not be judged on it."""
    if plan.champion is None:
        return None, None
    try:
        model = yard.registry.load(use_case.name, plan.champion)
        if model.meta["trained_through"] >= plan.holdout_from:
            return None, f"v{plan.champion} was trained through {model.meta['trained_through']}, so it has seen the holdout"
        return model.predict(holdout), None
    except Exception as error:  # whatever stops the champion from scoring is evidence, and fails the gate
        _log.exception("champion v%s could not score the holdout", plan.champion)
        return None, f"v{plan.champion} failed: {type(error).__name__}: {error}"


def _why(chosen: Trained, verdicts: tuple[Verdict, ...], crashed: tuple[str, ...]) -> str:
    failed = [v for v in verdicts if not v.passed]
    lost = f" Crashed and so out: {', '.join(crashed)}." if crashed else ""
    if failed:
        return f"{chosen.candidate} failed {', '.join(v.gate for v in failed)}: " + " ".join(v.sentence for v in failed) + lost
    last = next((v for v in verdicts if v.gate == "beats_champion"), verdicts[-1])
    return f"{chosen.candidate} passed all {len(verdicts)} gates. {last.sentence}{lost}"


def _log_in_mlflow(yard: Yard, result: Evaluation) -> None:
    """The verdicts, on the chosen candidate's MLflow run."""
    client, run = yard.registry.client, result.chosen.run_id
    client.set_tag(run, "gates", "passed" if result.passed else "failed")
    for verdict in result.verdicts:
        client.set_tag(run, f"gate.{verdict.gate}", f"{'passed' if verdict.passed else 'FAILED'}: {verdict.sentence}"[:4900])
    for name, value in result.holdout.items():
        if value is not None:
            client.log_metric(run, f"holdout_{name}", value)
