"""Which published files a features job reads: one rule for each kind of input, in the time in which its rows become known.

outcomes   every partition, however old, that holds one which became known within the longest window, by Delta's log
entity     the partition itself, and those of these outcomes
joined     the partition, and those before it that its own windows reach (`lookback`)
snapshot   reference data, in the version that was known at the start of the partition

A row counts from its own moment on, but not before `Source.counts_from` of its partition. What is due by that rule at the
run's last cut-off and was not published, or not read again since, is missing: it stops the plan, but for the share allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from pipelines.use_case import SNAPSHOT, Partition, UseCase, source_table
from pipelines.workspace import StageRun

Files = dict[str, list[str]]
Latest = Mapping[str, datetime | None]


def chosen_files(run: StageRun, latest: Latest) -> dict[str, Files]:
    """By table of the use case and partition key, the published files that the features of a run stand on.

    Of reference data by version instead of partition key.
    """
    found = {table: files_of(run, table, keys) for table, keys in chosen_keys(run, latest).items()}
    for table in snapshots(run.use_case):
        name, versions = source_table(run.use_case, table), sorted(set(versions_known(run, table).values()))
        found[table] = {str(v): [file.uri for file in run.lake.files(name, [SNAPSHOT], v)] for v in versions}
    return found


def snapshots(use_case: UseCase) -> set[str]:
    """The reference data that features join."""
    return {join.table for join in use_case.features.joins if use_case.sources[join.table].snapshot}


def versions_known(run: StageRun, table: str) -> dict[str, int]:
    """By partition of the run, the version of reference data that was known at its start; the oldest where none was yet."""
    starts = {p.key: p.starts_at(run.use_case.timezone) for p in run.partitions}
    found, oldest = dict[str, int](), 0
    for commit in run.lake.standing(source_table(run.use_case, table)):
        if SNAPSHOT not in commit.record.keys:
            continue
        # A commit from before it was written counts for all.
        read, oldest = commit.record.part(SNAPSHOT).read_at, commit.version
        known = [key for key, at in starts.items() if not read or datetime.fromisoformat(read) <= at]
        found = dict.fromkeys(known, commit.version) | found
        if len(found) == len(starts):
            break
    return dict.fromkeys(starts, oldest) | found


def chosen_keys(run: StageRun, latest: Latest) -> dict[str, set[str]]:
    """By table with partitions, those that the features of a run stand on, published or not."""
    spec = run.use_case.features
    known = _known_outcomes(run, latest)
    keys = {run.use_case.label.source: known} | {spec.entity: {*(p.key for p in run.partitions), *known}}
    for join in spec.joins:
        if join.table not in snapshots(run.use_case):
            keys[join.table] = keys.get(join.table, set()) | {p.key for p in _reach(run, join.lookback_days)}
    return keys


def latest_outcomes(run: StageRun) -> Latest:
    """By published partition of the outcomes, the latest moment at which one became known; None where nobody can say."""
    label = run.use_case.label
    return run.lake.latest(source_table(run.use_case, label.source), label.known_at)


def missing(run: StageRun) -> list[str]:
    """What has to be there before the features of a run can be computed and is not, in sentences; none where all is there."""
    use_case, spec = run.use_case, run.use_case.features
    rows, keys = run.lake.partitions(source_table(use_case, spec.entity)), [p.key for p in run.partitions]
    absent = [key for key in keys if key not in rows] or ([] if any(rows[key] for key in keys) else keys)
    if absent:
        return [f"{source_table(use_case, spec.entity)} {', '.join(absent)}: not published; run ingestion for it first"]
    names = [source_table(use_case, table) for table in sorted(snapshots(use_case))]
    found = [f"{name} was never published; run ingestion for it first" for name in names if not run.lake.partitions(name)]
    return sum((_gaps(run, table, days) for table, days in _reaches(run).items()), found)


def last_cut_off(run: StageRun) -> datetime:
    """The latest moment at which a row of the run may know something: 00:00 local time of its last day."""
    return run.partition.ends_at(run.use_case.timezone) - timedelta(days=1)


def counts_from(run: StageRun, table: str, keys: Iterable[str]) -> dict[str, str]:
    """By partition, the day on which rows of a table count at the earliest: the first midnight from `counts_from` on."""
    source, zone = run.use_case.sources[table], run.use_case.timezone
    return {k: _midnight(source.counts_from(run.use_case.partition(k), zone)).isoformat() for k in sorted(keys)}


def _midnight(moment: datetime) -> date:
    """The day of the first midnight at or after a local moment."""
    return moment.date() + timedelta(days=moment.time() != datetime.min.time())


def _reach(run: StageRun, days: int) -> list[Partition]:
    """The run's partitions and those before them that reach so many days before the first one's start."""
    first, *others = run.partitions
    return [*first.back_to(days), *others]


def _reaches(run: StageRun) -> dict[str, int]:
    """By table with partitions, how many days before the run its features reach back."""
    spec, sources, outcomes = run.use_case.features, run.use_case.sources, run.use_case.label.source
    found = [(join.table, join.lookback_days) for join in spec.joins if join.table not in snapshots(run.use_case)]
    if spec.lookback_days:
        found += [(table, spec.lookback_days + sources[outcomes].available_days) for table in (spec.entity, outcomes)]
    return {table: max(days for other, days in found if other == table) for table, _ in found}


def _known_outcomes(run: StageRun, latest: Latest) -> set[str]:
    """Keys of the partitions that may hold an outcome that the longest window holds."""
    source, zone = run.use_case.sources[run.use_case.label.source], run.use_case.timezone
    since, until = counting(run)
    floor = {key: source.counts_from(run.use_case.partition(key), zone) for key in latest if since < until}
    return {k for k in floor if floor[k] <= until and ((at := latest[k]) is None or max(at, floor[k]) > since)}


def counting(run: StageRun) -> tuple[datetime, datetime]:
    """Outcomes that became known after the one moment, and up to the other, are in windows of the run."""
    days = run.use_case.features.lookback_days
    until = last_cut_off(run)
    return (run.partition.starts_at(run.use_case.timezone, days), until) if days else (until, until)


def files_of(run: StageRun, table: str, keys: set[str]) -> Files:
    """The published files of these partitions, by key; without those that are not published."""
    found: Files = {}
    name = source_table(run.use_case, table)
    for file in run.lake.files(name, keys) if run.lake.exists(name) else ():
        found.setdefault(file.partition, []).append(file.uri)
    return found


def _gaps(run: StageRun, table: str, days: int) -> list[str]:
    """What is due of a table and is not there, or was read too early, where that is more than the share allowed."""
    name = source_table(run.use_case, table)
    published = run.lake.partitions(name)
    # Before a table's first partition nothing is missing; where it has none yet, it begins with the rows it is about.
    first = min(published or run.lake.partitions(source_table(run.use_case, run.use_case.features.entity)), default="")
    due = [p for p in _reach(run, days) if p.key >= first and _is_due(run, table, p)]
    absent, early = [p.key for p in due if p.key not in published], _read_too_early(run, table, due)
    if len(absent) + len(early) <= run.use_case.features.max_missing_share * len(due):
        return []
    mend = "run ingestion for it first, or allow gaps by features.max_missing_share"
    found = {
        f"{name} is not published for {', '.join(absent)}, which the features reach back to; {mend}": absent,
        f"{name} was read too early for {', '.join(early)}: what became known since is missing; {mend}": early,
    }
    return [sentence for sentence, keys in found.items() if keys]


def _is_due(run: StageRun, table: str, partition: Partition) -> bool:
    """Whether it has to be there: at once, unless the table tells what has happened."""
    source = run.use_case.sources[table]
    observed = is_observed(run.use_case, table)
    return not observed or source.counts_from(partition, run.use_case.timezone) <= last_cut_off(run)


def is_observed(use_case: UseCase, table: str) -> bool:
    """Whether a table tells what has happened: the outcomes, and what is joined and was not known before."""
    source, outcomes = use_case.sources[table], use_case.label.source
    return table == outcomes or not (source.snapshot or source.forecast or table == use_case.features.entity)


def _read_too_early(run: StageRun, table: str, due: list[Partition]) -> list[str]:
    """Partitions of what is observed that were last read before the last cut-off, when they were not complete either."""
    source, zone = run.use_case.sources[table], run.use_case.timezone
    if not is_observed(run.use_case, table):
        return []
    commits = run.lake.published_each(source_table(run.use_case, table), [p.key for p in due])
    read = {key: datetime.fromisoformat(commit.record.read_at) for key, commit in commits.items() if commit.record.read_at}
    return [p.key for p in due if p.key in read and read[p.key] < min(last_cut_off(run), source.complete_at(p, zone))]


def contents(run: StageRun, table: str, files: Files) -> dict[str, str]:
    """By partition key, what tells one content from another: the digests of source and contract; without, its files."""
    commits = run.lake.published_each(source_table(run.use_case, table), files)
    known = {key: commit.record.content for key, commit in commits.items() if commit.record.source_digest}
    return {key: known.get(key) or ",".join(sorted(uri.rsplit("/", 2)[-2] for uri in uris)) for key, uris in files.items()}
