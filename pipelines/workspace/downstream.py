"""What stands on a partition's rows, and so has to be computed again when they change."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.use_case import UseCase, features_table, labels_table, monitoring_table, predictions_table, source_table
from pipelines.workspace.stage_run import StageRun
from pipelines.workspace.workspace import Workspace


def dependents(run: StageRun, source: str) -> tuple[str, ...]:
    """This partition, and the published later ones whose windows reach back into it, or into what became known of it late.

    Reference data counts for this partition only: others were right with what was known then.
    """
    use_case, spec, label = run.use_case, run.use_case.features, run.use_case.label
    has_history = source in (spec.entity, label.source)
    reach = max([join.lookback_days for join in spec.joins if join.table == source] + [spec.lookback_days * has_history])
    known = run.lake.latest(source_table(use_case, label.source), label.known_at).get(run.key) if has_history else None
    known = known and max(known, use_case.sources[label.source].counts_from(run.partition, use_case.timezone))
    later = [use_case.partition(key) for key in run.lake.partitions(features_table(use_case)) if key > run.key]
    return (
        run.key,
        *(
            p.key
            for p in later
            if run.partition in p.back_to(reach) or (known and known > p.starts_at(use_case.timezone, reach))
        ),
    )


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
