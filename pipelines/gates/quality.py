"""Gate: AUC and log loss against fixed thresholds."""

from __future__ import annotations

from pipelines.gates.evidence import Evidence, shown
from pipelines.metrics import scores
from pipelines.results import Verdict
from pipelines.use_case import Gates


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    found = scores(evidence.label, evidence.challenger)
    auc, log_loss = found["auc"], found["log_loss"]
    passed = auc is not None and log_loss is not None and auc >= settings.min_auc and log_loss <= settings.max_log_loss
    sentence = (
        f"AUC {shown(auc)} (at least {settings.min_auc:.3f} asked), "
        f"log loss {shown(log_loss)} (at most {settings.max_log_loss:.3f})."
    )
    return Verdict("quality", passed, sentence, {"auc": auc, "log_loss": log_loss})
