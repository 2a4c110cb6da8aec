"""Which experiment runs on a partition, and with which shares: the ledger says so, scoring obeys it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.experiments.assignment import Runs, given_up, shares
from pipelines.results import from_json
from pipelines.use_case import Experiment
from pipelines.workspace import CHAMPION, Decision, Kind, StageRun, first_unscored

_SET_SHARES = (Kind.EXPERIMENT_STARTED, Kind.EXPERIMENT_WEIGHTS)
KINDS = (*_SET_SHARES, Kind.EXPERIMENT_GUARD, Kind.EXPERIMENT_ENDED)


@dataclass(frozen=True)
class Opened:
    """An experiment as it was when it was opened, whatever the file says by now; `versions` by variant, the champion's too.

    One opened `by_hand` needs no section in the file: it goes on until it is over, or a person ends it.
    """

    spec: Experiment
    versions: dict[str, int]
    start: Decision
    ended: Decision | None = None

    @property
    def by_hand(self) -> bool:
        return bool(self.start.evidence.get("by_hand"))

    @property
    def since(self) -> str:
        return str(self.start.effective_from)

    def covers(self, key: str) -> bool:
        """Whether a partition is, or was, part of it: one that ended before its first one is of none."""
        return self.since <= key <= self.spec.last and (self.ended is None or key < str(self.ended.effective_from))


@dataclass(frozen=True)
class Plan:
    """How a partition is scored: by which version of each variant that takes part, and whose the slots are."""

    name: str
    salt: str
    unit: str | None
    versions: dict[str, int]
    owners: Runs
    by_hand: bool
    max_latency_ms: float

    @property
    def weights(self) -> dict[str, float]:
        return {variant: shares(self.owners).get(variant, 0.0) for variant in self.versions}


def opened(decisions: Iterable[Decision]) -> list[Opened]:
    """Every experiment that was opened, in order; of them at most the last one runs."""
    found: dict[object, Opened] = {}
    for d in decisions:
        if d.kind == Kind.EXPERIMENT_STARTED:
            spec, versions = from_json(Experiment, d.evidence["declared"]), from_json(dict[str, int], d.evidence["versions"])
            found[d.evidence["experiment"]] = Opened(spec, versions, d)
        elif d.kind == Kind.EXPERIMENT_ENDED:
            before = found[d.evidence["experiment"]]
            found[d.evidence["experiment"]] = Opened(before.spec, before.versions, before.start, d)
    return list(found.values())


def running(decisions: Iterable[Decision]) -> Opened | None:
    return next((each for each in opened(decisions) if each.ended is None), None)


def plan_of(decisions: Sequence[Decision], key: str) -> Plan | None:
    """How a partition is scored, as of it; None where no experiment runs on it."""
    about = next((each for each in reversed(opened(decisions)) if each.covers(key)), None)
    if about is None:
        return None
    told = [d for d in decisions if d.kind in KINDS and d.evidence["experiment"] == about.spec.name]
    mine = [d for d in told if str(d.effective_from) <= key]
    shared = [d for d in reversed(mine) if d.kind in _SET_SHARES]
    last = max(shared, key=lambda d: str(d.effective_from))  # of equal ones, the newest
    gone = {variant for d in mine if (variant := taken_out(d, about.spec.name)) is not None}
    return Plan(
        name=about.spec.name,
        salt=about.spec.salt or about.spec.name,
        unit=about.spec.unit,
        versions={variant: version for variant, version in about.versions.items() if variant not in gone},
        owners=given_up(from_json(list[tuple[str, int]], last.evidence["owners"]), gone, CHAMPION),
        by_hand=about.by_hand,
        max_latency_ms=about.spec.max_latency_ms,
    )


def taken_out(decision: Decision, experiment: str) -> str | None:
    """The variant that a row of the ledger takes out of the experiment."""
    mine = decision.kind == Kind.EXPERIMENT_GUARD and decision.evidence["experiment"] == experiment
    return str(decision.evidence["variant"]) if mine else None


def plans(run: StageRun, champions: Mapping[str, int]) -> dict[str, Plan]:
    """By partition how it is scored; none where its section was taken out, or the champion is not the one compared with."""
    decisions, declared = run.ledger.decisions(run.use_case.name), run.use_case.experiment is not None
    found = {key: plan for key in champions if (plan := plan_of(decisions, key)) and (declared or plan.by_hand)}
    return {key: plan for key, plan in found.items() if plan.versions[CHAMPION] == champions[key]}


def record(
    run: StageRun, name: str, kind: Kind, suffix: str, why: str, effective: str, effect: float | None = None, **told: object
) -> bool:
    """A row of the ledger about the experiment; `effect` is what it gained so far, in `unit`, `told` its evidence.

    `actor` is a person where one opened or ended it. Nothing is written, and it is False, where another one runs that is to be
    opened, or this one runs no more: forms, DAGs, command line and API write beside each other.
    """

    def fits(decisions: list[Decision]) -> bool:
        now = running(decisions)
        return now is None if kind == Kind.EXPERIMENT_STARTED else now is not None and now.spec.name == name

    unit, version, actor = told.pop("unit", None), told.pop("version", None), told.pop("actor", "experiment")
    return run.ledger.record(
        Decision(
            id=f"{kind}/{name}{suffix}",
            use_case=run.use_case.name,
            kind=kind,
            partition=run.key,
            why=why,
            actor=str(actor),
            run=run.id,
            evidence={"experiment": name, **told},
            model_version=version if isinstance(version, int) else None,
            effective_from=effective,
            effect=effect,
            effect_unit=None if unit is None else str(unit),
        ),
        fits,
    )


def record_failure(run: StageRun, plan: Plan, variant: str, error: str, keys: Sequence[str]) -> None:
    """A challenger that could not score these partitions: the champion serves its units, and it is taken out."""
    why = f"could not score {_span(keys)} ({error}). Its units were served by the champion"
    _take_out(run, plan, variant, "failed", why, keys)


def record_slowness(run: StageRun, plan: Plan, variant: str, latency_ms: float, keys: Sequence[str]) -> None:
    """A challenger that is slower than the experiment allows is taken out."""
    slow = f"took {latency_ms:,.0f} ms for up to a hundred rows of {_span(keys)}, and {plan.max_latency_ms:,.0f} are allowed"
    _take_out(run, plan, variant, "slow", slow, keys)


def _span(keys: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys((keys[0], keys[-1])))


def _take_out(run: StageRun, plan: Plan, variant: str, cause: str, why: str, keys: Sequence[str]) -> None:
    """From after these partitions on, and all that was scored: one that is scored once more changes nothing of the past."""
    version, after = plan.versions[variant], run.use_case.partition_after(keys[-1])
    after = max(after, first_unscored(run.workspace, run.use_case, after))
    sentence = f"{variant} (v{version}) was taken out of '{plan.name}': it {why}."
    suffix = f"/{variant}/{cause}"
    record(run, plan.name, Kind.EXPERIMENT_GUARD, suffix, sentence, after, variant=variant, version=version)
