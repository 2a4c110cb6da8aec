"""Where a model came from: data, code, configuration and packages, as its version and its MLflow run carry it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from typing import Any

from pipelines.training.plan import TrainingRun
from pipelines.use_case import ROOT, UseCase
from pipelines.workspace import ModelMeta, RunTags


def model_meta(training: TrainingRun, candidate: str, params: dict[str, Any]) -> ModelMeta:
    """What a version must carry to be served, judged and rebuilt."""
    use_case, plan = training.use_case, training.plan
    made_with = _made_with(use_case)
    return {
        "use_case": use_case.name,
        "features": list(use_case.features.names),
        "definitions": plan.definitions,
        "candidate": candidate,
        "params": params,
        "partition": plan.partition,
        "partitions": list(plan.partitions),
        "versions": plan.versions,
        "holdout_from": plan.holdout_from,
        "trained_through": plan.trained_through,
        "seed": use_case.training.seed,
        "configuration": made_with["configuration"],
        "code": made_with["code"],
        "lock": made_with["lock"],
    }


def run_tags(training: TrainingRun) -> RunTags:
    """What an MLflow run says of the data, the code and the configuration that it came from."""
    use_case, plan = training.use_case, training.plan
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
    given = os.environ.get("TRAINYARD_COMMIT")
    if given:
        return given
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
