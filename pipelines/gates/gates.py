"""Gates: pure functions of evidence to a verdict. Unknown, missing or crashed evidence is a FAIL, never a pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipelines.gates.evidence import Evidence
from pipelines.gates.gates_in_use import economics, inference, slices, stability
from pipelines.gates.statistics import MIN_DAYS, day_bootstrap
from pipelines.metrics import losses, scores
from pipelines.results import Verdict, guarded
from pipelines.use_case import Gates

Gate = Callable[[Evidence, Gates], Verdict]


def judge(evidence: Evidence, settings: Gates, gates: dict[str, Gate] | None = None) -> list[Verdict]:
    """Every gate's verdict. A gate that raises has failed, and says with what."""
    return [guarded(name, gate, evidence, settings) for name, gate in (gates or GATES).items()]


def evaluation_set(evidence: Evidence, settings: Gates) -> Verdict:
    """Enough rows, both classes, finite probabilities between 0 and 1."""
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


def quality(evidence: Evidence, settings: Gates) -> Verdict:
    """AUC and log loss against fixed thresholds."""
    found = scores(evidence.label, evidence.challenger)
    auc, log_loss = found["auc"], found["log_loss"]
    passed = auc is not None and log_loss is not None and auc >= settings.min_auc and log_loss <= settings.max_log_loss
    sentence = (
        f"AUC {_f(auc)} (at least {settings.min_auc:.3f} asked), log loss {_f(log_loss)} (at most {settings.max_log_loss:.3f})."
    )
    return Verdict("quality", passed, sentence, {"auc": auc, "log_loss": log_loss})


def plausible(evidence: Evidence, settings: Gates) -> Verdict:
    """AUC on the holdout below a ceiling: a model that is nearly never wrong has mostly seen the label in a feature."""
    auc = scores(evidence.label, evidence.challenger)["auc"]
    passed = auc is not None and auc <= settings.max_auc
    reason = "can be true" if passed else "is too good to be true, or not known: look for the label among the features"
    return Verdict("plausible", passed, f"AUC {_f(auc)} (at most {settings.max_auc:.3f}) {reason}.", {"auc": auc})


def beats_simple(evidence: Evidence, settings: Gates) -> Verdict:
    """Log loss against the simple model's, by a margin; the simple model itself has to beat the dummy."""
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


def overfit(evidence: Evidence, settings: Gates) -> Verdict:
    """AUC on training rows less AUC on the holdout."""
    auc = scores(evidence.label, evidence.challenger)["auc"]
    if auc is None or evidence.training_auc is None:
        return Verdict("overfit", False, "AUC on training rows or holdout is not known: counted as no.")
    gap = evidence.training_auc - auc
    word = "learnt by heart" if gap > settings.max_overfit else "generalises"
    sentence = f"The model {word}: AUC {evidence.training_auc:.3f} on training rows, {auc:.3f} on newer ones (gap {gap:+.3f})."
    return Verdict("overfit", gap <= settings.max_overfit, sentence, {"gap": gap})


def calibration(evidence: Evidence, settings: Gates) -> Verdict:
    """Expected calibration error: users act on the probabilities."""
    error = scores(evidence.label, evidence.challenger)["calibration_error"]
    passed = error is not None and error <= settings.max_calibration_error
    sentence = f"Probabilities are off by {_f(error)} on average (at most {settings.max_calibration_error:.3f})."
    return Verdict("calibration", passed, sentence, {"calibration_error": error})


def beats_champion(evidence: Evidence, settings: Gates) -> Verdict:
    """Champion and challenger on the same rows: paired difference of log loss, bootstrapped over whole days.

    Days, as flights of one day share its weather: rows are not independent, days nearly are.
    """
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


def _f(number: float | int | None) -> str:
    return "unknown" if number is None else f"{number:.3f}"


GATES: dict[str, Gate] = {
    "evaluation_set": evaluation_set,
    "quality": quality,
    "plausible": plausible,
    "beats_simple": beats_simple,
    "overfit": overfit,
    "calibration": calibration,
    "beats_champion": beats_champion,
    "slices": slices,
    "economics": economics,
    "stability": stability,
    "inference": inference,
}
