"""Gate: loaded from the registry in a fresh process, a model gives the same numbers, soon enough, in the memory allowed."""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.gates.evidence import Array, Challenger, Evidence
from pipelines.gates.fresh_process import FreshProcesses, serve
from pipelines.results import Verdict
from pipelines.use_case import Gates
from pipelines.workspace import Registry

if TYPE_CHECKING:
    import pandas as pd

_ROWS, _SINGLE_ROWS = 1000, 15
_TIMEOUT = 180.0
PROCESSES = FreshProcesses("pipelines.gates.inference")
_SAME = 1e-9


@dataclass(frozen=True)
class Inference:
    """A model loaded from the registry in a fresh process, on real rows. `problem` says why there are no numbers.

    `max_difference` is against the probabilities of the process that trained it; latency is the median for one row.
    """

    rows: int = 0
    max_difference: float | None = None
    latency_ms: float | None = None
    memory_mib: float | None = None
    problem: str | None = None


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    seen = evidence.measured.get("inference")
    if not isinstance(seen, Inference):
        return Verdict("inference", False, "It was not loaded in a fresh process: counted as no.")
    return verdict_on(seen, settings)


def verdict_on(seen: Inference, settings: Gates) -> Verdict:
    """The gate's verdict on one measurement."""
    numbers = {"rows": seen.rows, "max_difference": seen.max_difference}
    numbers |= {"latency_ms": seen.latency_ms, "memory_mib": seen.memory_mib}
    if seen.problem or seen.max_difference is None or seen.latency_ms is None or seen.memory_mib is None or not seen.rows:
        return Verdict("inference", False, f"In a fresh process: {seen.problem or 'no numbers came back'}.", numbers)
    figures = f"{seen.rows} rows, {seen.latency_ms:.1f} ms for one, {seen.memory_mib:.0f} MiB"
    if seen.max_difference > _SAME:
        why = f"it gives other probabilities than at training (off by up to {seen.max_difference:.3g})"
    elif seen.latency_ms > settings.max_latency_ms:
        why = f"it is too slow: {seen.latency_ms:.1f} ms for one row, {settings.max_latency_ms:.1f} allowed"
    elif seen.memory_mib > settings.max_memory_mib:
        why = f"it needs {seen.memory_mib:.0f} MiB, {settings.max_memory_mib:.0f} allowed"
    else:
        return Verdict("inference", True, f"In a fresh process it gives the same probabilities ({figures}).", numbers)
    return Verdict("inference", False, f"In a fresh process {why}.", numbers)


def measure(challenger: Challenger, timeout: float = _TIMEOUT) -> Inference:
    """Score the newest of the challenger's rows in a fresh process and compare with its probabilities.

    Whatever goes wrong there is an answer too: `Inference.problem` has it.
    """
    registry, use_case = challenger.training.registry, challenger.training.use_case
    asked, wanted = challenger.rows.tail(_ROWS), np.asarray(challenger.probability)[-_ROWS:]
    with tempfile.TemporaryDirectory(prefix="inference-") as folder:
        request = Path(folder) / "request.json"
        asked.to_parquet(Path(folder) / "rows.parquet", index=False)
        about = {"tracking_uri": registry.tracking_uri, "artifacts": registry.artifacts, "use_case": use_case.name}
        request.write_text(json.dumps({**about, "model_uri": challenger.model_uri, "features": list(use_case.features.names)}))
        problem = PROCESSES.problem(request, timeout)
        if problem:
            return Inference(len(asked), problem=problem)
        answer = json.loads((Path(folder) / "answer.json").read_text())
    return _compared(answer, wanted)


def _compared(answer: dict[str, Any], wanted: Array) -> Inference:
    found = np.array(answer["probabilities"], dtype=float)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return Inference(len(found), problem=f"it gave {np.isfinite(found).sum()} probabilities for {len(wanted)} rows")
    difference = float(np.abs(found - wanted).max()) if len(wanted) else None
    return Inference(
        rows=len(found),
        max_difference=difference,
        latency_ms=answer["latency_ms"],
        memory_mib=answer["memory_mib"],
    )


def _answer(request: dict[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
    """In the fresh process: load, compare the signature, score, and time single rows."""
    registry = Registry(request["tracking_uri"], request["artifacts"])
    model = registry.load_uri(request["use_case"], request["model_uri"])
    problem = signature_problem(model.signature, tuple(request["features"]), rows)
    if problem:
        raise SystemExit(problem)
    probabilities = [float(p) for p in model.predict(rows)]
    seconds = []
    for number in range(min(_SINGLE_ROWS, len(rows))):
        start = time.perf_counter()
        model.predict(rows.iloc[[number]])
        seconds.append(time.perf_counter() - start)
    return {"probabilities": probabilities, "latency_ms": 1000 * statistics.median(seconds), "memory_mib": _peak_mib()}


def _peak_mib() -> float:
    """This process's own peak: on Linux, what `getrusage` says begins with the peak of the process that started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def signature_problem(signature: dict[str, str] | None, features: tuple[str, ...], rows: pd.DataFrame) -> str | None:
    """What the model's signature asks for and the features of today are not; None where they agree."""
    import pandas as pd

    if signature is None:
        return "the model has no signature, so nobody can tell what it wants"
    lacking = sorted(set(signature) - set(features)), sorted(set(features) - set(signature))
    if lacking[0] or lacking[1] or list(signature) != list(features):
        words = zip(("it wants also", "it does not know"), lacking, strict=True)
        differ = "; ".join(f"{what} {', '.join(names)}" for what, names in words if names) or "the order is another one"
        return f"the model's signature is not that of the features: {differ}"
    for name, kind in signature.items():
        present = rows[name].dropna().infer_objects()
        if kind != "any" and len(present) and (kind == "string") == pd.api.types.is_numeric_dtype(present):
            return f"the model's signature has {name} as {kind}, but the features have {rows[name].dtype}"
    return None


def answer(request: Path) -> None:
    """In the fresh process: answer one request beside it."""
    import pandas as pd

    found = _answer(json.loads(request.read_text()), pd.read_parquet(request.parent / "rows.parquet"))
    (request.parent / "answer.json").write_text(json.dumps(found))


def _serve() -> None:
    import mlflow.sklearn  # noqa: F401
    import pandas as pd  # noqa: F401
    import sklearn.ensemble  # noqa: F401
    import skops.io  # noqa: F401

    serve(answer)


if __name__ == "__main__":
    _serve()
