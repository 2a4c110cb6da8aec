"""The experiment of a use case, as people look at it: what is asked, what serves, what it is worth, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.experiments import (
    KINDS,
    Evidence,
    Opened,
    Outcome,
    decimals,
    gather,
    opened,
    outcomes,
    plan_of,
    planned,
    taken_out,
    unit_of,
)
from pipelines.pages.rendering import render
from pipelines.use_case import UseCase
from pipelines.workspace import Decision, Workspace

_POLICIES = {
    "shadow": "challengers are scored and never acted upon",
    "canary": "with each labelled partition the challengers' share takes its next step, as long as no guard objects",
    "fixed": "shares stay as they are",
    "winner": "all goes to a challenger once it is surely better, or to the champion once all are surely worse",
    "thompson": "each variant's share follows its chance of being the best",
}


@dataclass(frozen=True)
class ExperimentView:
    """`weights`: from which partition on which share each variant had, none after the end; `partitions` are the planned ones,
    of which so many are `labelled`, and `until` so many are served, or about to be. `told` of all its rows of the ledger."""

    name: str
    question: str
    policy: str
    rule: str
    metric: str
    unit: str
    partitions: tuple[str, ...]
    until: int
    variants: tuple[str, ...]
    weights: tuple[tuple[str, dict[str, float]], ...]
    outcomes: tuple[Outcome, ...]
    gone: tuple[str, ...]
    decimals: int
    worth_in: str
    gained: float
    gained_in: str
    labelled: int
    verdict: str
    answer: str
    next: str
    decisions: tuple[Decision, ...]
    told: int

    @property
    def shares(self) -> dict[str, float]:
        """Of the next partition; after the end the experiment serves nothing."""
        return self.weights[-1][1]


def experiment_view(workspace: Workspace, use_case: UseCase, decisions: int | None = None) -> ExperimentView | None:
    """The newest experiment by the tables as they are now, with so many of its decisions; None where none was opened."""
    rows = workspace.ledger.decisions(use_case.name)
    about = next(reversed(opened(rows)), None)
    if about is None:
        return None
    evidence = gather(workspace, use_case, about)
    mine = [d for d in rows if d.kind in KINDS and d.evidence["experiment"] == about.spec.name]
    seen = _Seen(use_case, about, evidence, tuple(outcomes(use_case, about, evidence)), tuple(mine))
    return ExperimentView(
        name=about.spec.name,
        question=about.spec.question,
        policy=about.spec.policy,
        rule=_POLICIES[about.spec.policy],
        metric=about.spec.metric.replace("_", " "),
        unit=about.spec.unit or use_case.features.key,
        partitions=tuple(seen.partitions),
        until=seen.until,
        variants=tuple(about.versions),
        weights=tuple(seen.weights),
        outcomes=seen.outcomes,
        gone=tuple(seen.gone),
        decimals=decimals(about.spec),
        worth_in=unit_of(about.spec, evidence),
        gained=evidence.gained,
        gained_in=evidence.unit.replace("_", " "),
        labelled=len(evidence.labelled),
        verdict=seen.verdict(),
        answer=seen.answer(),
        next=seen.next(),
        decisions=tuple(mine[::-1][:decisions]),
        told=len(mine),
    )


@dataclass(frozen=True)
class _Seen:
    """What is known of the experiment, in sentences."""

    use_case: UseCase
    about: Opened
    evidence: Evidence
    outcomes: tuple[Outcome, ...]
    decisions: Sequence[Decision]

    @property
    def partitions(self) -> list[str]:
        return [each.key for each in planned(self.use_case, self.about)]

    @property
    def following(self) -> str:
        """The partition that is served next."""
        scored = self.evidence.scored
        return self.use_case.partition_after(scored[-1]) if scored else self.about.since

    @property
    def until(self) -> int:
        end = self.about.ended
        return sum(key < str(end.effective_from) if end else key <= self.following for key in self.partitions)

    @property
    def weights(self) -> list[tuple[str, dict[str, float]]]:
        plans = {key: plan_of(self.decisions, key) for key in sorted({str(d.effective_from) for d in self.decisions})}
        return [(key, plan.weights if plan else {}) for key, plan in plans.items()]

    @property
    def gone(self) -> dict[str, str]:
        """By challenger that was taken out, the sentence that says why."""
        return {name: d.why for d in self.decisions if (name := taken_out(d, self.about.spec.name))}

    def figure(self, value: float) -> str:
        return f"{value:+.{decimals(self.about.spec)}f}"

    def verdict(self) -> str:
        return " ".join(self._verdict(each) for each in self.outcomes[1:])

    def _verdict(self, each: Outcome) -> str:
        name, unit = f"{each.variant} (v{each.version})", unit_of(self.about.spec, self.evidence)
        if each.variant in self.gone:
            return self.gone[each.variant]
        if each.gain is None:
            return f"Of {name} nothing is known yet."
        if each.low is None or each.high is None:
            return f"{name}: {self.figure(each.gain)} {unit} a row, by too few partitions to say more."
        between = f"{self.figure(each.gain)} {unit} a row, surely between {self.figure(each.low)} and {self.figure(each.high)}"
        return f"{name} is {each.word} than the champion: {between}." if each.decided else (
            f"Nobody can say yet whether {name} is better or worse than the champion: {between}."
        )  # fmt: skip

    def answer(self) -> str:
        there = [each for each in self.outcomes[1:] if each.variant not in self.gone]
        if not there:
            return "None is to be expected: no challenger takes part any more."
        left = [each for each in there if not each.decided]
        effect = f"{self.about.spec.minimum_effect:g} {unit_of(self.about.spec, self.evidence)} a row"
        return answer(left, len(self.evidence.labelled), self.partitions, effect, self.about.ended is not None)

    def next(self) -> str:
        spec, scored, labelled = self.about.spec, self.evidence.scored, self.evidence.labelled
        if (end := self.about.ended) is not None:
            better = [each.variant for each in self.outcomes if each.word == "better" and each.variant not in self.gone]
            evidence = f": that {' and '.join(better)} did better is evidence for a promotion, by gates and approval as ever"
            return (
                f"It ended: {end.evidence.get('because', end.why)}. From {end.effective_from} on the champion serves all rows. "
                f"Nobody was promoted by it{evidence if better else ''}."
            )
        waited = next((key for key in scored if key not in labelled), self.following)
        if self.following > spec.last:
            return f"All up to {spec.last} is served. It ends once its outcomes are known; those of {waited} are waited for."
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.weights[-1][1].items())
        return (
            f"{self.following} is served next: {shares}. Once the outcomes of {waited} are known, {_POLICIES[spec.policy]}; "
            f"who is surely worse than the champion serves nothing from then on. It ends once {spec.last} is labelled."
        )


def answer(left: Sequence[Outcome], labelled: int, partitions: Sequence[str], effect: str, ended: bool) -> str:
    """When the minimum effect would be seen, at this rate, of the challengers that are `left`: nobody knows of them yet."""
    if not left:
        return "It is there: of each challenger it is known whether it is better."
    if ended:
        return f"It is over without one: no gain or loss could be told from luck. {_needed(left, labelled, partitions)}"
    last = f"The last word comes with the outcomes of {partitions[-1]}."
    if labelled < 2:
        return f"Two partitions have to be labelled before it can be told when a gain of {effect} would be seen. {last}"
    return f"A gain of {effect} is what is looked for. {_needed(left, labelled, partitions)} {last}"


def _needed(left: Sequence[Outcome], labelled: int, partitions: Sequence[str]) -> str:
    needed = [each.needed for each in left if each.needed is not None]
    if len(needed) < len(left):
        return "At this rate it is not seen in any good time."
    most, seen = max(needed), "At this rate it is seen, in four of five experiments, after about"
    if most <= labelled:
        return (
            f"By {labelled:,} labelled partitions it would most likely be seen: what there is, if anything, is likely smaller."
        )
    if most > len(partitions):
        return f"{seen} {most:,} labelled partitions; {len(partitions):,} are planned: only a larger one can be seen by then."
    return f"{seen} {most:,} labelled partitions: with the outcomes of {partitions[most - 1]}."


def experiment_page(title: str, use_case: str, view: ExperimentView | None) -> str:
    return render("experiment.html", title=title, use_case=use_case, view=view)
