"""Replay: quarantined rows are judged anew once the source or the rule is mended.

A replay judges the rejected rows together with the published ones. It publishes the table first and what is left
of the quarantine second: a run that dies between the two leaves rows in both, and the next replay knows them by their
row number in the same file and adds none twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.ingestion.arrival import Arrival
from pipelines.ingestion.auditing import Split, audit, split_rows, stage_unknown
from pipelines.ingestion.landing import land
from pipelines.ingestion.publishing import publish, reconcile
from pipelines.ingestion.quarantine import quarantined_rows, rejected_rows, sources_of
from pipelines.ingestion.quarantining import QuarantinedRow, Reject, quarantine_rows, stop_at_counts, taken, within, without
from pipelines.ingestion.reading import NOT_AS_DECLARED, reread
from pipelines.results import Published
from pipelines.use_case import PARTITION, ROW, as_declared
from pipelines.validation import broken_invariants
from pipelines.workspace import (
    CommitRecord,
    Decision,
    Kind,
    StageRun,
    dependents,
    digest_of,
    file_exists,
    open_stream,
    taken_back_on_failure,
)

if TYPE_CHECKING:
    from pyarrow import Table


@dataclass(frozen=True)
class Replayed:
    """What came of one source's quarantined rows. `recompute` names the partitions that stand on what was published."""

    source: str
    table: str
    partition: str
    moved: int
    rows_in: int
    rows_published: int
    rows_quarantined: int
    recompute: tuple[str, ...]
    why: str


def replay(run: StageRun, source: str | None = None) -> list[Replayed]:
    """Move the partition's quarantined rows that pass by now into their tables; what still fails stays.

    A source whose file was sent again since is ingested again, as a whole.

    Raises:
        PermanentError: nothing is published, the published rows break the contract, or the partition is half published.
        TransientError: another run published the partition meanwhile.
    """
    results = (_replay(Arrival(run, name)) for name in sources_of(run.use_case, source))
    return [result for result in results if result]


def _replay(arrival: Arrival) -> Replayed | None:
    """None where there is nothing to replay, and nothing to tell of an earlier replay."""
    waiting = arrival.lake.partitions(arrival.quarantine).get(arrival.key, 0)
    again = _sent_again(arrival, arrival.table)
    # An ingestion that died between its two commits left the quarantine of the newer file, which may be empty.
    half = again and arrival.lake.seen(arrival.quarantine, arrival.key) and not _sent_again(arrival, arrival.quarantine)
    if waiting or half:
        _ingest_again(arrival, waiting) if again else _judge_anew(arrival)
    # Also after a run that died here: what was published has to be recorded and recomputed.
    commit = arrival.lake.published(arrival.table, arrival.key)
    return _record(arrival) if waiting or (commit and commit.record.replayed is not None) else None


def _sent_again(arrival: Arrival, table: str) -> bool:
    """Whether the landing zone holds another file than the one that was published in the table."""
    published = arrival.lake.published(table, arrival.key)
    if not file_exists(arrival.uri) or not published:
        return False
    with open_stream(arrival.uri) as stream:
        return digest_of(stream) != published.record.source_digest


def _ingest_again(arrival: Arrival, waiting: int) -> None:
    audited = audit(arrival, land(arrival.run, arrival.source))
    with taken_back_on_failure(arrival.lake) as publications:
        publish([(arrival, audited)], publications, max(waiting - audited.rows_quarantined, 0))


def _judge_anew(arrival: Arrival) -> None:
    lake, table, quarantine, key = arrival.lake, arrival.table, arrival.quarantine, arrival.key
    seen, seen_quarantine = lake.seen(table, key), lake.seen(quarantine, key)
    published = lake.read(table, [key]).drop_columns([PARTITION])
    before = quarantined_rows(lake, quarantine, [key])
    there = set(published[ROW].to_pylist())
    waiting = [r for r in before if r["row"] not in there]
    record = _one_file(arrival, len(there) + len(waiting))
    split, left, unknown = _judge(arrival, published, waiting)
    moved = split.good.num_rows - published.num_rows
    record = replace(record, run=arrival.run.id, contract=arrival.contract_digest, rows_quarantined=len(left), replayed=moved)
    if moved:
        for path in unknown:
            lake.publish(arrival.unknown_columns, key, [path], record)
        lake.publish(table, key, split.staged, record, seen)
    if left != before:
        lake.publish(quarantine, key, [lake.stage(quarantine, key, quarantine_rows(left))], record, seen_quarantine)


def _one_file(arrival: Arrival, rows: int) -> CommitRecord:
    """The record of the published rows, which are of the very file that the quarantined ones are of.

    Raises:
        PermanentError: an ingestion died between the two, so row numbers do not say which row is which.
    """
    commits = (arrival.lake.published(table, arrival.key) for table in (arrival.table, arrival.quarantine))
    record, rejects = (commit.record if commit else CommitRecord() for commit in commits)
    if record.source_digest != rejects.source_digest or record.rows_in != rows:
        raise PermanentError(
            f"{arrival.where}: the quarantined rows do not belong to the published ones: its ingestion was interrupted, or "
            "one table was restored without the other; run ingestion for this partition again"
        )
    return record


def _judge(
    arrival: Arrival, published: Table, waiting: list[QuarantinedRow]
) -> tuple[Split, list[QuarantinedRow], tuple[str, ...]]:
    """Published rows with those that pass by now, the quarantine's rows that still fail, with the rule they fail now, and
    the staged unknown columns of both."""
    import pyarrow as pa

    contract = arrival.contract
    batch = reread(waiting, arrival.declaration)
    candidates, misplaced = within(batch.rows, arrival)
    known = taken(candidates, published, contract.key)
    candidates = without(candidates, {r.row for r in known})
    together = pa.concat_tables([as_declared(published, contract), candidates]).sort_by(ROW)
    split = split_rows(arrival, (arrival.lake.stage(arrival.table, arrival.key, together),))
    _stop_at_published(split.rejects, published, arrival.where)
    failing = {r.row: r for r in [*batch.rejects, *misplaced, *known, *split.rejects]}
    left = [_with_rule(r, failing[r["row"]]) for r in waiting if r["row"] in failing]
    broken = Counter(row["rule"] for row in left)
    stop_at_counts(published.num_rows + len(waiting), split.good.num_rows, broken, arrival.declaration)
    broken_invariants(arrival.lake, arrival.table, arrival.partition, split.good, contract)
    return split, left, _stage_unknown(arrival, batch.unknown_columns, split.good)


def _with_rule(row: QuarantinedRow, reject: Reject) -> QuarantinedRow:
    """The row with the rule that it breaks now; what nobody can parse any more keeps its own."""
    unreadable = row["header"] is None and reject.rule == NOT_AS_DECLARED
    return row if unreadable else {**row, "rule": reject.rule, "value": reject.value}


def _stage_unknown(arrival: Arrival, found: Table, good: Table) -> tuple[str, ...]:
    """Unknown columns of the published rows, with those that were found in replayed ones."""
    import pyarrow as pa

    if not found.num_rows:
        return ()
    table, key = arrival.unknown_columns, arrival.key
    known = arrival.lake.read(table, [key], columns=found.column_names) if arrival.lake.partitions(table).get(key) else None
    parts = [known.select(found.column_names), found] if known is not None else [found]
    return (stage_unknown(arrival, pa.concat_tables(parts), good),)


def _stop_at_published(rejects: Sequence[Reject], published: Table, where: str) -> None:
    there = set(published[ROW].to_pylist())
    broken = sorted((r for r in rejects if r.row in there), key=lambda r: r.row)
    if broken:
        raise PermanentError(
            f"{where}: {len(broken)} rows that are published already break the contract as it is now, such as line "
            f"{broken[0].row} rule {broken[0].rule}; nothing was replayed: run ingestion for this partition again"
        )


def _record(arrival: Arrival) -> Replayed:
    """Count again, and write down what the published rows came from; once, however often this is run."""
    run, table, key = arrival.run, arrival.table, arrival.key
    commit = run.lake.published(table, key)
    assert commit is not None, "rows of this partition were replayed"
    record = commit.record
    left = Counter(r["rule"] for r in rejected_rows(run.workspace, run.use_case, arrival.source, key))
    done = Published(
        table=table,
        partition=key,
        version=commit.version,
        rows_in=record.rows_in or 0,
        rows_published=run.lake.partitions(table).get(key, 0),
        rows_quarantined=left.total(),
    )
    reconcile(run.workspace, [done])
    moved, recompute = record.replayed or 0, dependents(run, arrival.source) if record.replayed is not None else ()
    result = Replayed(
        source=arrival.source,
        table=table,
        partition=key,
        moved=moved,
        rows_in=done.rows_in,
        rows_published=done.rows_published,
        rows_quarantined=left.total(),
        recompute=recompute,
        why=_why(arrival, record, left),
    )
    if record.replayed is not None:
        run.ledger.record(_decision(arrival, result, done.version, left))
    return result


def _why(arrival: Arrival, record: CommitRecord, left: Counter[str]) -> str:
    replayed = record.replayed is not None
    went = f"run {record.run} moved {record.replayed} out of quarantine into the table" if replayed else "none passes"
    stay = f"{left.total()} stay ({', '.join(f'{rule}: {n}' for rule, n in left.most_common())})" if left else "none is left"
    return f"{arrival.where}: of the quarantined rows, {went}; {stay}."


def _decision(arrival: Arrival, result: Replayed, version: int, left: Counter[str]) -> Decision:
    run = arrival.run
    evidence = {
        "table": result.table,
        "version": version,
        "moved": result.moved,
        "left": dict(left),
        "recompute": list(result.recompute),
    }
    identity = f"{Kind.REPLAYED}/{result.table}/{result.partition}/{version}"
    return Decision(identity, run.use_case.name, Kind.REPLAYED, run.key, result.why, "replay", run.id, evidence)
