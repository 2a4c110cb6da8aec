"""What a commit to a table says of itself: written into Delta's custom metadata, and read from it, in this module only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TypedDict

from pipelines.errors import redact
from pipelines.results import from_json
from pipelines.use_case import Definitions

_PREFIX = "trainyard_"


@dataclass(frozen=True, kw_only=True)
class CommitRecord:
    """Who published what, from what. None is what does not apply to the table, and is not written."""

    partition: str | None = None
    partitions: tuple[str, ...] | None = None  # where one commit published several
    each: dict[str, dict[str, str | int | None]] | None = None  # by partition of these, what is not the same in all: see `part`
    run: str | None = None
    read_at: str | None = None  # by the workspace's clock: when a source's file was read, or a window measured
    stamp: str | None = None  # of the source's file, by its store's listing
    source_digest: str | None = None  # SHA-256 of the source's file
    contract: str | None = None  # digest of the contract that the rows passed
    rows_in: int | None = None
    rows_quarantined: int | None = None
    warnings: str | None = None
    unmatched: str | None = None  # per join of the features: rows that found no partner
    made_from: dict[str, str] | None = None  # labels: by partition, which content of the outcomes
    plan: str | None = None  # address of the plan that a Spark job worked by
    model: int | None = None  # version that predicted
    replayed: int | None = None  # rows that came out of quarantine
    restored: int | None = None  # version that was put back
    restored_with: str | None = None  # the table that a quarantine was put back with
    changed: tuple[str, ...] | None = None  # partitions that a restore changed
    decision: str | None = None  # id of the ledger's row
    definitions: Definitions | None = None  # digest of what each feature was made from

    @property
    def content(self) -> str:
        """What tells one content of an ingested partition from another."""
        return f"{(self.source_digest, self.contract, self.rows_quarantined)}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Every partition that was published."""
        return self.partitions or ((self.partition,) if self.partition else ())

    def about(self, keys: Iterable[str]) -> CommitRecord:
        """The same, of other partitions."""
        keys = tuple(keys)
        return (
            replace(self, partition=keys[0], partitions=None)
            if len(keys) == 1
            else replace(self, partition=None, partitions=keys)
        )

    @classmethod
    def together(cls, records: Mapping[str, CommitRecord]) -> CommitRecord:
        """Of several partitions that one commit publishes: once what is the same in all, and the rest by partition."""
        first = next(iter(records.values()))
        names = [f.name for f in fields(cls) if any(getattr(r, f.name) != getattr(first, f.name) for r in records.values())]
        each = {key: {name: getattr(record, name) for name in names} for key, record in records.items()}
        return replace(first, **dict.fromkeys(names), each=each) if names else first

    def part(self, key: str) -> CommitRecord:
        """What is said of one of its partitions."""
        return replace(self, each=None, **self.each.get(key, {})) if self.each else self  # type: ignore[arg-type]

    def metadata(self) -> dict[str, str]:
        """As Delta keeps it: texts by key."""
        # The ledger's commits have had no prefix from the start.
        prefix = "" if self.decision else _PREFIX
        found = {prefix + f.name: getattr(self, f.name) for f in fields(self)}
        return {k: _text(v) for k, v in found.items() if v is not None}

    @classmethod
    def of(cls, metadata: Mapping[str, object]) -> CommitRecord:
        """The record among what a commit says; what is not ours is left out."""
        prefix = "" if "decision" in metadata else _PREFIX
        found: dict[str, object] = {f.name: metadata[prefix + f.name] for f in fields(cls) if prefix + f.name in metadata}
        for name in {"changed", "partitions"} & set(found):
            found[name] = tuple(filter(None, str(found[name]).split(",")))
        found |= {name: json.loads(str(found[name])) for name in ("definitions", "made_from", "each") if name in found}
        return from_json(cls, found)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(_redacted(value), sort_keys=True)
    return redact(",".join(value) if isinstance(value, tuple) else str(value))


def _redacted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _redacted(inner) for key, inner in value.items()}
    return redact(value) if isinstance(value, str) else value


class CommitInfo(TypedDict):
    """The part of a log file's `commitInfo` that Delta itself writes."""

    timestamp: int
    operation: str
    operationParameters: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit of a table's log. `timestamp` in milliseconds; `restored_to` is the version that Delta's RESTORE put back."""

    version: int
    timestamp: int
    operation: str
    restored_to: int | None
    record: CommitRecord

    def of_part(self, key: str) -> Commit:
        """With what its record says of one partition."""
        return replace(self, record=self.record.part(key))

    @classmethod
    def of(cls, version: int, info: CommitInfo) -> Commit:
        """From the `commitInfo` of a log file."""
        restored_to = int(info["operationParameters"]["version"]) if info["operation"] == "RESTORE" else None
        return cls(
            version=version,
            timestamp=info["timestamp"],
            operation=info["operation"],
            restored_to=restored_to,
            record=CommitRecord.of(info),
        )
