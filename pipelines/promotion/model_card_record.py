"""What a model card says of the model itself, as plain JSON: gathered once, while the model is registered."""

from __future__ import annotations

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pipelines.gates import Evaluation
from pipelines.promotion.model_card_figures import CONFIDENCE, calibration, importances, intervals, statistics
from pipelines.training import TrainingPlan, load_rows
from pipelines.use_case import UseCase
from pipelines.workspace import Workspace

METRICS = ("auc", "log_loss", "calibration_error")


def card_record(
    workspace: Workspace, use_case: UseCase, plan: TrainingPlan, evaluation: Evaluation, version: int, refitted: bool
) -> dict[str, Any]:
    """Everything that the card says of the model itself, as plain JSON; what became of it is asked of the ledger."""
    rows = load_rows(workspace, use_case, plan)
    model = workspace.registry.load_uri(use_case.name, evaluation.chosen.model_uri)
    label, probability = rows.holdout["label"].to_numpy(), model.predict(rows.holdout)
    day = rows.holdout[use_case.features.date].astype(str).to_numpy()
    return {
        **_about(workspace, use_case, plan, version, refitted),
        "data": _data(use_case, plan, rows),
        "candidates": _candidates(use_case, evaluation),
        "crashed": list(evaluation.crashed),
        "metrics": _metrics(evaluation, intervals(label, probability, day)),
        "slices": _slices(evaluation),
        "calibration": calibration(label, probability),
        "importances": importances(use_case, model.pipeline, rows.holdout),
        "worth": _worth(use_case, evaluation),
        "gates": [{"gate": v.gate, "passed": v.passed, "sentence": v.sentence} for v in evaluation.verdicts],
        "warnings": _warnings(evaluation),
        "reproduction": _reproduction(workspace, use_case, evaluation, version),
    }


def _about(workspace: Workspace, use_case: UseCase, plan: TrainingPlan, version: int, refitted: bool) -> dict[str, Any]:
    return {
        "use_case": use_case.name,
        "title": use_case.title,
        "owner": use_case.owner,
        "purpose": use_case.purpose,
        "label": use_case.label.description,
        "limits": list(use_case.limits),
        "approval": use_case.approval,
        "approvers": use_case.approvers,
        "version": version,
        "partition": plan.partition,
        "champion_then": plan.champion,
        "refitted": refitted,
        "confidence": CONFIDENCE,
        "min_slice_rows": use_case.gates.min_slice_rows,
        "min_gain_over_simple": use_case.gates.min_gain_over_simple,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": workspace.run,
    }


def _data(use_case: UseCase, plan: TrainingPlan, rows: Any) -> dict[str, Any]:
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
    return list(next((v.numbers.get("slices") or [] for v in evaluation.verdicts if v.gate == "slices"), []))


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


def _reproduction(workspace: Workspace, use_case: UseCase, evaluation: Evaluation, version: int) -> dict[str, Any]:
    """What the version itself carries, and where it lies."""
    meta = workspace.registry.load(use_case.name, version).meta
    registered = workspace.registry.version(use_case.name, version)
    return {
        **{name: meta[name] for name in ("code", "lock", "configuration", "seed")},
        "python": platform.python_version(),
        "digest": registered.tags.digest,
        "run": registered.run_id or evaluation.chosen.run_id,
        "judged_run": evaluation.chosen.run_id,
        "assessment": evaluation.assessment and asdict(evaluation.assessment)["page"],
        "command": f"python -m pipelines reproduce {use_case.name} {version}",
    }
