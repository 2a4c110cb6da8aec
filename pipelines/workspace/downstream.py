"""What stands on a partition's rows, and so has to be computed again when they change."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.use_case import UseCase, features_table, labels_table, monitoring_table, predictions_table
from pipelines.workspace.stage_run import StageRun
from pipelines.workspace.workspace import Workspace


def dependents(run: StageRun, source: str) -> tuple[str, ...]:
    """This partition, and the published later ones whose history reaches back into it.

    Reference data counts for this partition only: others were right with what was known then.
    """
    spec = run.use_case.features
    if source not in (spec.entity, run.use_case.label.source):
        return (run.key,)
    later = [run.use_case.partition(key) for key in run.lake.partitions(features_table(run.use_case)) if key > run.key]
    return (run.key, *(p.key for p in later if run.partition in p.back_to(spec.lookback_days)))


def stages_to_recompute(workspace: Workspace, use_case: UseCase, keys: Iterable[str]) -> list[tuple[str, str]]:
    """(stage, partition) of what was published before and stands on these partitions, in the order to run them."""
    tables = {
        "features": features_table(use_case),
        "labels": labels_table(use_case),
        "scoring": predictions_table(use_case),
        "monitoring": monitoring_table(use_case),
    }
    known = {stage: workspace.lake.partitions(table) for stage, table in tables.items()}
    return [(stage, key) for key in sorted(set(keys)) for stage in tables if key in known[stage]]
