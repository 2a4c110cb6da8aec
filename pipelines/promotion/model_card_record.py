"""What a model card says of the model itself, as plain JSON: gathered once, while the model is registered."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from pipelines.gates import Evaluation
from pipelines.promotion.model_card_figures import CONFIDENCE, calibration, importances, intervals, statistics
from pipelines.promotion.proposal import Proposal
from pipelines.results import to_json
from pipelines.training import TrainingRun
from pipelines.use_case import UseCase
from pipelines.workspace import Model

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("auc", "log_loss", "calibration_error")


def card_record(proposal: Proposal) -> dict[str, Any]:
    """Everything that the card says of the model itself, as plain JSON; what became of it is asked of the ledger."""
    training, evaluation, rows = proposal.training, proposal.evaluation, proposal.training.rows
    use_case = training.use_case
    model = training.registry.load_uri(use_case.name, evaluation.chosen.model_uri)
    label, probability = rows.holdout["label"].to_numpy(), model.predict(rows.holdout)
    day = rows.holdout[use_case.features.date].astype(str).to_numpy()
    return {
        **_about(proposal),
        "data": _data(training),
        "candidates": _candidates(use_case, evaluation),
        "crashed": list(evaluation.crashed),
        "metrics": _metrics(evaluation, intervals(label, probability, day)),
        "slices": _slices(evaluation),
        "calibration": calibration(label, probability),
        "importances": importances(use_case, model.pipeline, rows.holdout),
        "worth": _worth(use_case, evaluation),
        "gates": [{"gate": v.gate, "passed": v.passed, "sentence": v.sentence} for v in evaluation.verdicts],
        "warnings": _warnings(evaluation),
        "reproduction": _reproduction(proposal),
    }


def rehearse(use_case: UseCase, model: Model, rows: pd.DataFrame) -> None:
    """The figures of a card. Raises whatever would stop it."""
    label, day = rows["label"].to_numpy(), rows[use_case.features.date].astype(str).to_numpy()
    probability = model.predict(rows)
    found = [intervals(label, probability, day), calibration(label, probability), statistics(use_case, rows)]
    to_json([*found, importances(use_case, model.pipeline, rows)])


def _about(proposal: Proposal) -> dict[str, Any]:
    training, use_case = proposal.training, proposal.training.use_case
    return {
        "use_case": use_case.name,
        "title": use_case.title,
        "owner": use_case.owner,
        "purpose": use_case.purpose,
        "label": use_case.label.description,
        "limits": list(use_case.limits),
        "approval": use_case.approval,
        "approvers": use_case.approvers,
        "version": proposal.version,
        "partition": training.key,
        "champion_then": training.plan.champion,
        "refitted": proposal.registered.refitted,
        "confidence": CONFIDENCE,
        "min_slice_rows": use_case.gates.min_slice_rows,
        "min_gain_over_simple": use_case.gates.min_gain_over_simple,
        "moves_then": len(training.ledger.champion_moves(use_case.name)),
        "made_at": training.workspace.clock.now().isoformat(timespec="seconds"),
        "made_by": training.workspace.run,
    }


def _data(training: TrainingRun) -> dict[str, Any]:
    use_case, plan, rows = training.use_case, training.plan, training.rows
    return {
        "partitions": list(plan.partitions),
        "tables": dict(plan.versions),
        "features": len(use_case.features.names),
        "holdout_from": plan.holdout_from,
        "trained_through": plan.trained_through,
        "fit": statistics(use_case, rows.fit),
        "holdout": statistics(use_case, rows.holdout),
        "all": statistics(use_case, rows.all),
    }


def _candidates(use_case: UseCase, evaluation: Evaluation) -> list[dict[str, Any]]:
    """Every candidate that was tried, the best by its folds first."""
    found = []
    for trained in sorted(evaluation.trained or (evaluation.chosen,), key=lambda t: t.folds_log_loss):
        declared = use_case.training.candidates[trained.candidate]
        searched = {name: s.model_dump(mode="json", exclude_defaults=True) for name, s in declared.search.items()}
        about = {"candidate": trained.candidate, "estimator": declared.estimator, "simple": declared.simple}
        about |= {"calibrate": declared.calibrate, "fixed": dict(declared.params), "search": searched}
        about |= {"best": trained.params, "trials": trained.trials, "folds_log_loss": trained.folds_log_loss}
        found.append(about | {"chosen": trained.candidate == evaluation.chosen.candidate, "run": trained.run_id})
    return found


def _metrics(evaluation: Evaluation, found: dict[str, tuple[float, float] | None]) -> list[dict[str, Any]]:
    champion = evaluation.champion_holdout or {}
    return [
        {
            "metric": name,
            "value": evaluation.holdout.get(name),
            "low": (found[name] or (None, None))[0],
            "high": (found[name] or (None, None))[1],
            "champion": champion.get(name),
        }
        for name in METRICS
    ]


def _slices(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The table that the gate looked at."""
    slices: Any = next((v.numbers.get("slices") or [] for v in evaluation.verdicts if v.gate == "slices"), [])
    return list(slices)


def _worth(use_case: UseCase, evaluation: Evaluation) -> dict[str, Any] | None:
    if use_case.value is None or evaluation.worth is None:
        return None
    matrix = use_case.value.model_dump(mode="json")
    return {"value": evaluation.worth, "threshold": use_case.scoring.threshold, "matrix": matrix}


def _warnings(evaluation: Evaluation) -> list[dict[str, str]] | None:
    """What the assessment of the data warned of; None where the data was not assessed."""
    assessed = evaluation.assessment
    if assessed is None:
        return None
    return [{"question": v.gate, "sentence": v.sentence} for v in assessed.verdicts if v.gate in assessed.warned]


def _reproduction(proposal: Proposal) -> dict[str, Any]:
    """What the version itself carries, and where it lies."""
    registry, name, version = proposal.training.registry, proposal.training.use_case.name, proposal.version
    chosen, assessment = proposal.evaluation.chosen, proposal.evaluation.assessment
    meta, registered = registry.load(name, version).meta, registry.version(name, version)
    return {
        **{field: meta[field] for field in ("code", "lock", "configuration", "seed")},
        "python": platform.python_version(),
        "digest": registered.tags.digest,
        "run": registered.run_id or chosen.run_id,
        "judged_run": chosen.run_id,
        "assessment": assessment and assessment.page,
        "command": f"python -m pipelines reproduce {name} {version}",
    }
