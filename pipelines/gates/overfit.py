"""Gate: AUC on training rows less AUC on the holdout."""

from __future__ import annotations

from pipelines.gates.evidence import Evidence
from pipelines.metrics import scores
from pipelines.results import Verdict
from pipelines.use_case import Gates


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    auc = scores(evidence.label, evidence.challenger)["auc"]
    if auc is None or evidence.training_auc is None:
        return Verdict("overfit", False, "AUC on training rows or holdout is not known: counted as no.")
    gap = evidence.training_auc - auc
    word = "learnt by heart" if gap > settings.max_overfit else "generalises"
    sentence = f"The model {word}: AUC {evidence.training_auc:.3f} on training rows, {auc:.3f} on newer ones (gap {gap:+.3f})."
    return Verdict("overfit", gap <= settings.max_overfit, sentence, {"gap": gap})
