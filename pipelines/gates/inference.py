"""The inference test: a model is loaded from the registry in a fresh process and scores real rows there."""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.gates import inference_server
from pipelines.gates.evidence import Array, Inference
from pipelines.gates.inference_server import ERRORS
from pipelines.workspace import Registry

_ROWS, _SINGLE_ROWS = 1000, 15
_TIMEOUT = 180.0


def measure(
    registry: Registry, use_case: str, model_uri: str, features: tuple[str, ...], rows: Any, expected: Array,
    timeout: float = _TIMEOUT,
) -> Inference:  # fmt: skip
    """Score the newest of `rows` in a fresh process and compare with `expected`, one probability per row.

    Whatever goes wrong there is an answer too: `Inference.problem` has it.
    """
    asked, wanted = rows.tail(_ROWS), np.asarray(expected)[-_ROWS:]
    with tempfile.TemporaryDirectory(prefix="inference-") as folder:
        request = Path(folder) / "request.json"
        asked.to_parquet(Path(folder) / "rows.parquet", index=False)
        about = {"tracking_uri": registry.tracking_uri, "artifacts": registry.artifacts, "use_case": use_case}
        request.write_text(json.dumps({**about, "model_uri": model_uri, "features": list(features)}))
        problem = _run(request, timeout)
        if problem:
            return Inference(len(asked), problem=problem)
        answer = json.loads((Path(folder) / "answer.json").read_text())
    return _compared(answer, wanted)


def _run(request: Path, timeout: float) -> str | None:
    """Have the request answered by a fresh process; what went wrong, in words."""
    code = inference_server.ask(request, timeout)
    if code is None:
        return f"it did not answer within {timeout:g} seconds"
    if code != 0:
        said = (request.parent / ERRORS).read_text().strip().splitlines() if (request.parent / ERRORS).is_file() else []
        return (said or [f"the process ended with {code}"])[-1][:500]
    return None


def _compared(answer: dict[str, Any], wanted: Array) -> Inference:
    found = np.array(answer["probabilities"], dtype=float)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return Inference(len(found), problem=f"it gave {np.isfinite(found).sum()} probabilities for {len(wanted)} rows")
    difference = float(np.abs(found - wanted).max()) if len(wanted) else None
    return Inference(len(found), difference, answer["latency_ms"], answer["memory_mib"])


def _answer(request: dict[str, Any], rows: Any) -> dict[str, Any]:
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


def signature_problem(signature: dict[str, str] | None, features: tuple[str, ...], rows: Any) -> str | None:
    """What the model's signature asks for and the features of today are not; None where they agree."""
    import pandas as pd

    if signature is None:
        return "the model has no signature, so nobody can tell what it wants"
    lacking = sorted(set(signature) - set(features)), sorted(set(features) - set(signature))
    if lacking[0] or lacking[1] or list(signature) != list(features):
        told = [
            f"{what} {', '.join(names)}"
            for what, names in zip(("it wants also", "it does not know"), lacking, strict=True)
            if names
        ]
        return f"the model's signature is not that of the features: {'; '.join(told) or 'the order is another one'}"
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

    inference_server.serve(answer)


if __name__ == "__main__":
    _serve()
