"""Gate: champion and challenger on the same rows: paired difference of log loss, bootstrapped over whole days.

Days, as flights of one day share its weather: rows are not independent, days nearly are.
"""

from __future__ import annotations

import numpy as np

from pipelines.gates.evidence import Evidence
from pipelines.gates.statistics import MIN_DAYS, day_bootstrap
from pipelines.metrics import losses
from pipelines.results import Verdict
from pipelines.use_case import Gates


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    if not evidence.has_champion:
        return Verdict(
            "beats_champion", True, "There is no champion yet: the first model only has to pass the other gates.", {}
        )
    if evidence.champion is None:
        why = evidence.champion_problem or "it was not scored"
        return Verdict("beats_champion", False, f"The champion could not be compared ({why}): counted as no.")
    days = len(np.unique(evidence.day))
    if days < MIN_DAYS:
        why = f"{days} days are too few to tell a gain from luck; raise training.holdout_days to {MIN_DAYS} or more"
        return Verdict("beats_champion", False, f"The champion could not be compared: {why}. Counted as no.", {"days": days})
    difference = losses(evidence.label, evidence.champion) - losses(evidence.label, evidence.challenger)
    gain, low, high = day_bootstrap(difference, evidence.day, settings.confidence)
    numbers = {"gain": gain, "low": low, "high": high, "rows": len(difference)}
    passed = bool(low > settings.min_gain_over_champion)
    sentence = (
        f"On the same {len(difference)} rows the challenger's log loss is {gain:+.4f} better than the champion's "
        f"({settings.confidence:.0%} interval {low:+.4f} to {high:+.4f}); "
        f"{_outcome(passed, gain, low, len(difference), settings)}"
    )
    return Verdict("beats_champion", passed, sentence, numbers)


def _outcome(passed: bool, gain: float, low: float, rows: int, settings: Gates) -> str:
    if passed:
        return "that is a real gain."
    edge = gain - settings.min_gain_over_champion
    if edge <= 0:
        return "that is no gain."
    # The interval's width shrinks with the root of the number of labels.
    factor = ((gain - low) / edge) ** 2
    return f"that is undecided: about {max(int(rows * (factor - 1)), 1)} more labels would settle it."
