"""An experiment is opened once, by its file or by a person: what is declared is written down, and stays until it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.errors import PermanentError, TransientError
from pipelines.experiments.assignment import first
from pipelines.experiments.policies import start
from pipelines.experiments.running import Opened, opened, record
from pipelines.use_case import Experiment, UseCase, with_experiment
from pipelines.workspace import CHAMPION, Champion, Decision, Kind, StageRun, Workspace, first_unscored


def open_declared(run: StageRun) -> str | None:
    """Open what the file declares, from its first partition on that was not served yet; its name, None where there is none.

    Raises:
        PermanentError: a version did not pass its gates or does not load, nobody is champion, its time is over, it was changed
            while it runs, its name was used, or another experiment runs.
    """
    return _open(run, run.use_case.experiment) if run.use_case.experiment else None


def open_by_hand(workspace: Workspace, use_case: UseCase, asked: Mapping[str, object], actor: str) -> str:
    """Open what a person asks for, with the keys of the section `experiment:`; the name. Once more changes nothing.

    Raises:
        PermanentError: as `open_declared` does; or a key is missing, unknown or has no such value.
    """
    spec = with_experiment(use_case, asked)
    return _open(StageRun(workspace, use_case, use_case.partition(spec.first)), spec, by_hand=True, actor=actor)


def _open(run: StageRun, spec: Experiment, by_hand: bool = False, actor: str = "experiment") -> str:
    decisions = run.ledger.decisions(run.use_case.name)
    if by_hand and any(before.spec.name == spec.name and before.ended for before in opened(decisions)):
        raise PermanentError(f"experiment '{spec.name}': there was one of this name, and it has ended; give this one another")
    if any(_is_open(before, spec) for before in opened(decisions)):
        return spec.name
    champion = run.ledger.champion(run.use_case.name)
    if champion is None:
        raise PermanentError(
            f"experiment '{spec.name}': nobody is champion, so there is nothing to compare with; train one first"
        )
    versions = _versions(run, spec, champion, decisions)
    since = max(spec.first, champion.effective_from, first_unscored(run.workspace, run.use_case, spec.first))
    if since > spec.last:
        raise PermanentError(
            f"experiment '{spec.name}': all partitions up to {spec.last} were served; declare a later last one"
        )
    if not _record(run, spec, versions, since, by_hand, actor):
        raise TransientError(f"experiment '{spec.name}': one was opened meanwhile; ask again, to know whether it is this one")
    return spec.name


def _is_open(before: Opened, spec: Experiment) -> bool:
    """Whether it is this one; raises PermanentError where it stands in its way."""
    if before.spec.name == spec.name and before.spec != spec:
        raise PermanentError(
            f"experiment '{spec.name}': it was opened as it was declared on {before.start.at[:10]} and was changed since; what "
            f"runs goes on as it was. Declare it as it was; or {_way_out(before)}, and give the new one a new name"
        )
    if before.ended is None and before.spec.name != spec.name:
        raise PermanentError(
            f"experiment '{spec.name}': '{before.spec.name}' runs, and two at once would not know whose effect they see; wait "
            f"for its end, or {_way_out(before)}"
        )
    return before.spec.name == spec.name


def _way_out(running: Opened) -> str:
    """How whoever opened it ends it."""
    return "end it by the form that opened it" if running.by_hand else "take the section out, which ends it"


def _versions(run: StageRun, spec: Experiment, champion: Champion, decisions: Sequence[Decision]) -> dict[str, int]:
    passed = sorted({d.model_version for d in decisions if d.model_version and _passed(d)} - {champion.version})
    found = {CHAMPION: champion.version}
    for variant, asked in spec.challengers.items():
        version = (passed or [0])[-1] if asked == "newest" else asked
        if version not in passed:
            raise PermanentError(
                f"experiment '{spec.name}': {variant}, {asked}, is no version that passed its gates and does not serve; there "
                f"are {', '.join(f'v{v}' for v in passed) or 'none'}"
            )
        run.registry.load(run.use_case.name, version)
        found[variant] = version
    if len(set(found.values())) < len(found):
        raise PermanentError(f"experiment '{spec.name}': two of its variants are the same version: {found}")
    return found


def _passed(decision: Decision) -> bool:
    """Whether it says of its version that it passed every gate."""
    verdicts = decision.evidence.get("verdicts")
    if decision.kind not in (Kind.ASKED, Kind.PROMOTED) or not isinstance(verdicts, list) or not verdicts:
        return False
    return all(verdict["passed"] is True for verdict in verdicts)


def _record(run: StageRun, spec: Experiment, versions: dict[str, int], since: str, by_hand: bool, actor: str) -> bool:
    weights = start(spec, [variant for variant in versions if variant != CHAMPION])
    named = ", ".join(f"{variant} v{version}" for variant, version in versions.items())
    return record(
        run,
        spec.name,
        Kind.EXPERIMENT_STARTED,
        "",
        f"'{spec.name}' asks: {spec.question} From {since} to {spec.last}, by {spec.policy}: {named}.",
        since,
        declared=spec.model_dump(mode="json"),
        versions=versions,
        weights=weights,
        owners=first(weights),
        by_hand=by_hand,
        actor=actor,
    )
