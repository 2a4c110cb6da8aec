"""Gate: enough rows, both classes, finite probabilities between 0 and 1."""

from __future__ import annotations

import numpy as np

from pipelines.gates.evidence import Evidence
from pipelines.results import Verdict
from pipelines.use_case import Gates


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    rows, classes = len(evidence.label), len(np.unique(evidence.label))
    sound = np.shape(evidence.challenger) == np.shape(evidence.label) and bool(
        np.isfinite(evidence.challenger).all() and (evidence.challenger >= 0).all() and (evidence.challenger <= 1).all()
    )
    passed = rows >= settings.min_holdout_rows and classes == 2 and sound
    reason = "enough to judge by"
    if rows < settings.min_holdout_rows:
        reason = f"fewer than the {settings.min_holdout_rows} that a judgement needs"
    elif classes < 2:
        reason = "but all with the same outcome, so nothing can be told apart"
    elif not sound:
        reason = "but some scores are missing or no probabilities"
    return Verdict("evaluation_set", passed, f"{rows} rows in the holdout: {reason}.", {"rows": rows, "classes": classes})
