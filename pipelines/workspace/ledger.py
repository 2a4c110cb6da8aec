"""The ledger: one row per decision, in plain words, append-only. It is the truth about who is champion, and since when.

A promotion is fenced here: the row is appended only if the champion is still the one that was judged against, checked
inside the transaction. The registry's `champion` alias follows the ledger, never the other way round.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError, redact
from pipelines.results import to_json
from pipelines.use_case import decisions_table
from pipelines.workspace.clock import Clock
from pipelines.workspace.commits import CommitRecord
from pipelines.workspace.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa


class Kind(StrEnum):
    PUBLISHED = "published"
    QUARANTINED = "quarantined"
    LATE = "late"
    REPLAYED = "replayed"
    STALE = "stale"
    SKEW = "skew found"
    RESTORED = "restored"
    ASKED = "asked"
    APPROVED = "approved"
    PROMOTED = "promoted"
    KEPT = "kept"
    ROLLED_BACK = "rolled back"
    LIFTED = "hold lifted"
    RETIRED = "retired"
    FAILED = "training failed"
    STARTED = "training started"
    NOT_RETRAINED = "not retrained"
    NOT_SCORED = "not scored"
    ALIAS_MOVED = "alias moved"
    ALIAS_ACCEPTED = "alias accepted"
    EXPERIMENT_STARTED = "experiment started"
    EXPERIMENT_WEIGHTS = "experiment weights"
    EXPERIMENT_GUARD = "experiment guard"
    EXPERIMENT_ENDED = "experiment ended"


_MOVES_CHAMPION = (Kind.PROMOTED, Kind.ROLLED_BACK, Kind.RETIRED, Kind.ALIAS_ACCEPTED)
_OLDER_WORDS = {"retrained": str(Kind.STARTED)}  # in ledgers from before: what was said of a start
UNASKED = "retraining__"  # how the runs of trainings begin that no person started


@dataclass(frozen=True)
class Decision:
    """One row. `id` makes it idempotent: a second append of the same id changes nothing."""

    id: str
    use_case: str
    kind: str
    partition: str
    why: str
    actor: str
    run: str
    evidence: dict[str, object] = field(default_factory=dict)
    model_version: int | None = None
    effective_from: str | None = None
    effect: float | None = None
    effect_unit: str | None = None
    at: str = ""  # by the workspace's clock, when it is appended
    position: int | None = None  # version of the ledger's table that it made: rows are in the order of their commits


@dataclass(frozen=True)
class Champion:
    """The version that serves partitions from `effective_from` on, and how it came."""

    version: int
    effective_from: str
    decision: str
    why: str
    at: str


class Ledger:
    """All decisions of all use cases, in the lake's `<use case>/decisions`."""

    def __init__(self, lake: Lake, clock: Clock | None = None) -> None:
        self.lake, self.clock = lake, clock or Clock()

    def record(self, decision: Decision, fits: Callable[[list[Decision]], bool] | None = None) -> bool:
        """Append the decision; False when its id is there already, or it does not fit those that are there, by then."""
        return self._append(decision, lambda: fits is None or fits(self.decisions(decision.use_case)))

    def move_champion(self, decision: Decision, expected: int | None) -> bool:
        """Append a promotion or rollback, if the champion is still `expected`.

        Raises:
            PermanentError: somebody moved the champion since, a person's rollback holds what nobody asked for, or the move
                would take effect before the last one did.
        """

        def still_expected() -> bool:
            now = self.champion(decision.use_case)
            if (now.version if now else None) != expected:
                raise PermanentError(
                    f"{decision.use_case}: decided against champion {_v(expected)}, but the champion is "
                    f"{_v(now.version if now else None)} by now; judge the candidate against that one"
                )
            _refuse_unasked(self.decisions(decision.use_case), decision)
            last = self._last_move(decision.use_case)
            if last and str(decision.effective_from) < str(last.effective_from):
                raise PermanentError(
                    f"{decision.use_case}: would take effect from {decision.effective_from}, before the champion "
                    f"of {last.effective_from}; train on newer data"
                )
            return True

        return self._append(decision, still_expected)

    def decisions(self, use_case: str) -> list[Decision]:
        """Every decision, in the order of the commits, which no clock can change; rows from before these were kept go first."""
        if not self.lake.partitions(_table(use_case)):
            return []
        names = [f.name for f in fields(Decision)]
        rows = self.lake.read(_table(use_case)).to_pylist()
        told = [{n: r[n] for n in names if n in r} | {"evidence": json.loads(r["evidence"])} for r in rows]
        found = [Decision(**row | {"kind": _OLDER_WORDS.get(row["kind"], row["kind"])}) for row in told]
        return sorted(found, key=lambda d: (d.position or -1, d.at, d.id))

    def champion_moves(self, use_case: str) -> list[Decision]:
        """Every promotion, rollback, retirement and accepted alias, in order."""
        return [d for d in self.decisions(use_case) if d.kind in _MOVES_CHAMPION]

    def champion(self, use_case: str, as_of: str | None = None) -> Champion | None:
        """The champion that serves partition `as_of`; without it, the newest.

        None before the first promotion, and after a retirement.
        """
        last = self._last_move(use_case, as_of)
        if last is None or last.model_version is None:
            return None
        return Champion(
            version=last.model_version,
            effective_from=str(last.effective_from),
            decision=last.id,
            why=last.why,
            at=last.at,
        )

    def champions(self, use_case: str, keys: Iterable[str]) -> dict[str, int]:
        """By partition, the version that is its champion, by one reading; without those that have none."""
        moves = self.champion_moves(use_case)
        found = {key: _last(moves, key) for key in keys}
        return {key: d.model_version for key, d in found.items() if d and d.model_version is not None}

    def vouch(self, use_case: str, version: int, digest: str) -> None:
        """Compare a version's digest with the one that it had when it became champion, if that was written down.

        Raises:
            PermanentError: it is another: who can write to MLflow can forge a model's file and its tag to agree.
        """
        moves = [d for d in self.champion_moves(use_case) if d.model_version == version and d.evidence.get("digest")]
        if moves and moves[0].evidence["digest"] != digest:
            raise PermanentError(
                f"{use_case} v{version}: is not the model that was promoted ({moves[0].id}): its SHA-256 in the registry is "
                "another than the ledger's; do not use it: roll back, and find out who wrote to MLflow"
            )

    def _last_move(self, use_case: str, as_of: str | None = None) -> Decision | None:
        return _last(self.champion_moves(use_case), as_of)

    def _append(self, decision: Decision, allowed: Callable[[], bool]) -> bool:
        import pyarrow as pa

        evidence = to_json(json.loads(json.dumps(decision.evidence, allow_nan=False)))
        at = decision.at or self.clock.now().isoformat(timespec="microseconds")
        row = {**asdict(decision), "at": at, "why": redact(decision.why), "evidence": json.dumps(evidence, sort_keys=True)}

        def rows(version: int) -> pa.Table:
            made = {k: v for k, v in row.items() if k != "partition"} | {"position": version}
            return pa.Table.from_pylist([made], schema=_schema())

        def check() -> bool:
            return decision.id not in {d.id for d in self.decisions(decision.use_case)} and allowed()

        record = CommitRecord(decision=decision.id, run=decision.run)
        return self.lake.append(_table(decision.use_case), decision.partition, rows, record, check) is not None


def hold(decisions: Iterable[Decision]) -> Decision | None:
    """The rollback that made the champion, and holds what nobody asked for until a person lifts it."""
    held = None
    for d in decisions:
        if d.kind in _MOVES_CHAMPION:
            held = d if d.kind == Kind.ROLLED_BACK else None
        elif d.kind == Kind.LIFTED:
            held = None
    return held


def _refuse_unasked(decisions: list[Decision], wanted: Decision) -> None:
    """A training that nobody asked for promotes after a rollback only if it was started, or approved, knowing of it."""
    held = hold(decisions)
    if held is None or wanted.kind != Kind.PROMOTED or not wanted.run.startswith(UNASKED):
        return
    later = decisions[decisions.index(held) :]
    started = [d for d in later if d.kind == Kind.STARTED and d.evidence.get("champion_since") == held.id]
    if wanted.run not in {d.run for d in [*started, *(d for d in later if d.kind == Kind.APPROVED)]}:
        raise PermanentError(
            f"{wanted.use_case}: {held.actor} rolled back ({held.why}), and that holds what nobody asked for: let go on with "
            f"`python -m pipelines resume {wanted.use_case}`, or start a training by hand"
        )


def _last(moves: Iterable[Decision], as_of: str | None) -> Decision | None:
    before = [d for d in moves if as_of is None or str(d.effective_from) <= as_of]
    return max(reversed(before), key=lambda d: str(d.effective_from), default=None)  # of equal ones, the newest


def _table(use_case: str) -> str:
    return decisions_table(use_case)


def _v(version: int | None) -> str:
    return "none" if version is None else f"v{version}"


def _schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {"model_version": pa.int64(), "effect": pa.float64(), "position": pa.int64()}
    return pa.schema([(f.name, kinds.get(f.name, pa.string())) for f in fields(Decision) if f.name != "partition"])
