"""Gate: Log loss against the simple model's, by a margin; the simple model itself has to beat the dummy."""

from __future__ import annotations

from pipelines.gates.evidence import Evidence
from pipelines.metrics import losses
from pipelines.results import Verdict
from pipelines.use_case import Gates


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    mine = float(losses(evidence.label, evidence.challenger).mean())
    if evidence.is_simple:
        if evidence.dummy is None:
            return Verdict(
                "beats_simple", False, "No dummy was scored, so the simple model has nothing to beat: counted as no."
            )
        base = float(losses(evidence.label, evidence.dummy).mean())
        sentence = f"The simple model: log loss {mine:.4f} against {base:.4f} for always saying the training's average."
        return Verdict("beats_simple", mine < base, sentence, {"gain": base - mine})
    if evidence.simple is None:
        return Verdict(
            "beats_simple", False, "No simple model was scored, so the complex one has nothing to beat: counted as no."
        )
    gain = float(losses(evidence.label, evidence.simple).mean()) - mine
    sentence = f"Log loss is {gain:+.4f} better than the simple model's; {settings.min_gain_over_simple:.4f} is asked."
    return Verdict("beats_simple", bool(gain >= settings.min_gain_over_simple), sentence, {"gain": gain})
