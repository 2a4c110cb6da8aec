"""The experiment of a use case, as people look at it: what is asked, what serves, what it is worth, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.experiments import KINDS, Outcome, gather, opened, outcomes, planned
from pipelines.pages.rendering import render
from pipelines.results import from_json
from pipelines.use_case import UseCase
from pipelines.workspace import Decision, Kind, Workspace

_POLICIES = {
    "shadow": "Challengers are scored and never acted upon.",
    "canary": "With each labelled partition the challengers' share takes its next step, as long as no guard objects.",
    "fixed": "Shares stay as they are.",
    "winner": "All goes to a challenger once it is surely better, or to the champion once all are surely worse.",
    "thompson": "With each look a variant's share follows its chance of being the best.",
}


@dataclass(frozen=True)
class ExperimentView:
    """`weights`: from which partition on which share each variant had; of `planned` partitions so many are `labelled`."""

    name: str
    question: str
    policy: str
    metric: str
    unit: str
    first: str
    last: str
    variants: tuple[str, ...]
    weights: tuple[tuple[str, dict[str, float]], ...]
    outcomes: tuple[Outcome, ...]
    gained: float
    gained_in: str
    labelled: int
    planned: int
    answer: str
    next: str
    decisions: tuple[Decision, ...]


def experiment_view(workspace: Workspace, use_case: UseCase) -> ExperimentView | None:
    """The newest experiment, by the tables as they are now; None where none was opened."""
    decisions = workspace.ledger.decisions(use_case.name)
    about = next(reversed(opened(decisions)), None)
    if about is None:
        return None
    spec, evidence = about.spec, gather(workspace, use_case, about)
    mine = [d for d in decisions if d.kind in KINDS and d.evidence["experiment"] == spec.name]
    found, count = outcomes(use_case, about, evidence), planned(use_case, about)
    return ExperimentView(
        name=spec.name,
        question=spec.question,
        policy=spec.policy,
        metric=spec.metric.replace("_", " "),
        unit=spec.unit or use_case.features.key,
        first=about.since,
        last=spec.last,
        variants=tuple(about.versions),
        weights=tuple(_weights(mine)),
        outcomes=tuple(found),
        gained=evidence.gained,
        gained_in=evidence.unit.replace("_", " "),
        labelled=len(evidence.labelled),
        planned=count,
        answer=answer(found, len(evidence.labelled), count, spec.minimum_effect),
        next=about.ended.why if about.ended else f"{_POLICIES[spec.policy]} It ends once all up to {spec.last} is labelled.",
        decisions=tuple(mine[::-1]),
    )


def _weights(decisions: Sequence[Decision]) -> list[tuple[str, dict[str, float]]]:
    """Of rows about one partition the newest counts; after the end there are none."""
    found: dict[str, dict[str, float]] = {}
    for d in decisions:
        if d.kind != Kind.EXPERIMENT_GUARD:
            found[str(d.effective_from)] = from_json(dict[str, float], d.evidence.get("weights", {}))
    return sorted(found.items())


def answer(found: Sequence[Outcome], labelled: int, count: int, effect: float) -> str:
    """When the minimum effect would be seen, at this rate."""
    needed = [each.needed for each in found[1:]]
    if labelled < 2:
        return "Two labelled partitions are needed before anybody can tell."
    if any(n is None for n in needed):
        return f"At this rate {effect:g} a row is not seen in any good time."
    most = max(n for n in needed if n is not None)
    when = "in time" if most <= count else f"not within the {count} that are planned"
    return f"{effect:g} a row is seen, in four of five experiments, after {most} labelled partitions: {when}."


def experiment_page(title: str, use_case: str, view: ExperimentView | None) -> str:
    return render("experiment.html", title=title, use_case=use_case, view=view)
