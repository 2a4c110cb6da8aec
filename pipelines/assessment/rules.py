"""The questions that data has to answer before a model is trained on it: pure functions of evidence to a verdict.

Unknown, missing or crashed evidence is a no.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import TypeVar

from pipelines.assessment.evidence import DataEvidence
from pipelines.errors import PermanentError
from pipelines.results import Verdict, guarded
from pipelines.use_case import Assessment

T = TypeVar("T")
Rule = Callable[[DataEvidence, Assessment], Verdict]
_CURVE_END = 3
_PLATEAU = 0.002
_NOISE_DEVIATIONS = 3


def judge_data(evidence: DataEvidence, settings: Assessment, rules: dict[str, Rule] | None = None) -> list[Verdict]:
    """Every rule's verdict, in the order of the questions. A rule that raises has failed, and says with what."""
    return [guarded(name, rule, evidence, settings) for name, rule in (rules or RULES).items()]


def rows(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Enough rows, and enough of each class."""
    found = _known(evidence, "counts", evidence.counts)
    fewest = min(found.positive, found.negative)
    passed = found.rows >= settings.min_rows and fewest >= settings.min_class_rows
    sentence = (
        f"{found.rows:,} rows before the holdout (at least {settings.min_rows:,} asked), {found.positive:,} positive and "
        f"{found.negative:,} negative (at least {settings.min_class_rows:,} of each)."
    )
    return Verdict("rows", passed, sentence, {"rows": found.rows, "positive": found.positive, "negative": found.negative})


def slices(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Enough rows of each value of each segment."""
    found = _known(evidence, "counts", evidence.counts)
    small = {name: count for name, count in found.slices.items() if count < settings.min_slice_rows}
    asked = f"at least {settings.min_slice_rows:,} asked"
    sentence = f"Each of {len(found.slices)} slices has enough rows ({asked})."
    if small:
        listed = _listed(f"{name} ({count:,})" for name, count in sorted(small.items(), key=lambda s: s[1]))
        sentence = f"Too few rows to learn from ({asked}): {listed}."
    return Verdict("slices", not small, sentence, {"slices": len(found.slices), "too_small": len(small)})


def learning_curve(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Would more data help? The fall of log loss per doubling over the end of the learning curve, extended once."""
    found = _known(evidence, "curve", evidence.curve)
    if len(found.sizes) < _CURVE_END:
        known = f"The learning curve has {len(found.sizes)} points of {_CURVE_END} that it takes"
        return Verdict("learning_curve", False, f"{known}: there are too few rows, or too few of one class. Counted as no.")
    gain = doubling_gain(found.sizes, found.losses)
    passed = gain <= settings.max_doubling_gain
    word = "more data would help much" if not passed else "more data helps a little" if gain > _PLATEAU else "a plateau"
    sentence = (
        f"The learning curve shows {word}: from {found.sizes[0]:,} to {found.sizes[-1]:,} rows log loss went from "
        f"{found.losses[0]:.4f} to {found.losses[-1]:.4f}; twice as many are expected to bring {gain:+.4f} "
        f"(at most {settings.max_doubling_gain:.4f}). There are {found.rows:,} rows in all."
    )
    return Verdict("learning_curve", passed, sentence, {"doubling_gain": gain})


def doubling_gain(sizes: tuple[int, ...], losses: tuple[float, ...]) -> float:
    """Expected fall of the loss when the last size doubles.

    A power law `loss = floor + c * size ** -b` through the last three sizes, each twice the one before, falls by the
    same factor per doubling. Source: Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017.
    """
    first, second, last = losses[-3:]
    before, now = first - second, second - last
    if now <= 0:
        return 0.0
    # A curve that does not flatten is not extended steeper than it was.
    return now * (min(now / before, 1.0) if before > 0 else 1.0)


def fresh(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """From the event until its label can be used, against what the use case needs, and against when it was due."""
    found = _known(evidence, "delays", evidence.delays)
    limit = None if settings.max_delay is None else settings.max_delay.total_seconds() / 86400
    passed = found.late_share <= settings.max_late_share and (limit is None or found.p95_days <= limit)
    asked = "no limit is set, see assessment.max_delay" if limit is None else f"at most {limit:.1f} asked"
    late = f"{found.late_share:.1%} came after they were due (at most {settings.max_late_share:.1%})"
    sentence = (
        f"Half of the labels can be used within {found.median_days:.1f} days of the event, 95 % within "
        f"{found.p95_days:.1f} ({asked}); {late}."
    )
    numbers = {"median_days": found.median_days, "p95_days": found.p95_days, "late_share": found.late_share}
    return Verdict("fresh", passed, sentence, numbers)


def predictive(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Can the features tell the classes apart at all, on newer rows?"""
    found = _known(evidence, "power", evidence.power)
    gain = found.dummy_log_loss - found.log_loss
    asked = max(settings.min_auc, found.lucky_auc)
    sentence = (
        f"A shallow model reaches AUC {found.auc:.3f} on newer rows, a dummy 0.5 (at least {asked:.3f} asked; luck alone "
        f"reaches {found.lucky_auc:.3f}); its log loss is {gain:+.4f} better than that of always saying the average."
    )
    return Verdict("predictive", found.auc >= asked, sentence, {"auc": found.auc, "gain": gain})


def more_than_one_feature(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Is a model worth it, or would one feature do as well?"""
    power, alone = _known(evidence, "power", evidence.power), _known(evidence, "alone", evidence.alone)
    best = max(alone.aucs, key=lambda name: alone.aucs[name])
    gain = power.auc - alone.aucs[best]
    passed = gain >= settings.min_gain_over_one_feature
    word = "A model is worth it" if passed else "One feature does as well as a model"
    sentence = (
        f"{word}: AUC {power.auc:.3f} against {alone.aucs[best]:.3f} with '{best}' alone "
        f"(a gain of {settings.min_gain_over_one_feature:.3f} asked)."
    )
    return Verdict("more_than_one_feature", passed, sentence, {"gain": gain, "best_alone": alone.aucs[best]})


def leaked_label(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Does one feature nearly decide the label?"""
    found = _known(evidence, "alone", evidence.alone).aucs
    suspects = {name: auc for name, auc in found.items() if auc > settings.max_single_auc}
    best = max(found, key=lambda name: found[name])
    sentence = f"No feature decides the label alone; the best, '{best}', has AUC {found[best]:.3f}"
    if suspects:
        listed = _listed(f"'{name}' (AUC {auc:.3f})" for name, auc in sorted(suspects.items(), key=lambda s: -s[1]))
        sentence = f"Nearly the label itself: {listed}; such a feature is mostly known only after the outcome"
    sentence += f" (at most {settings.max_single_auc:.3f})."
    return Verdict("leaked_label", not suspects, sentence, {"best_alone": found[best], "suspects": len(suspects)})


def rewritten(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Were feature values changed after the label was known?"""
    found = _known(evidence, "rewritten", evidence.rewritten)
    numbers = {"partitions": found.partitions, "rows": found.rows, "largest_share": max(found.shares.values(), default=0.0)}
    if not found.partitions:
        sentence = "Only one version of the features is known, so nothing can have changed since the labels came."
        return Verdict("rewritten", True, sentence, numbers)
    changed = {name: share for name, share in found.shares.items() if share > settings.max_rewritten_share}
    asked = f"at most {settings.max_rewritten_share:.1%} asked"
    where = f"{found.rows:,} rows of {found.partitions} partitions"
    sentence = f"Feature values are what they were before the labels came ({where}; {asked})."
    if changed:
        listed = _listed(f"'{name}' ({share:.1%})" for name, share in sorted(changed.items(), key=lambda s: -s[1]))
        sentence = f"Changed after the labels were known: {listed}, of {where} ({asked}); at scoring they are not known so."
    return Verdict("rewritten", not changed, sentence, numbers)


def duplicates(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Is the holdout made of rows that training has seen?"""
    found = _known(evidence, "duplicates", evidence.duplicates)
    share = found.duplicates / found.holdout_rows
    sentence = (
        f"{found.duplicates:,} of {found.holdout_rows:,} holdout rows ({share:.1%}) are the same as a training row but for "
        f"key, date and history (at most {settings.max_duplicate_share:.1%})."
    )
    return Verdict("duplicates", share <= settings.max_duplicate_share, sentence, {"share": share})


def related(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Which features do no better than noise, neither alone nor in the model?"""
    alone, used = _known(evidence, "alone", evidence.alone), _known(evidence, "importances", evidence.importances)
    by_itself, in_model = noise_level(alone.probes), noise_level(used.probes)
    noise = [name for name in alone.aucs if alone.aucs[name] <= by_itself and used.features[name] <= in_model]
    sentence = f"Each of {len(alone.aucs)} features does better than random probes, alone or in a model."
    if noise:
        listed = _listed(f"'{name}'" for name in noise)
        sentence = f"{len(noise)} of {len(alone.aucs)} features do no better than random probes, alone or in a model: {listed}."
    return Verdict("related", not noise, sentence, {"features": len(alone.aucs), "noise": len(noise)})


def noise_level(probes: tuple[float, ...]) -> float:
    """What a column of noise hardly ever exceeds."""
    return statistics.mean(probes) + _NOISE_DEVIATIONS * statistics.stdev(probes)


def balanced(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Are there both classes, and is neither a rarity?"""
    found = _known(evidence, "counts", evidence.counts)
    share = min(found.positive, found.negative) / found.rows
    rarer = "positive" if found.positive <= found.negative else "negative"
    sentence = f"{share:.1%} of the rows are {rarer}, the rarer class (at least {settings.min_class_share:.1%} asked)."
    if share == 0:
        sentence = f"No row is {rarer}: with one outcome only there is nothing to learn."
    return Verdict("balanced", share >= settings.min_class_share, sentence, {"share": share})


def missing(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Are values missing in some slices only?"""
    found = _known(evidence, "missing", evidence.missing)
    gaps = {name: gap for name, gap in found.gaps.items() if abs(gap) > settings.max_missing_gap}
    widest = max((abs(gap) for gap in found.gaps.values()), default=0.0)
    asked = f"at most {settings.max_missing_gap:.0%} from the average asked"
    sentence = f"Values are missing alike in all slices ({asked}; the widest gap is {widest:.1%})."
    if gaps:
        listed = _listed(f"{name} ({gap:+.0%})" for name, gap in gaps.items())
        sentence = f"Missing in some slices far more, or far less, than in all rows ({asked}): {listed}."
    return Verdict("missing", not gaps, sentence, {"widest_gap": widest, "gaps": len(gaps)})


def unseen(evidence: DataEvidence, settings: Assessment) -> Verdict:
    """Has the holdout values that training never saw?"""
    found = _known(evidence, "unseen", evidence.unseen)
    strange = {name: share for name, share in found.shares.items() if share > settings.max_unseen_share}
    largest = max(found.shares.values(), default=0.0)
    asked = f"at most {settings.max_unseen_share:.1%} of a feature's values asked"
    sentence = f"The holdout's values are those that training knows ({asked}; the largest share is {largest:.1%})."
    if strange:
        listed = _listed(f"'{name}' ({share:.1%})" for name, share in sorted(strange.items(), key=lambda s: -s[1]))
        sentence = f"Categories or ranges in the holdout that training has not seen ({asked}): {listed}."
    return Verdict("unseen", not strange, sentence, {"largest_share": largest, "features": len(strange)})


def _known(evidence: DataEvidence, name: str, measure: T | None) -> T:
    if measure is None:
        raise PermanentError(f"'{name}' could not be measured: {evidence.problems.get(name, 'it was not asked for')}")
    return measure


def _listed(names: Iterable[str], most: int = 8) -> str:
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


RULES: dict[str, Rule] = {
    "rows": rows,
    "slices": slices,
    "learning_curve": learning_curve,
    "fresh": fresh,
    "predictive": predictive,
    "more_than_one_feature": more_than_one_feature,
    "leaked_label": leaked_label,
    "rewritten": rewritten,
    "duplicates": duplicates,
    "related": related,
    "balanced": balanced,
    "missing": missing,
    "unseen": unseen,
}
