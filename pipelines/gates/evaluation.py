"""Evaluation: choose the best candidate, gather evidence on the holdout, let the gates judge it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pipelines.assessment import Assessed, log_report
from pipelines.errors import PermanentError
from pipelines.gates.evidence import Evidence
from pipelines.gates.gates import judge
from pipelines.gates.inference import measure
from pipelines.gates.inference_server import warm_up
from pipelines.gates.stability import disturb
from pipelines.metrics import losses, scores
from pipelines.results import Verdict
from pipelines.training import Rows, Trained, TrainingPlan, load_rows
from pipelines.use_case import UseCase, money
from pipelines.workspace import Model, Workspace

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
    trained: tuple[Trained, ...] = ()
    assessment: Assessed | None = None


def evaluate(workspace: Workspace, use_case: UseCase, plan: TrainingPlan, trained: list[Trained]) -> Evaluation:
    """Judge the best candidate.

    Raises:
        PermanentError: every candidate crashed.
    """
    crashed = tuple(sorted(set(plan.candidates) - {t.candidate for t in trained}))
    if not trained:
        raise PermanentError(
            f"{use_case.name} {plan.partition}: every candidate crashed ({', '.join(crashed)}); read their logs"
        )
    warm_up()
    rows = load_rows(workspace, use_case, plan)
    score = scorer(workspace, use_case, rows.holdout)
    chosen = settle(use_case, trained, rows.holdout, score)
    evidence = gather(workspace, use_case, plan, chosen, trained, rows, score)
    verdicts = tuple(judge(evidence, use_case.gates))
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
        tuple(trained),
    )
    _log_in_mlflow(workspace, result)
    return result


Scorer = Callable[[str], tuple[Model, Any]]


def scorer(workspace: Workspace, use_case: UseCase, holdout: Any) -> Scorer:
    """From a model's address to the model and its probabilities on the holdout; each is loaded and asked once."""

    @cache
    def score(model_uri: str) -> tuple[Model, Any]:
        model = workspace.registry.load_uri(use_case.name, model_uri)
        return model, model.predict(holdout)

    return score


def settle(use_case: UseCase, trained: list[Trained], holdout: Any, score: Scorer) -> Trained:
    """The best candidate by its folds; a complex one that does not beat the simple one on newer rows too loses to it."""
    chosen, plainest = choose(use_case, trained), _plainest(use_case, trained)
    if plainest is None or plainest is chosen:
        return chosen
    label = holdout["label"].to_numpy()
    mine, plain = (losses(label, score(t.model_uri)[1]).mean() for t in (chosen, plainest))
    if plain - mine >= use_case.gates.min_gain_over_simple:
        return chosen
    _log.warning("%s does not beat %s on newer rows and loses to it", chosen.candidate, plainest.candidate)
    return plainest


def _plainest(use_case: UseCase, trained: list[Trained]) -> Trained | None:
    """The best of the simple candidates."""
    simple = [t for t in trained if use_case.training.candidates[t.candidate].simple]
    return min(simple, key=lambda t: t.folds_log_loss, default=None)


def evaluate_assessed(
    workspace: Workspace, use_case: UseCase, plan: TrainingPlan, trained: list[Trained], assessed: Assessed | None
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
    result = replace(evaluate(workspace, use_case, plan, trained), assessment=assessed)
    log_report(workspace, assessed, result.chosen.run_id)
    return result


def choose(use_case: UseCase, trained: list[Trained]) -> Trained:
    """The lowest log loss over the folds; a complex model has to beat the best simple one by the margin."""
    best = min(trained, key=lambda t: t.folds_log_loss)
    plainest = _plainest(use_case, trained)
    if plainest is None:
        return best
    return best if plainest.folds_log_loss - best.folds_log_loss >= use_case.gates.min_gain_over_simple else plainest


def gather(
    workspace: Workspace,
    use_case: UseCase,
    plan: TrainingPlan,
    chosen: Trained,
    trained: list[Trained],
    rows: Rows,
    score: Scorer,
) -> Evidence:
    """Score the holdout with challenger, simple model, dummy and champion: the same rows for all of them."""
    holdout, registry = rows.holdout, workspace.registry
    model, challenger = score(chosen.model_uri)
    with ThreadPoolExecutor(1) as aside:  # the fresh process runs on the other core meanwhile
        checked = aside.submit(measure, registry, use_case.name, chosen.model_uri, use_case.features.names, holdout, challenger)
        simple = _plainest(use_case, trained)
        champion, problem = _champion_scores(workspace, use_case, plan, holdout)
        return Evidence(
            label=holdout["label"].to_numpy(),
            challenger=challenger,
            simple=score(simple.model_uri)[1] if simple else None,
            day=holdout[use_case.features.date].astype(str).to_numpy(),
            training_auc=chosen.training["auc"],
            is_simple=use_case.training.candidates[chosen.candidate].simple,
            has_champion=plan.champion is not None,
            champion=champion,
            champion_problem=problem,
            dummy=dummy_scores(rows.fit["label"], len(holdout)),
            segments={s: holdout[s].astype(str).to_numpy() if s in holdout else None for s in use_case.features.segments},
            threshold=use_case.scoring.threshold,
            value=use_case.value,
            stability=disturb(use_case, model.predict, holdout),
            inference=checked.result(),
        )


def dummy_scores(label: Any, rows: int) -> Any:
    """What always saying the average of the training labels gives, for so many rows."""
    from sklearn.dummy import DummyClassifier

    dummy = DummyClassifier(strategy="prior").fit(label.to_frame(), label)
    return dummy.predict_proba(range(rows))[:, -1]


def _champion_scores(workspace: Workspace, use_case: UseCase, plan: TrainingPlan, holdout: Any) -> tuple[Any, str | None]:
    """The champion's probabilities, or why there are none. One that was trained on the holdout may not be judged on it."""
    if plan.champion is None:
        return None, None
    try:
        model = workspace.registry.load(use_case.name, plan.champion)
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


def _log_in_mlflow(workspace: Workspace, result: Evaluation) -> None:
    """The verdicts, on the chosen candidate's MLflow run."""
    from mlflow.entities import Metric, RunTag

    said = {f"gate.{v.gate}": f"{'passed' if v.passed else 'FAILED'}: {v.sentence}"[:4900] for v in result.verdicts}
    tags = [RunTag(name, text) for name, text in {"gates": "passed" if result.passed else "failed", **said}.items()]
    now = int(time.time() * 1000)
    metrics = [Metric(f"holdout_{name}", value, now, 0) for name, value in result.holdout.items() if value is not None]
    workspace.registry.client.log_batch(result.chosen.run_id, metrics=metrics, tags=tags)
