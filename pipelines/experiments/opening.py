"""An experiment is opened once: what is declared is written down, and stays until it ends."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.errors import PermanentError
from pipelines.experiments.assignment import first
from pipelines.experiments.policies import start
from pipelines.experiments.running import Opened, opened, record
from pipelines.use_case import Experiment
from pipelines.workspace import CHAMPION, Champion, Decision, Kind, StageRun, first_unscored


def open_declared(run: StageRun) -> str | None:
    """Open what the file declares, from its first partition on that was not served yet; its name, None where there is none.

    Raises:
        PermanentError: a version did not pass its gates or does not load, nobody is champion, its time is over, it was changed
            while it runs, its name was used, or another experiment runs.
    """
    spec = run.use_case.experiment
    if spec is None:
        return None
    decisions = run.ledger.decisions(run.use_case.name)
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
    _record(run, spec, versions, since)
    return spec.name


def _is_open(before: Opened, spec: Experiment) -> bool:
    """Whether it is this one; raises PermanentError where it stands in its way."""
    if before.spec.name == spec.name and before.spec != spec:
        raise PermanentError(
            f"experiment '{spec.name}': it was opened as it was declared on {before.start.at[:10]} and was changed since; what "
            "runs goes on as it was. Put the file back; or take the section out, which ends it, and give the new one a new name"
        )
    if before.ended is None and before.spec.name != spec.name:
        raise PermanentError(
            f"experiment '{spec.name}': '{before.spec.name}' runs, and two at once would not know whose effect they see; wait "
            "for its end, or take the section out, which ends it"
        )
    return before.spec.name == spec.name


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


def _record(run: StageRun, spec: Experiment, versions: dict[str, int], since: str) -> None:
    weights = start(spec, [variant for variant in versions if variant != CHAMPION])
    named = ", ".join(f"{variant} v{version}" for variant, version in versions.items())
    record(
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
    )
