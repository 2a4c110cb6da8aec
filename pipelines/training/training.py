"""Training: pin the data, search each candidate over time-ordered folds, log it in MLflow.

Rows are ordered by time. The newest `holdout_days` are never searched on: they are what the gates look at.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pipelines.errors import PermanentError
from pipelines.use_case import ROOT, Candidate, UseCase, features_table, labels_table
from pipelines.workspace import RunTags, StageRun, Workspace

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """Which rows a training sees: pinned table versions, so that it can be repeated from the very same rows."""

    use_case: str
    partition: str
    partitions: tuple[str, ...]
    versions: dict[str, int]
    holdout_from: str
    trained_through: str
    candidates: tuple[str, ...]
    champion: int | None
    rows: int


@dataclass(frozen=True)
class Trained:
    """One candidate's best pipeline, fitted on everything before the holdout."""

    candidate: str
    run_id: str
    model_uri: str
    params: dict[str, Any]
    trials: int
    folds_log_loss: float
    training: dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """A frame of rows in order of time, split by `holdout_from`."""

    fit: Any
    holdout: Any

    @property
    def all(self) -> Any:
        import pandas as pd

        return pd.concat([self.fit, self.holdout])


def plan_training(run: StageRun) -> TrainingPlan:
    """Choose and pin the rows.

    Raises:
        PermanentError: the partition itself is not ready, or there are fewer partitions than `training.min_partitions`.
    """
    features, labels = features_table(run.use_case), labels_table(run.use_case)
    labelled = run.lake.partitions(labels)
    ready = [k for k in run.lake.partitions(features) if k in labelled and k <= run.key]
    if run.key not in ready:
        raise PermanentError(f"{run.use_case.name} {run.key}: no features and labels; run ingestion, features, labels for it")
    chosen = ready[-(run.use_case.training.max_partitions or len(ready)) :]
    if len(chosen) < run.use_case.training.min_partitions:
        raise PermanentError(
            f"{run.use_case.name} {run.key}: {len(chosen)} partitions with features and labels "
            f"({', '.join(chosen)}), but training.min_partitions is {run.use_case.training.min_partitions}"
        )
    champion = run.ledger.champion(run.use_case.name)
    holdout = run.partition.end - timedelta(days=run.use_case.training.holdout_days)
    return TrainingPlan(
        run.use_case.name,
        run.key,
        tuple(chosen),
        {features: run.lake.version(features), labels: run.lake.version(labels)},
        holdout.isoformat(),
        (run.partition.end - timedelta(days=1)).isoformat(),
        tuple(run.use_case.training.candidates),
        champion.version if champion else None,
        sum(labelled[key] for key in chosen),
    )


def load_rows(workspace: Workspace, use_case: UseCase, plan: TrainingPlan) -> Rows:
    """The planned rows, features and label joined one to one, oldest first."""
    spec = use_case.features
    features = workspace.lake.read(features_table(use_case), plan.partitions, plan.versions[features_table(use_case)])
    labels = workspace.lake.read(labels_table(use_case), plan.partitions, plan.versions[labels_table(use_case)])
    rows = features.to_pandas().merge(labels.to_pandas()[[spec.key, "label"]], on=spec.key, validate="one_to_one")
    rows = rows.sort_values([spec.date, spec.key], ignore_index=True)
    newest = rows[spec.date].astype(str) >= plan.holdout_from
    fit, holdout = rows[~newest], rows[newest]
    if fit.empty or holdout.empty:
        raise PermanentError(
            f"{use_case.name} {plan.partition}: no rows before or after {plan.holdout_from}; see training.holdout_days"
        )
    return Rows(fit, holdout)


def train_candidate(workspace: Workspace, use_case: UseCase, plan: TrainingPlan, name: str) -> Trained:
    """Search, fit and log one candidate."""
    candidate = use_case.training.candidates[name]
    rows = load_rows(workspace, use_case, plan)
    with workspace.registry.run(use_case.name, f"{plan.partition} {name}", run_tags(use_case, plan)) as run_id:
        best, loss, trials = search(use_case, candidate, rows.fit)
        pipeline = fit(use_case, candidate, best, rows.fit)
        training = evaluate_on(pipeline, use_case, rows.fit.tail(use_case.training.search_rows))
        workspace.registry.mlflow.log_params({"candidate": name, **candidate.params, **best})
        workspace.registry.mlflow.log_metric("folds_log_loss", loss)
        workspace.registry.mlflow.log_dict(use_case.model_dump(mode="json"), "use_case.json")
        workspace.registry.mlflow.log_metrics({f"training_{k}": v for k, v in training.items() if v is not None})
        meta = model_meta(use_case, plan, name, best)
        uri = workspace.registry.log_model(pipeline, example(use_case, rows.fit), meta)
    return Trained(name, run_id, uri, best, trials, loss, training)


def search(use_case: UseCase, candidate: Candidate, rows: Any) -> tuple[dict[str, Any], float, int]:
    """Best parameters, their mean log loss over the folds, and how many trials ran.

    Optuna's TPE with median pruning, within `training.trials` and `training.seconds`. Every trial is judged on the
    same expanding, time-ordered folds: a fold's validation days all come after its fitting days.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = use_case.training
    newest = rows.tail(settings.search_rows)
    folds = time_folds(newest[use_case.features.date], settings.folds)

    def objective(trial: Any) -> float:
        from pipelines.training.estimators import suggest

        return _folds_loss(use_case, candidate, suggest(trial, candidate), newest, folds, trial)

    sampler = optuna.samplers.TPESampler(seed=settings.seed)
    study = optuna.create_study(direction="minimize", sampler=sampler, pruner=optuna.pruners.MedianPruner(n_startup_trials=2))
    study.optimize(objective, n_trials=settings.trials if candidate.search else 1, timeout=settings.seconds)
    return dict(study.best_params), float(study.best_value), len(study.trials)


def _folds_loss(use_case: UseCase, candidate: Candidate, params: dict[str, Any], rows: Any, folds: Any, trial: Any) -> float:
    import optuna

    total = 0.0
    for number, (before, after) in enumerate(folds):
        pipeline = fit(use_case, candidate, params, rows[before])
        total += evaluate_on(pipeline, use_case, rows[after])["log_loss"] or float("inf")
        trial.report(total / (number + 1), number)
        if trial.should_prune() and number + 1 < len(folds):
            raise optuna.TrialPruned
    return total / len(folds)


def time_folds(dates: Any, folds: int) -> list[tuple[Any, Any]]:
    """Expanding windows over whole days, validated on the newer half: boolean masks (fit, validate); no day is on both sides.

    Raises:
        PermanentError: fewer days than folds.
    """
    from sklearn.model_selection import TimeSeriesSplit

    days = sorted(dates.unique())
    if len(days) <= folds:
        raise PermanentError(f"{len(days)} days are too few for {folds} folds; lower training.folds or wait for more data")
    found = []
    # The first fold fits on half of the days: on less, plain models win only because they need little data.
    for before, after in TimeSeriesSplit(n_splits=folds, test_size=max(len(days) // (2 * folds), 1)).split(days):
        first, last = days[after[0]], days[after[-1]]
        found.append((dates < days[before[-1] + 1], (dates >= first) & (dates <= last)))
    return found


def fit(use_case: UseCase, candidate: Candidate, params: dict[str, Any], rows: Any) -> Any:
    """The candidate's pipeline fitted on `rows`, by one thread: candidates train side by side, and the last bits of a
    sum hang on the number of threads, which a model that is reproduced elsewhere may not."""
    from threadpoolctl import threadpool_limits

    from pipelines.training.estimators import make_pipeline

    pipeline = make_pipeline(use_case, candidate, params, use_case.training.seed)
    with threadpool_limits(1):
        return pipeline.fit(rows[list(use_case.features.names)], rows["label"])


def evaluate_on(pipeline: Any, use_case: UseCase, rows: Any) -> dict[str, Any]:
    from pipelines.metrics import scores

    probability = pipeline.predict_proba(rows[list(use_case.features.names)])[:, 1]
    return scores(rows["label"].to_numpy(), probability)


def example(use_case: UseCase, rows: Any) -> Any:
    return rows[list(use_case.features.names)].tail(5)


def model_meta(use_case: UseCase, plan: TrainingPlan, candidate: str, params: dict[str, Any]) -> dict[str, Any]:
    """What a version must carry to be served, judged and rebuilt."""
    return {
        "use_case": use_case.name,
        "features": list(use_case.features.names),
        "candidate": candidate,
        "params": params,
        "partition": plan.partition,
        "partitions": list(plan.partitions),
        "versions": plan.versions,
        "holdout_from": plan.holdout_from,
        "trained_through": plan.trained_through,
        "seed": use_case.training.seed,
        **_made_with(use_case),
    }


def run_tags(use_case: UseCase, plan: TrainingPlan) -> RunTags:
    """What an MLflow run says of the data, the code and the configuration that it came from."""
    return RunTags(
        partition=plan.partition,
        partitions=plan.partitions,
        versions=plan.versions,
        seed=use_case.training.seed,
        **_made_with(use_case),
    )


def _made_with(use_case: UseCase) -> dict[str, str]:
    return {
        "configuration": digest_of(use_case.model_dump_json()),
        "code": git_commit(),
        "lock": digest_of((ROOT / "requirements.lock").read_text()),
    }


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def git_commit() -> str:
    """The commit that runs: TRAINYARD_COMMIT, as in the image, or that of the checkout, `-dirty` where it was changed."""
    told = os.environ.get("TRAINYARD_COMMIT")
    if told:
        return told
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
