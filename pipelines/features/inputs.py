"""Which published files a features job reads: one rule for each kind of input, in the time in which its rows become known.

outcomes   every partition, however old, that holds one which became known within the longest window, by Delta's log
entity     the partition itself, and those of these outcomes
joined     the partition, and those before it that its own windows reach (`lookback`); reference data whole

What the windows reach and nobody published is no gap to be read over: it stops the plan, but for the share allowed.
"""

from __future__ import annotations

from datetime import timedelta

from pipelines.errors import PermanentError
from pipelines.use_case import SNAPSHOT, Partition, source_table
from pipelines.workspace import StageRun

Files = dict[str, list[str]]


def chosen_files(run: StageRun) -> dict[str, Files]:
    """By table of the use case and partition key, the published files that the features of a partition stand on."""
    return {table: files_of(run, table, keys) for table, keys in chosen_keys(run).items()}


def chosen_keys(run: StageRun) -> dict[str, set[str]]:
    """By table of the use case, the partitions that the features of a partition stand on, published or not."""
    spec = run.use_case.features
    known = _known_outcomes(run)
    keys = {run.use_case.label.source: known} | {spec.entity: {run.key, *known}}
    for join in spec.joins:
        snapshot = run.use_case.sources[join.table].snapshot
        reach = {SNAPSHOT} if snapshot else {p.key for p in run.partition.back_to(join.lookback_days)}
        keys[join.table] = keys.get(join.table, set()) | reach
    return keys


def stop_at_gaps(run: StageRun) -> None:
    """Raises PermanentError where partitions within reach are not published, more than `features.max_missing_share`."""
    spec, outcomes = run.use_case.features, run.use_case.label.source
    for join in spec.joins:
        if not run.use_case.sources[join.table].snapshot:
            _stop_at_gaps(run, join.table, join.lookback_days)
    if spec.lookback_days:
        for table in (spec.entity, outcomes):
            _stop_at_gaps(run, table, spec.lookback_days + run.use_case.sources[outcomes].available_days)


def _known_outcomes(run: StageRun) -> set[str]:
    """Keys of the partitions, up to this one, that may hold an outcome known since the longest window began."""
    spec, label = run.use_case.features, run.use_case.label
    if not spec.lookback_days:
        return set()
    since = run.partition.starts_at(run.use_case.timezone, spec.lookback_days)
    latest = run.lake.latest(source_table(run.use_case, label.source), label.known_at)
    return {key for key, at in latest.items() if key <= run.key and (at is None or at > since)}


def files_of(run: StageRun, table: str, keys: set[str]) -> Files:
    """The published files of these partitions, by key; without those that are not published."""
    found: Files = {}
    name = source_table(run.use_case, table)
    for file in run.lake.files(name, keys) if run.lake.exists(name) else ():
        found.setdefault(file.partition, []).append(file.uri)
    return found


def _stop_at_gaps(run: StageRun, table: str, days: int) -> None:
    published = run.lake.partitions(source_table(run.use_case, table))
    within = [p for p in run.partition.back_to(days) if p.key >= min(published, default=run.key)]
    due = [p.key for p in within if _is_due(run, table, p)]
    missing = [key for key in due if key not in published]
    if len(missing) > run.use_case.features.max_missing_share * len(due):
        raise PermanentError(
            f"{run}: {source_table(run.use_case, table)} is not published for {', '.join(missing)}, which the features reach "
            "back to; run ingestion for it first, or allow gaps by features.max_missing_share"
        )


def _is_due(run: StageRun, table: str, partition: Partition) -> bool:
    """Whether it has to be there: at once, unless the table tells what has happened, some time after the partition's end."""
    source, zone = run.use_case.sources[table], run.use_case.timezone
    observed = table == run.use_case.label.source or source.available_after > timedelta(0)
    return not observed or partition.ends_at(zone) + source.available_after <= run.partition.starts_at(zone)


def contents(run: StageRun, table: str, files: Files) -> dict[str, str]:
    """By partition key, what tells one content from another: the digests of source and contract; without, its files."""
    commits = run.lake.published_each(source_table(run.use_case, table), files)
    known = {key: (c.record.source_digest, c.record.contract, c.record.replayed) for key, c in commits.items()}
    return {
        key: f"{known[key]}" if key in known and known[key][0] else ",".join(sorted(uri.rsplit("/", 2)[-2] for uri in uris))
        for key, uris in files.items()
    }
