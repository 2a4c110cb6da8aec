"""The pages of the lifecycle site; each one's words and markup are in the template of its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.assessment import noise_level
from pipelines.pages.charts import changes
from pipelines.pages.rendering import render
from pipelines.pages.view import Lifecycle
from pipelines.workspace import Decision, Kind

STAGES = ("ingestion", "features", "scoring", "labels", "monitoring")


@dataclass(frozen=True)
class Unreadable:
    """A use case whose state could not be read, and why."""

    use_case: str
    title: str
    message: str


def overview(found: Sequence[Lifecycle | Unreadable]) -> str:
    """A card per use case; one that cannot be read does not hide the others."""
    return render("overview.html", found=found)


def use_case_page(view: Lifecycle, model_page: str, cards: Sequence[int] = ()) -> str:
    """Champion, stages, quality per partition, decisions.

    `model_page` is the registry's page of this use case's models; `cards` the versions with a model card, newest first: the
    champion's is linked before the others.
    """
    now = view.champion.version if view.champion else None
    stages = [*STAGES, *(stage for stage in view.last_partitions if stage not in STAGES)]
    return render(
        "use_case.html",
        view=view,
        model_page=model_page,
        cards=sorted(cards, key=lambda version: (version != now, -version)),
        stages={stage: view.last_partitions.get(stage) for stage in stages},
        took_over=[view.quality[i] for i in changes(view.quality)],
    )


def run_page(title: str, stage: str, run: str, decisions: Sequence[Decision]) -> str:
    """What one DAG run decided, why, and what every gate said: the newest decision in full, earlier ones below it."""
    verdicts = _verdicts(decisions[0].evidence) if decisions else []
    said = headline(decisions[0]) if decisions else ""
    return render("run.html", title=title, stage=stage, run=run, decisions=decisions, verdicts=verdicts, headline=said)


def headline(made: Decision) -> str:
    """`Promoted v3`, `Kept v2`, `Retrained: no`: the outcome in a word or two."""
    version = f"v{made.model_version}" if made.model_version is not None else None
    words = {
        Kind.ASKED: f"Waiting for an answer: promote {version}?",
        Kind.APPROVED: f"Approved {version}, not promoted yet",
        Kind.PROMOTED: f"Promoted {version}",
        Kind.KEPT: f"Kept {version}" if version else "Kept: still no champion",
        Kind.ROLLED_BACK: f"Rolled back to {version}",
        Kind.RETIRED: "Retired: no champion",
        Kind.FAILED: "The training failed",
        Kind.STARTED: "Training started",
        Kind.NOT_RETRAINED: "Retrained: no",
    }
    return {str(kind): text for kind, text in words.items()}.get(made.kind, made.kind.capitalize())


def _verdicts(evidence: Mapping[str, object]) -> object:
    """The gates' verdicts; of a training that was stopped before them, the assessment's."""
    assessed = evidence.get("assessment")
    return evidence.get("verdicts") or (assessed.get("verdicts") if isinstance(assessed, Mapping) else None) or []


def assessment_page(record: Mapping[str, object]) -> str:
    """The report that an assessment saved: every verdict with its numbers, and plots of what was measured."""
    return render("assessment.html", record=record, noise=_noise)


def _noise(probes: Sequence[float | None]) -> float | None:
    """Where noise ends; None where too few random probes came to a number, as with one outcome only."""
    known = tuple(probe for probe in probes if probe is not None)
    return noise_level(known) if len(known) > 1 else None


def problem(title: str, message: str, back: str | None = None) -> str:
    """A page for what went wrong, in the words of the error."""
    return render("problem.html", title=title, message=message, back=back)
