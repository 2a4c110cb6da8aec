"""Gates on how a model would do in use: for every slice, for money, in a fresh process, on disturbed input."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.gates.evidence import Array, Evidence, Inference
from pipelines.gates.statistics import MIN_DAYS, day_bootstrap
from pipelines.metrics import losses, scores
from pipelines.results import Verdict
from pipelines.use_case import Gates, money

_SAME = 1e-9


def slices(evidence: Evidence, settings: Gates) -> Verdict:
    """Every slice that is large enough: AUC not below the floor, and log loss not significantly above the champion's."""
    absent = [name for name, values in evidence.segments.items() if values is None]
    if absent:
        return Verdict("slices", False, f"The holdout lacks the segment {', '.join(absent)}: counted as no.")
    table = slice_table(evidence, settings)
    judged = [each for each in table if each["judged"]]
    problems = _missing_slices(judged, settings) + [p for p in (_slice_problem(s, settings) for s in judged) if p]
    numbers = {"slices": table, "judged": len(judged)}
    if problems:
        return Verdict("slices", False, f"{'; '.join(problems)}.", numbers)
    if not table:
        return Verdict("slices", True, "The use case names no segments, so no slice is asked about.", numbers)
    worst = min((s for s in judged if s["auc"] is not None), key=lambda s: s["auc"], default=None)
    told = f"; the weakest is {_name(worst)} with AUC {worst['auc']:.3f}" if worst else ""
    return Verdict("slices", True, f"{len(judged)} of {len(table)} slices are large enough to judge, and good{told}.", numbers)


def slice_table(evidence: Evidence, settings: Gates) -> list[dict[str, Any]]:
    """One entry per segment and value, largest first: rows, scores, and the gain over the champion with its interval."""
    parts = [(name, value) for name, values in evidence.segments.items() if values is not None for value in np.unique(values)]
    found = [_slice(evidence, settings, name, value, len(parts)) for name, value in parts]
    return sorted(found, key=lambda s: (s["segment"], -s["rows"]))


def _slice(evidence: Evidence, settings: Gates, name: str, value: Any, slices: int) -> dict[str, Any]:
    rows = evidence.segments[name] == value
    found = scores(evidence.label[rows], evidence.challenger[rows])
    entry: dict[str, Any] = {"segment": name, "value": str(value), "rows": int(rows.sum())}
    entry |= {"auc": found["auc"], "log_loss": found["log_loss"], "champion_log_loss": None, "gain": None, "high": None}
    entry["judged"] = entry["rows"] >= settings.min_slice_rows and bool(np.isfinite(evidence.challenger[rows]).all())
    champion = _comparable(evidence)
    if entry["judged"] and champion is not None and len(np.unique(evidence.day[rows])) >= MIN_DAYS:
        mine, theirs = (losses(evidence.label[rows], p[rows]) for p in (evidence.challenger, champion))
        # One alarm in twenty for all slices together, so each has to be surer (Bonferroni); twice, as the test is one-sided.
        sure = 1 - 2 * (1 - settings.slice_confidence) / slices
        entry["gain"], _, entry["high"] = day_bootstrap(theirs - mine, evidence.day[rows], sure)
        entry["champion_log_loss"] = float(theirs.mean())
    return entry


def _comparable(evidence: Evidence) -> Array | None:
    """The champion's scores if they can be compared; whether they must be is another gate's question."""
    champion = evidence.champion
    sound = champion is not None and champion.shape == evidence.label.shape and bool(np.isfinite(champion).all())
    return champion if sound else None


def _missing_slices(judged: list[dict[str, Any]], settings: Gates) -> list[str]:
    known = {(s["segment"], s["value"]) for s in judged}
    asked = [(segment, value) for segment, values in settings.required_slices.items() for value in values]
    return [
        f"The slice {segment}={value} is missing, or has fewer than {settings.min_slice_rows} rows"
        for segment, value in asked
        if (segment, value) not in known
    ]


def _slice_problem(entry: dict[str, Any], settings: Gates) -> str | None:
    if entry["auc"] is None and entry["high"] is None:
        return f"For {_name(entry)} there is one outcome only, and no champion to compare with"
    if entry["auc"] is not None and entry["auc"] < settings.min_slice_auc:
        return f"For {_name(entry)} AUC is {entry['auc']:.3f}, below the floor of {settings.min_slice_auc:.3f}"
    if entry["high"] is not None and entry["high"] < 0:
        return f"For {_name(entry)} log loss is {-entry['gain']:.4f} worse than the champion's, beyond chance"
    return None


def _name(entry: dict[str, Any]) -> str:
    return f"{entry['segment']}={entry['value']} ({entry['rows']} rows)"


def economics(evidence: Evidence, settings: Gates) -> Verdict:
    """Acting on the model is worth enough; the value matrix has the right signs."""
    if evidence.value is None:
        return Verdict("economics", True, "The use case states no value per outcome, so none is asked.")

    def worth(probability: Array) -> float:
        return money(evidence.label, probability, evidence.value, evidence.threshold)  # type: ignore[arg-type]

    perfect, useless = worth(evidence.label.astype(float)), worth(1.0 - evidence.label)
    always, mine = worth(np.ones(len(evidence.label))), worth(evidence.challenger)
    unit, rows = evidence.value.unit, len(evidence.label)
    numbers = {"worth": mine, "perfect": perfect, "useless": useless, "always": always, "rows": rows}
    if not (perfect > 0 and perfect >= max(mine, always) and useless <= min(mine, always, 0.0)):
        sentence = (
            f"The value matrix has a wrong sign: a perfect model would earn {perfect:,.0f} {unit}, always acting "
            f"{always:,.0f}, one that is always wrong {useless:,.0f}; the perfect one must earn most and the useless least."
        )
        return Verdict("economics", False, sentence, numbers)
    asked = settings.min_value_per_row * rows
    sentence = (
        f"Acting on it would have been worth {mine:,.0f} {unit} on {rows} rows, against doing nothing "
        f"(more than {asked:,.0f} asked; a perfect model: {perfect:,.0f})."
    )
    return Verdict("economics", bool(mine > asked), sentence, numbers)


def inference(evidence: Evidence, settings: Gates) -> Verdict:
    """Loaded from the registry in a fresh process, it gives the same numbers, soon enough, in the memory allowed."""
    if evidence.inference is None:
        return Verdict("inference", False, "It was not loaded in a fresh process: counted as no.")
    return inference_gate(evidence.inference, settings)


def inference_gate(seen: Inference, settings: Gates) -> Verdict:
    """The gate's verdict on one measurement."""
    numbers = {"rows": seen.rows, "max_difference": seen.max_difference}
    numbers |= {"latency_ms": seen.latency_ms, "memory_mib": seen.memory_mib}
    if seen.problem or seen.max_difference is None or seen.latency_ms is None or seen.memory_mib is None or not seen.rows:
        return Verdict("inference", False, f"In a fresh process: {seen.problem or 'no numbers came back'}.", numbers)
    figures = f"{seen.rows} rows, {seen.latency_ms:.1f} ms for one, {seen.memory_mib:.0f} MiB"
    if seen.max_difference > _SAME:
        why = f"it gives other probabilities than at training (off by up to {seen.max_difference:.3g})"
    elif seen.latency_ms > settings.max_latency_ms:
        why = f"it is too slow: {seen.latency_ms:.1f} ms for one row, {settings.max_latency_ms:.1f} allowed"
    elif seen.memory_mib > settings.max_memory_mib:
        why = f"it needs {seen.memory_mib:.0f} MiB, {settings.max_memory_mib:.0f} allowed"
    else:
        return Verdict("inference", True, f"In a fresh process it gives the same probabilities ({figures}).", numbers)
    return Verdict("inference", False, f"In a fresh process {why}.", numbers)


def stability(evidence: Evidence, settings: Gates) -> Verdict:
    """A little noise, missing values and unseen categories neither crash it nor change most of its actions."""
    seen = evidence.stability
    if seen is None or seen.problem:
        why = seen.problem if seen else "it was not tried"
        return Verdict("stability", False, f"With disturbed input: {why}: counted as no.")
    limits = {
        "a little noise": (seen.noise_flips, settings.max_noise_flips),
        "one value in ten missing": (seen.missing_flips, settings.max_missing_flips),
        "unseen categories": (seen.unseen_flips, settings.max_unseen_flips),
    }
    numbers = {"rows": seen.rows, "noise": seen.noise_flips, "missing": seen.missing_flips, "unseen": seen.unseen_flips}
    bad = [what for what, (flips, most) in limits.items() if flips is None or flips > most]
    told = ", ".join(f"{what} {'?' if flips is None else f'{flips:.1%}'}" for what, (flips, _) in limits.items())
    word = f"{' and '.join(bad)} would change too many actions" if bad else "Disturbed input changes few actions"
    return Verdict("stability", not bad and seen.rows > 0, f"{word[0].upper()}{word[1:]} (changed by: {told}).", numbers)
