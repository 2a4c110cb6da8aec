"""Gate: what comes after a promotion works on the model as it comes from the registry: scoring, monitoring, its card.

The steps are passed in to `evaluate`, as gates know no stage that comes after them: functions of use case, model and
labelled rows, that raise where the real step would. They are tried in a fresh process.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from pipelines.errors import TransientError, redact
from pipelines.gates.evidence import Challenger, Evidence, Step
from pipelines.gates.fresh_process import FreshProcesses, serve
from pipelines.results import Verdict
from pipelines.use_case import Gates, UseCase
from pipelines.workspace import Registry

_ROWS, _TIMEOUT = 1000, 300.0
PROCESSES = FreshProcesses("pipelines.gates.after_promotion")


@dataclass(frozen=True)
class Tried:
    """What was tried, and by step what went wrong."""

    steps: tuple[str, ...] = ()
    problems: dict[str, str] = field(default_factory=dict)


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    seen = evidence.measured.get("after_promotion")
    if not isinstance(seen, Tried) or not seen.steps:
        return Verdict("after_promotion", False, "Nothing that comes after a promotion was tried: counted as no.")
    said = "; ".join(f"{step}: {problem}" for step, problem in seen.problems.items())
    if said:
        return Verdict("after_promotion", False, f"After a promotion this would fail: {said}.", {"steps": len(seen.steps)})
    names = ", ".join(step.split(":")[0].rpartition(".")[2] for step in seen.steps)
    sentence = f"What comes after a promotion works on it in a fresh process: {names}."
    return Verdict("after_promotion", True, sentence, {"steps": len(seen.steps)})


def measure(challenger: Challenger, timeout: float = _TIMEOUT) -> Tried:
    """Try every step on the newest of the challenger's rows."""
    if not challenger.steps:
        return Tried()
    use_case, registry = challenger.training.use_case, challenger.training.registry
    steps = tuple(map(_address, challenger.steps))
    with tempfile.TemporaryDirectory(prefix="after-promotion-") as folder:
        request = Path(folder) / "request.json"
        challenger.rows.tail(_ROWS).to_parquet(Path(folder) / "rows.parquet", index=False)
        about = {"tracking_uri": registry.tracking_uri, "artifacts": registry.artifacts, "model_uri": challenger.model_uri}
        request.write_text(json.dumps({**about, "steps": steps, "use_case": use_case.model_dump(mode="json")}))
        problem = PROCESSES.problem(request, timeout)
        problems = {"all": problem} if problem else json.loads((Path(folder) / "answer.json").read_text())
    return Tried(steps, problems)


def _address(step: Step) -> str:
    """`pipelines.scoring:rehearse`: by the room's door, whichever of its modules has it."""
    module = step.__module__
    return f"{'.'.join(module.split('.')[:2]) if module.startswith('pipelines.') else module}:{step.__name__}"


def answer(request: Path) -> None:
    """In the fresh process: load the model, try each step, write down what went wrong."""
    import pandas as pd

    asked, rows = json.loads(request.read_text()), pd.read_parquet(request.parent / "rows.parquet")
    use_case = UseCase.model_validate(asked["use_case"])
    model = Registry(asked["tracking_uri"], asked["artifacts"]).load_uri(use_case.name, asked["model_uri"])
    problems = {}
    for step in asked["steps"]:
        module, _, name = step.partition(":")
        try:
            getattr(import_module(module), name)(use_case, model, rows)
        except TransientError:
            raise
        except Exception as error:  # whatever stops it would stop it after the promotion
            problems[step] = redact(f"{type(error).__name__}: {error}")[:500]
    (request.parent / "answer.json").write_text(json.dumps(problems))


def _serve() -> None:
    import evidently.presets  # noqa: F401
    import mlflow.sklearn  # noqa: F401
    import pandas as pd  # noqa: F401
    import sklearn.ensemble  # noqa: F401
    import skops.io  # noqa: F401

    serve(answer)


if __name__ == "__main__":
    _serve()
