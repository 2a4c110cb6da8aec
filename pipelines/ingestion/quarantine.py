"""Quarantine: see what was rejected, and replay it once the source or the rule is mended.

A replay judges the rejected rows anew, together with the published ones. It publishes the table first and what is left
of the quarantine second: a run that dies between the two leaves rows in both, and the next replay knows them by their
row number in the same file and adds none twice.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from pipelines.errors import PermanentError
from pipelines.ingestion.ingestion import Split, audit, contract_digest, land, publish, reconcile, split_rows, who_uses
from pipelines.ingestion.reading import reread
from pipelines.ingestion.rejects import quarantine_rows, stop_at_counts, within, without
from pipelines.results import Published
from pipelines.use_case import ROW, UseCase, as_declared, key_of, quarantine_table, source_table
from pipelines.validation import broken_invariants
from pipelines.workspace import (
    PARTITION,
    CommitRecord,
    Decision,
    Kind,
    StageRun,
    Workspace,
    dependents,
    file_exists,
    read_bytes,
)


@dataclass(frozen=True)
class Held:
    """So many rows of one partition that break one rule."""

    source: str
    partition: str
    rule: str
    rows: int


@dataclass(frozen=True)
class Replayed:
    """What came of one source's quarantined rows. `recompute` names the partitions that stand on what was published."""

    table: str
    partition: str
    moved: int
    rows_in: int
    rows_published: int
    rows_quarantined: int
    recompute: tuple[str, ...]
    why: str


def held(workspace: Workspace, use_case: UseCase) -> list[Held]:
    """What is in quarantine, counted by source, partition and rule."""
    counts = Counter((r["source"], r[PARTITION], r["rule"]) for r in rejected_rows(workspace, use_case))
    return [Held(*where, rows) for where, rows in sorted(counts.items())]


def rejected_rows(
    workspace: Workspace, use_case: UseCase, source: str | None = None, partition: str | None = None
) -> list[dict[str, Any]]:
    """Quarantined rows with rule, value and text, in the order of their files."""
    found: list[dict[str, Any]] = []
    for name in _sources(use_case, source):
        table = quarantine_table(source_table(use_case, name))
        keys = [key for key, rows in workspace.lake.partitions(table).items() if rows and partition in (None, key)]
        found += workspace.lake.read(table, keys).to_pylist() if keys else []
    return sorted(found, key=lambda r: (r["source"], r[PARTITION], r["row"]))


def replay(run: StageRun, source: str | None = None) -> list[Replayed]:
    """Move the partition's quarantined rows that pass by now into their tables; what still fails stays.

    A source whose file was sent again since is ingested again, as a whole.

    Raises:
        PermanentError: nothing is published, the published rows break the contract, or the partition is half published.
        TransientError: another run published the partition meanwhile.
    """
    results = []
    for name in _sources(run.use_case, source):
        key = key_of(run.use_case.sources[name], run.partition)
        table = source_table(run.use_case, name)
        waiting = run.lake.partitions(quarantine_table(table)).get(key, 0)
        again = _sent_again(run, table, name, key)
        aside = quarantine_table(table)
        # An ingestion that died between its two commits left the quarantine of the newer file, which may be empty.
        half = again and run.lake.seen(aside, key) and not _sent_again(run, aside, name, key)
        if waiting or half:
            _ingest_again(run, name, waiting) if again else _replay(run, name, key)
        # Also after a run that died here: what was published has to be told and recomputed.
        commit = run.lake.published(table, key)
        if waiting or (commit and commit.record.replayed is not None):
            results.append(_record(run, name, key))
    return results


def _sources(use_case: UseCase, source: str | None) -> list[str]:
    if source is not None and source not in use_case.sources:
        raise PermanentError(f"{use_case.name}: no source '{source}'; it has {', '.join(use_case.sources)}")
    return [source] if source else list(use_case.sources)


def _sent_again(run: StageRun, table: str, source: str, key: str) -> bool:
    """Whether the landing zone holds another file than the one that was published in the table."""
    uri = run.workspace.fill(run.use_case.sources[source].uri, partition=run.key)
    published = run.lake.published(table, key)
    if not file_exists(uri) or not published:
        return False
    return hashlib.sha256(read_bytes(uri)).hexdigest() != published.record.source_digest


def _ingest_again(run: StageRun, source: str, waiting: int) -> None:
    audited = audit(run, land(run, source))
    moved = max(waiting - audited.rows_quarantined, 0)
    publish(run, audited, moved)


def _replay(run: StageRun, source: str, key: str) -> None:
    table = source_table(run.use_case, source)
    aside = quarantine_table(table)
    seen, seen_aside = run.lake.seen(table, key), run.lake.seen(aside, key)
    published = run.lake.read(table, [key]).drop_columns([PARTITION])
    before = run.lake.read(aside, [key]).drop_columns([PARTITION]).to_pylist()
    there = set(published[ROW].to_pylist())
    waiting = [r for r in before if r["row"] not in there]
    record = _one_file(run.workspace, table, key, len(there) + len(waiting))
    split, left = _judge(run, source, published, waiting)
    moved = split.good.num_rows - published.num_rows
    contract = contract_digest(run.use_case, table)
    record = replace(record, run=run.id, contract=contract, rows_quarantined=len(left), replayed=moved)
    if moved:
        run.lake.publish(table, key, split.staged, record, seen)
    if left != before:
        staged = run.lake.stage(aside, key, quarantine_rows(left))
        run.lake.publish(aside, key, [staged], record, seen_aside)


def _one_file(workspace: Workspace, table: str, key: str, rows: int) -> CommitRecord:
    """The record of the published rows, which are of the very file that the quarantined ones are of.

    Raises:
        PermanentError: an ingestion died between the two, so row numbers do not say which row is which.
    """
    commits = workspace.lake.published(table, key), workspace.lake.published(quarantine_table(table), key)
    record, rejects = (commit.record if commit else CommitRecord() for commit in commits)
    if record.source_digest != rejects.source_digest or record.rows_in != rows:
        raise PermanentError(
            f"{table} {key}: the quarantined rows do not belong to the published ones: its ingestion was interrupted, or "
            "one table was restored without the other; run ingestion for this partition again"
        )
    return record


def _judge(run: StageRun, source: str, published: Any, waiting: list[dict[str, Any]]) -> tuple[Split, list[dict[str, Any]]]:
    """Published rows with those that pass by now, and the quarantine's rows that still fail, with the rule they fail now."""
    import pyarrow as pa

    declared, contract = run.use_case.sources[source], run.use_case.contract[source]
    table, key = source_table(run.use_case, source), key_of(declared, run.partition)
    where = f"{table} {key}"
    reading = reread(waiting, declared, contract)
    candidates, misplaced = within(reading, declared, run.partition, run.use_case.timezone)
    taken = _taken(candidates, published, contract.key)
    candidates = without(candidates, {r["row"] for r in taken})
    together = pa.concat_tables([as_declared(published, contract), candidates]).sort_by(ROW)
    staged = (run.lake.stage(table, key, together),)
    split = split_rows(run.workspace, run.use_case, source, key, run.lake.read_staged(table, staged), staged, where)
    _stop_at_published({r["row"]: r for r in split.rejects}, published, where)
    failing = {r["row"]: r for r in [*reading.rejects, *misplaced, *taken, *split.rejects]}
    left = [{**r, **{n: failing[r["row"]][n] for n in ("rule", "value")}} for r in waiting if r["row"] in failing]
    rows_in = published.num_rows + len(waiting)
    stop_at_counts(rows_in, split.good.num_rows, left, contract, where, who_uses(run.workspace, run.use_case, source))
    broken_invariants(run.lake, table, key, split.good, contract, where)
    return replace(split, staged=split.staged or staged), left


def _taken(candidates: Any, published: Any, key: tuple[str, ...]) -> list[dict[str, Any]]:
    """Candidates whose key a published row has: the published row stays."""
    there = {tuple(row.values()) for row in published.select(list(key)).to_pylist()}
    found = []
    for number, row in zip(candidates[ROW].to_pylist(), candidates.select(list(key)).to_pylist(), strict=True):
        if tuple(row.values()) in there:
            found.append({"row": number, "rule": "key.unique", "value": ", ".join(map(str, row.values()))})
    return found


def _stop_at_published(rejects: dict[int, dict[str, Any]], published: Any, where: str) -> None:
    broken = [rejects[number] for number in published[ROW].to_pylist() if number in rejects]
    if broken:
        raise PermanentError(
            f"{where}: {len(broken)} rows that are published already break the contract as it is now, such as line "
            f"{broken[0]['row']} rule {broken[0]['rule']}; nothing was replayed: run ingestion for this partition again"
        )


def _record(run: StageRun, source: str, key: str) -> Replayed:
    """Count again, and write down what the published rows came from; once, however often this is run."""
    table = source_table(run.use_case, source)
    commit = run.lake.published(table, key)
    assert commit is not None, "rows of this partition were replayed"
    record = commit.record
    rows = run.lake.partitions(table).get(key, 0)
    left = Counter(r["rule"] for r in rejected_rows(run.workspace, run.use_case, source, key))
    done = Published(table, key, commit.version, record.rows_in or 0, rows, left.total())
    reconcile(run.workspace, done)
    replayed, moved = record.replayed is not None, record.replayed or 0
    went = f"run {record.run} moved {moved} out of quarantine into the table" if replayed else "none passes"
    stay = f"{left.total()} stay ({', '.join(f'{rule}: {n}' for rule, n in left.most_common())})" if left else "none is left"
    why = f"{table} {key}: of the quarantined rows, {went}; {stay}."
    recompute = dependents(run, source) if replayed else ()
    result = Replayed(table, key, moved, done.rows_in, rows, left.total(), recompute, why)
    if replayed:
        evidence = {"table": table, "version": done.version, "moved": moved, "left": dict(left), "recompute": list(recompute)}
        identity = f"{Kind.REPLAYED}/{table}/{key}/{done.version}"
        run.ledger.record(Decision(identity, run.use_case.name, Kind.REPLAYED, run.key, why, "replay", run.id, evidence))
    return result
