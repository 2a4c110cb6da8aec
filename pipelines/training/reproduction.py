"""Reproduction: train a registered version again from what was recorded with it, and compare to the last bit."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.training.estimators import evaluate_on, fit
from pipelines.training.plan import Rows, TrainingPlan, TrainingRun
from pipelines.training.provenance import digest_of, git_commit
from pipelines.use_case import ROOT, UseCase, load_use_case
from pipelines.workspace import CONFIGURATION_FILE, Model, Workspace

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

Scores = dict[str, float | int | None]


@dataclass(frozen=True)
class Compared:
    """One figure, as it was recorded and as it came out again."""

    metric: str
    recorded: float | None
    reproduced: float | None

    @property
    def same(self) -> bool:
        return self.recorded == self.reproduced


@dataclass(frozen=True)
class Reproduction:
    """`difference`: the largest one between the registered model's probabilities and the new one's, over the holdout.

    `warnings` name what is not as it was; they do not fail it.
    """

    use_case: str
    version: int
    candidate: str
    rows: int
    refitted: bool
    metrics: tuple[Compared, ...]
    difference: float
    warnings: tuple[str, ...]

    @property
    def identical(self) -> bool:
        return bool(self.metrics) and all(m.same for m in self.metrics) and self.difference == 0.0

    def __str__(self) -> str:
        """The comparison as a table, what is not as it was, and the outcome in one line."""
        head = f"{'metric':<20}{'recorded':>24}{'reproduced':>24}  same"
        lines = [f"{m.metric:<20}{m.recorded!r:>24}{m.reproduced!r:>24}  {'yes' if m.same else 'NO'}" for m in self.metrics]
        served = "fitted once more on all rows" if self.refitted else "as it was judged"
        lines += [f"{f'largest difference of a probability, {served}':<68}{self.difference!r:>6}"]
        lines += [f"warning: {warning}" for warning in self.warnings]
        name = f"{self.use_case} v{self.version} ({self.candidate}, {self.rows:,} rows)"
        return "\n".join([head, *lines, f"{name}: {self._outcome()}"])

    def _outcome(self) -> str:
        if self.identical:
            return "reproduced, identical to the last bit"
        if not self.metrics:
            return "NOT reproduced: no scores were recorded to compare with, or they are gone with its run"
        other = [m.metric for m in self.metrics if not m.same] + (["the probabilities"] if self.difference else [])
        return f"NOT reproduced: {', '.join(other)} differ"


@dataclass(frozen=True)
class Original:
    """A registered version, the MLflow run that it came from, and the configuration that it was trained with."""

    workspace: Workspace
    use_case: UseCase
    model: Model
    run_id: str | None

    def __str__(self) -> str:
        return f"{self.use_case.name} v{self.model.version}"


def reproduce(workspace: Workspace, use_case_name: str, version: int) -> Reproduction:
    """Fit what a version was judged as, and the version itself, from the rows, parameters and seed of then.

    Raises:
        PermanentError: no such version, its rows are gone, or its configuration cannot be read any more.
    """
    from threadpoolctl import threadpool_limits

    run_id = workspace.registry.version(use_case_name, version).run_id
    model = workspace.registry.load(use_case_name, version)
    use_case, warnings = _use_case(workspace, use_case_name, run_id, model)
    original = Original(workspace, use_case, model, run_id)
    with threadpool_limits(1):
        rows = _rows(original)
        judged = _fit(original, rows.fit)
        recorded, refitted = _recorded(original)
        metrics = _compare(recorded, evaluate_on(judged, use_case, rows.holdout))
        served = _fit(original, rows.all) if refitted else judged
        difference = _difference(original, served, rows.holdout)
    return Reproduction(
        use_case=use_case_name,
        version=version,
        candidate=model.meta["candidate"],
        rows=len(rows.all),
        refitted=refitted,
        metrics=metrics,
        difference=difference,
        warnings=(*warnings, *_changes(original)),
    )


def _use_case(workspace: Workspace, name: str, run_id: str | None, model: Model) -> tuple[UseCase, list[str]]:
    """The configuration as it was; today's where none was kept. The recorded seed holds in any case."""
    text = workspace.registry.configuration(run_id)
    use_case = _parsed(name, model, text) if text else load_use_case(name)
    warnings = [] if text else [f"its run kept no {CONFIGURATION_FILE}, or is gone: today's {name}.yaml was used"]
    if digest_of(use_case.model_dump_json()) != model.meta["configuration"]:
        warnings.append("the configuration is another one than it was trained with: its digest differs")
    if model.meta["candidate"] not in use_case.training.candidates:
        raise PermanentError(
            f"{name} v{model.version}: the configuration has no candidate '{model.meta['candidate']}' any more; "
            f"check out the file of then: git checkout {model.meta['code']} -- conf/use_cases/{name}.yaml"
        )
    seeded = use_case.training.model_copy(update={"seed": model.meta["seed"]})
    return use_case.model_copy(update={"training": seeded}), warnings


def _parsed(name: str, model: Model, text: str) -> UseCase:
    from pydantic import ValidationError

    try:
        return UseCase.model_validate(json.loads(text))
    except (ValueError, ValidationError) as error:
        raise PermanentError(
            f"{name} v{model.version}: its configuration of then is not understood by this code ({error}); reproduce it "
            f"with the code of then: git checkout {model.meta['code']}"
        ) from None


def _rows(original: Original) -> Rows:
    """The rows of the recorded table versions."""
    from deltalake.exceptions import DeltaError

    meta = original.model.meta
    plan = TrainingPlan(
        use_case=original.use_case.name,
        partition=meta["partition"],
        partitions=tuple(meta["partitions"]),
        versions=meta["versions"],
        holdout_from=meta["holdout_from"],
        trained_through=meta["trained_through"],
        candidates=(meta["candidate"],),
        champion=None,
        rows=0,
    )
    try:
        return TrainingRun(original.workspace, original.use_case, plan).rows
    except (DeltaError, OSError, PermanentError) as error:
        tables = ", ".join(f"{table} version {number}" for table, number in meta["versions"].items())
        raise PermanentError(
            f"{original}: its rows cannot be loaded as they were ({tables}): {error}. If they were "
            "swept away or lost, put the files back from a backup of the lake"
        ) from None


def _fit(original: Original, rows: pd.DataFrame) -> Pipeline:
    meta, use_case = original.model.meta, original.use_case
    return fit(use_case, use_case.training.candidates[meta["candidate"]], meta["params"], rows)


def _recorded(original: Original) -> tuple[Scores, bool]:
    """The scores on the holdout that were written down, and whether the version was fitted once more after them."""
    if "holdout" in original.model.meta:
        return dict(original.model.meta["holdout"]), True
    client = original.workspace.registry.client
    try:
        logged = client.get_run(original.run_id).data.metrics if original.run_id else {}
    except PermanentError:  # deleted for good
        logged = {}
    return {name.removeprefix("holdout_"): value for name, value in logged.items() if name.startswith("holdout_")}, False


def _compare(recorded: Scores, reproduced: Scores) -> tuple[Compared, ...]:
    names = [name for name in reproduced if name in recorded]
    return tuple(Compared(name, recorded[name], reproduced[name]) for name in names)


def _difference(original: Original, pipeline: Pipeline, rows: pd.DataFrame) -> float:
    import numpy as np

    mine = pipeline.predict_proba(rows[list(original.use_case.features.names)])[:, 1]
    return float(np.abs(mine - original.model.predict(rows)).max())


def _changes(original: Original) -> list[str]:
    """What is not as it was at the training, beside the rows."""
    model = original.model
    about = original.workspace.registry.mlflow.models.get_model_info(f"models:/{model.name}/{model.version}")
    then = (about.flavors.get("python_function") or {}).get("python_version")
    pairs = {
        "code commit": (model.meta["code"], git_commit()),
        "requirements.lock": (model.meta["lock"], digest_of((ROOT / "requirements.lock").read_text())),
        "Python": (then, platform.python_version()),
    }
    return [f"{what}: was {before}, is {now}" for what, (before, now) in pairs.items() if before != now]
