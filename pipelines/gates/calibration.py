"""Gate: expected calibration error: users act on the probabilities."""

from __future__ import annotations

from pipelines.gates.evidence import Evidence, shown
from pipelines.metrics import scores
from pipelines.results import Verdict
from pipelines.use_case import Gates


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    error = scores(evidence.label, evidence.challenger)["calibration_error"]
    passed = error is not None and error <= settings.max_calibration_error
    sentence = f"Probabilities are off by {shown(error)} on average (at most {settings.max_calibration_error:.3f})."
    return Verdict("calibration", passed, sentence, {"calibration_error": error})
