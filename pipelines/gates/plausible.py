"""Gate: AUC on the holdout below a ceiling: a model that is nearly never wrong has mostly seen the label in a feature."""

from __future__ import annotations

from pipelines.gates.evidence import Evidence, shown
from pipelines.metrics import scores
from pipelines.results import Verdict
from pipelines.use_case import Gates


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    auc = scores(evidence.label, evidence.challenger)["auc"]
    passed = auc is not None and auc <= settings.max_auc
    reason = "can be true" if passed else "is too good to be true, or not known: look for the label among the features"
    return Verdict("plausible", passed, f"AUC {shown(auc)} (at most {settings.max_auc:.3f}) {reason}.", {"auc": auc})
