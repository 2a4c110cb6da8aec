"""Whether a fault that was served has been mended since: the same rows, as they are published now, against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.errors import PermanentError
from pipelines.monitoring.comparison import compare, training_rows
from pipelines.monitoring.faults import faults
from pipelines.monitoring.observations import Drift, Monitored, Present
from pipelines.monitoring.sampling import sample
from pipelines.monitoring.slicing import slice_faults
from pipelines.monitoring.windows import Served
from pipelines.use_case import features_table
from pipelines.workspace import StageRun, published_definitions, refuse_other_definitions


def with_present(run: StageRun, seen: Served, drift: Drift, before: Sequence[Monitored]) -> Drift:
    """The drift, with the figures of now where a fault was served and the features were built again since."""
    as_served = Monitored(run.key, seen.version, replace(drift, present=None), None)
    version = _built_again(run, seen)
    if version is None or (drift.present and drift.present.version == version):
        return drift
    if not faults(run.use_case.monitoring, as_served, before):
        return drift
    return replace(drift, present=_present(run, seen, version, tuple(drift.sources)) or drift.present)


def _built_again(run: StageRun, seen: Served) -> int | None:
    """The version of the newest of the window's features, if some are newer than what was served, and all are there."""
    table = features_table(run.use_case)
    built = {key: commit.version for key, commit in run.lake.published_each(table, seen.partitions).items()}
    newer = [v for at, rows in seen.built.items() for key in rows if at is not None and (v := built.get(key, at)) > at]
    return max(built.values()) if newer and built.keys() >= set(seen.partitions) else None


def _present(run: StageRun, seen: Served, version: int, sourced: Sequence[str]) -> Present | None:
    """None where they were built by other definitions: there is nothing to compare, and a person has to look."""
    table, size = features_table(run.use_case), run.use_case.monitoring.sample_rows
    model = run.registry.load(run.use_case.name, seen.version)
    try:
        known = published_definitions(run.lake, table, seen.partitions)
        refuse_other_definitions(run.registry, run.use_case, model, known)
    except PermanentError:
        return None
    names = [name for name in model.meta["features"] if name in sourced]
    segments, reference = run.use_case.features.segments, training_rows(run, model)
    rows = sample(run, table, seen.partitions, None, list(dict.fromkeys([*names, *segments])), size).reset_index(drop=True)
    found = compare(run.use_case, names, rows, reference, len(seen.partitions))
    gone, slice_nulls = slice_faults(reference, rows, names, segments, found.parts.drawn)
    moved = found.moved
    published = run.lake.partitions(table)
    return Present(
        version=version,
        at=run.workspace.clock.now().isoformat(),
        rows=sum(published[key] for key in seen.partitions),
        nulls={name: each.nulls for name, each in moved.items() if each.nulls},
        unseen={name: each.unseen for name, each in moved.items() if each.unseen},
        factors={name: each.factor for name, each in moved.items() if each.factor},
        slices_gone=gone,
        slice_nulls=slice_nulls,
    )
