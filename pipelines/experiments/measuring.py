"""When labels come: what is known, who is taken out, what each variant serves from the next partition on; or the end."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from pipelines.errors import PermanentError
from pipelines.experiments.assignment import moved, shares
from pipelines.experiments.evidence import Evidence, gather
from pipelines.experiments.figures import in_words, outcomes, planned
from pipelines.experiments.intervals import against_shares
from pipelines.experiments.policies import harmful, next_weights
from pipelines.experiments.running import Opened, opened, plan_of, record, running, taken_out
from pipelines.use_case import UseCase
from pipelines.workspace import CHAMPION, Kind, StageRun, Workspace, first_unscored

SURE = 0.001  # a right assignment is stopped with this chance


@dataclass(frozen=True)
class Measured:
    """What became of the experiment: the shares from `effective_from` on; none where it ended, or only waits for labels."""

    name: str
    effective_from: str
    weights: dict[str, float]
    why: str


def is_any(run: StageRun) -> bool:
    """Whether there is one to open or to look at."""
    return run.use_case.experiment is not None or running(run.ledger.decisions(run.use_case.name)) is not None


def end(workspace: Workspace, use_case: UseCase, reason: str, actor: str) -> Measured:
    """End the one that runs, from the first partition on that was not served; the reason and the `actor` are kept.

    Raises:
        PermanentError: none runs, or it ended meanwhile; or there is no reason.
    """
    about = running(workspace.ledger.decisions(use_case.name))
    if about is None:
        raise PermanentError(f"{use_case.name}: no experiment runs, so there is none to end")
    if not reason.strip():
        raise PermanentError(f"experiment '{about.spec.name}': say why it is ended; the ledger keeps it")
    run = StageRun(workspace, use_case, use_case.partition(_next(workspace, use_case, about)))
    why = f"{actor} ended it: {reason.strip()}"
    try:
        done = _ended(_look(run, about), why, actor)
    except PermanentError as error:  # what cannot be told must not keep anybody from ending it
        sentence = f"'{about.spec.name}' ended: {why}. What it showed cannot be told: {error}. Nobody was promoted by it."
        record(run, about.spec.name, Kind.EXPERIMENT_ENDED, "", sentence, run.key, because=why, actor=actor)
        done = Measured(about.spec.name, run.key, {}, sentence)
    over = {each.spec.name: each.ended for each in opened(workspace.ledger.decisions(use_case.name))}[about.spec.name]
    if over is None or over.evidence["because"] != why:
        raise PermanentError(f"experiment '{about.spec.name}': it ended meanwhile, for another reason; see the decisions")
    return done


def measure(run: StageRun) -> Measured | None:
    """Look at the experiment that runs, and write down what follows; None where none does. Looking again changes nothing."""
    about = running(run.ledger.decisions(run.use_case.name))
    if about is None:
        return None
    look = _look(run, about)
    why = _over(look)
    return _ended(look, why) if why else _weighed(look)


@dataclass(frozen=True)
class _Look:
    """What is known of an experiment; what follows is in force from the next partition on, `effective`. `left` take part."""

    run: StageRun
    about: Opened
    evidence: Evidence
    effective: str
    left: Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.about.spec.name

    @property
    def words(self) -> str:
        return in_words(self.run.use_case, self.about, self.evidence, self.left)

    def record(self, kind: Kind, suffix: str, why: str, **told: object) -> None:
        figures = [asdict(each) for each in outcomes(self.run.use_case, self.about, self.evidence)]
        told |= {"figures": figures, "labelled": self.evidence.labelled, "unit": self.evidence.unit}
        record(self.run, self.name, kind, suffix, why, self.effective, self.evidence.gained, **told)

    def measured(self, weights: dict[str, float], why: str) -> Measured:
        return Measured(self.name, self.effective, weights, why)


def _look(run: StageRun, about: Opened) -> _Look:
    evidence = gather(run.workspace, run.use_case, about)
    look = _Look(run, about, evidence, _next(run.workspace, run.use_case, about))  # what was scored meanwhile stays its own
    return replace(look, left=_guarded(look))


def _next(workspace: Workspace, use_case: UseCase, about: Opened) -> str:
    """The first partition that was not served yet."""
    return max(about.since, first_unscored(workspace, use_case, about.since))


def _ended(look: _Look, why: str, actor: str = "experiment") -> Measured:
    sentence = f"'{look.name}' ended: {why}. {look.words} Nobody was promoted by it."
    look.record(Kind.EXPERIMENT_ENDED, "", sentence, because=why, actor=actor)
    return look.measured({}, sentence)


def _guarded(look: _Look) -> list[str]:
    """The challengers that still take part, once the guards have spoken."""
    gone = {taken_out(d, look.name) for d in look.run.ledger.decisions(look.run.use_case.name)}
    paired = {name: sums for name, sums in look.evidence.paired.items() if name not in gone}
    found = harmful(look.about.spec, paired, look.evidence.action_change)
    for name, why in found.items():
        version = look.about.versions[name]
        sentence = f"{name} (v{version}) serves nothing in '{look.name}' from {look.effective} on: {why}."
        look.record(Kind.EXPERIMENT_GUARD, f"/{name}", sentence, variant=name, version=version)
    return [name for name in paired if name not in found]


def _over(look: _Look) -> str | None:
    """Why it is over; None as long as it goes on."""
    run, about, evidence = look.run, look.about, look.evidence
    moves = [d for d in run.ledger.champion_moves(run.use_case.name) if (d.position or 0) > (about.start.position or 0)]
    if moves:
        return f"the champion moved ({moves[0].id}), and v{about.versions[CHAMPION]} was what it compared with"
    if run.use_case.experiment is None and not about.by_hand:
        return "its section was taken out of the file"
    if float(against_shares(evidence.shares, evidence.counts).max(initial=0.0)) > math.log(1 / SURE):
        wanted = (evidence.shares * evidence.counts.sum(axis=1, keepdims=True)).sum(axis=0)
        told = ", ".join(f"{n:.0f} of {w:.0f}" for n, w in zip(evidence.counts.sum(axis=0), wanted, strict=True))
        return f"the shares that were served are not those of the weights ({told} units): its figures cannot be trusted"
    if not look.left:
        return "no challenger takes part any more"
    over = look.effective > about.spec.last and evidence.scored == evidence.labelled
    return f"all up to {about.spec.last} is served and labelled" if over else None


def _weighed(look: _Look) -> Measured:
    """The shares by the policy, from the next partition on; written down where they change."""
    plan = plan_of(look.run.ledger.decisions(look.run.use_case.name), look.effective)
    if plan is None:
        return look.measured({}, f"its last partition, {look.about.spec.last}, is served; labels are waited for")
    paired = {name: look.evidence.paired[name] for name in look.left}
    wanted = next_weights(look.about.spec, paired, len(planned(look.run.use_case, look.about)))
    owners = moved(plan.owners, wanted.weights)
    weights = shares(owners)
    told = ", ".join(f"{variant} {share:.1%}" for variant, share in weights.items())
    if weights != shares(plan.owners):
        sentence = f"'{look.name}' from {look.effective} on: {told} ({wanted.why}). {look.words}"
        suffix = f"/{look.effective}/{hashlib.sha256(json.dumps(owners).encode()).hexdigest()[:8]}"
        look.record(Kind.EXPERIMENT_WEIGHTS, suffix, sentence, owners=owners, weights=weights)
    return look.measured(weights, f"{told}: {wanted.why}")
