"""Register what the gates passed, fitted once more with the newest rows if the use case says so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.assessment import log_report
from pipelines.errors import PermanentError
from pipelines.gates import Array, Challenger, Judged, judge_inference, measure_inference, warm_up
from pipelines.promotion import model_card
from pipelines.promotion.outcome import keep_because
from pipelines.promotion.proposal import Proposal, Registered
from pipelines.training import TrainingRun, example, fit, model_meta, run_tags
from pipelines.workspace import CHALLENGER, CONFIGURATION_FILE, VersionTags

if TYPE_CHECKING:
    import pandas as pd


def register(judged: Judged) -> Registered:
    """Register what the gates passed, fitted once more with the holdout's rows if `training.refit` says so.

    Raises:
        PermanentError: the gates did not pass it.
    """
    refuse_failed(judged)
    training, evaluation, uri = judged.training, judged.evaluation, judged.evaluation.chosen.model_uri
    refitted = training.use_case.training.refit
    if refitted:
        challenger = refit(judged)
        uri = challenger.model_uri
        try:
            refuse_unserved(challenger)
        except PermanentError as error:
            keep_because(judged, str(error), "inference")
            raise
    tags = VersionTags(
        partition=training.key,
        candidate=evaluation.chosen.candidate,
        holdout_auc=evaluation.holdout["auc"],
        holdout_log_loss=evaluation.holdout["log_loss"],
        run=training.workspace.run,
    )
    version = training.registry.register(training.use_case.name, uri, tags)
    training.registry.set_alias(training.use_case.name, CHALLENGER, version)
    digest = training.registry.version(training.use_case.name, version).tags.digest
    registered = Registered(version=version, model_uri=uri, refitted=refitted, digest=digest)
    model_card.write(Proposal(training, evaluation, registered))
    return registered


def refuse_failed(judged: Judged) -> None:
    """Raises PermanentError unless every gate passed it."""
    evaluation = judged.evaluation
    if not evaluation.passed or not evaluation.verdicts or not all(v.passed for v in evaluation.verdicts):
        raise PermanentError(
            f"{judged}: a model that did not pass its gates is neither registered nor promoted: {evaluation.why}"
        )


def refit(judged: Judged) -> Challenger:
    """The same pipeline and parameters on all planned rows: the newest days are the ones most like tomorrow.

    Returns what was logged, with the newest rows and what it says of them here.
    """
    warm_up(["inference"])
    training, evaluation, chosen = judged.training, judged.evaluation, judged.evaluation.chosen
    use_case, registry, rows = training.use_case, training.registry, training.rows.all
    tags = replace(run_tags(training), refit_of=chosen.run_id)
    with registry.run(use_case.name, f"{training.key} {chosen.candidate} refit", tags) as run_id:
        if evaluation.assessment:
            log_report(training.workspace, evaluation.assessment, run_id)
        pipeline = fit(use_case, use_case.training.candidates[chosen.candidate], chosen.params, rows)
        meta = model_meta(training, chosen.candidate, chosen.params)
        meta["holdout"] = evaluation.holdout
        registry.mlflow.log_dict(use_case.model_dump(mode="json"), CONFIGURATION_FILE)
        uri = registry.log_model(pipeline, example(use_case, rows), meta)

    def predict(asked: pd.DataFrame) -> Array:
        return pipeline.predict_proba(asked[list(use_case.features.names)])[:, 1]

    newest = rows.tail(1000)
    return Challenger(training, uri, predict, newest, predict(newest))


def refuse_unserved(challenger: Challenger) -> None:
    """What was fitted anew has to come back from the registry as it is, as what the gates judged did."""
    training: TrainingRun = challenger.training
    verdict = judge_inference(measure_inference(challenger), training.use_case.gates)
    if not verdict.passed:
        raise PermanentError(f"{training}: the refitted model is not registered. {verdict.sentence}")
