"""Train one candidate: search, fit on everything before the holdout, log it in MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import PermanentError
from pipelines.training.estimators import evaluate_on, fit
from pipelines.training.plan import TrainingRun
from pipelines.training.provenance import model_meta, run_tags
from pipelines.training.search import search
from pipelines.use_case import Candidate, UseCase
from pipelines.workspace import CONFIGURATION_FILE, kept_and_loaded

if TYPE_CHECKING:
    import pandas as pd


_FEW = 200


@dataclass(frozen=True)
class Trained:
    """One candidate's best pipeline, fitted on everything before the holdout."""

    candidate: str
    run_id: str
    model_uri: str
    params: dict[str, Any]
    trials: int
    folds_log_loss: float
    training: dict[str, float | int | None]


def train_candidate(training: TrainingRun, name: str) -> Trained:
    """Search, fit and log one candidate."""
    use_case, rows, mlflow = training.use_case, training.rows.fit, training.registry.mlflow
    candidate = use_case.training.candidates[name]
    try_out(use_case, name, candidate, rows)
    with training.registry.run(use_case.name, f"{training.key} {name}", run_tags(training)) as run_id:
        best = search(use_case, candidate, rows)
        pipeline = fit(use_case, candidate, best.params, rows)
        scored = evaluate_on(pipeline, use_case, rows.tail(use_case.training.search_rows))
        mlflow.log_params({"candidate": name, **candidate.params, **best.params})
        mlflow.log_metric("folds_log_loss", best.log_loss)
        mlflow.log_metrics({f"training_{k}": v for k, v in scored.items() if v is not None})
        mlflow.log_dict(use_case.model_dump(mode="json"), CONFIGURATION_FILE)
        uri = training.registry.log_model(pipeline, example(use_case, rows), model_meta(training, name, best.params))
    return Trained(
        candidate=name,
        run_id=run_id,
        model_uri=uri,
        params=best.params,
        trials=best.trials,
        folds_log_loss=best.log_loss,
        training=scored,
    )


def try_out(use_case: UseCase, name: str, candidate: Candidate, rows: pd.DataFrame) -> None:
    """Fit, predict, keep and load on a few rows: what cannot be kept or has no probabilities is not searched first.

    Raises:
        PermanentError: says which of these it is.
    """
    few = rows.groupby("label", group_keys=False).head(_FEW // 2)
    where = f"{use_case.name}: candidate '{name}' ({candidate.estimator})"
    try:
        pipeline = fit(use_case, candidate, {}, few)
        if not hasattr(pipeline, "predict_proba"):
            raise PermanentError(f"{where} gives no probabilities; choose an estimator that does, or set calibrate")
        probability = pipeline.predict_proba(few[list(use_case.features.names)])
        again = kept_and_loaded(pipeline, where)
        same = (again.predict_proba(few[list(use_case.features.names)]) == probability).all()
    except PermanentError:
        raise
    except Exception as error:  # whatever it is, it would come after the whole search
        raise PermanentError(f"{where} does not work on {len(few)} rows: {type(error).__name__}: {error}") from error
    if not same:
        raise PermanentError(f"{where} gives other probabilities once it was kept and loaded")


def example(use_case: UseCase, rows: pd.DataFrame) -> pd.DataFrame:
    """Input of the model, for its signature."""
    return rows[list(use_case.features.names)].tail(5)
