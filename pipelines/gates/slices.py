"""Gate: every slice that is large enough: AUC not below the floor, and log loss not significantly above the champion's."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.gates.evidence import Array, Evidence
from pipelines.gates.statistics import MIN_DAYS, day_bootstrap
from pipelines.metrics import losses, scores
from pipelines.results import Verdict
from pipelines.use_case import Gates

MOST_KEPT, MOST_NAMED = 60, 10  # entries of a verdict, names in its sentence
_UNKNOWN: dict[str, float | None] = {"auc": None, "log_loss": None}  # too small to judge, and too many to score


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    absent = [name for name, values in evidence.segments.items() if values is None]
    if absent:
        return Verdict("slices", False, f"The holdout lacks the segment {', '.join(absent)}: counted as no.")
    table = slice_table(evidence, settings)
    judged = [each for each in table if each["judged"]]
    problems = _missing_slices(judged, settings) + [p for p in (_slice_problem(s, settings) for s in judged) if p]
    numbers = {"slices": _worst(table, settings), "judged": len(judged), "all": len(table)}
    if problems:
        more = f"; and {len(problems) - MOST_NAMED} more like these" if len(problems) > MOST_NAMED else ""
        return Verdict("slices", False, f"{'; '.join(problems[:MOST_NAMED])}{more}.", numbers)
    if not table:
        return Verdict("slices", True, "The use case names no segments, so no slice is asked about.", numbers)
    worst = min((s for s in judged if s["auc"] is not None), key=lambda s: s["auc"], default=None)
    told = f"; the weakest is {_name(worst)} with AUC {worst['auc']:.3f}" if worst else ""
    return Verdict("slices", True, f"{len(judged)} of {len(table)} slices are large enough to judge, and good{told}.", numbers)


def whole(evidence: Evidence, settings: Gates) -> dict[str, object]:
    """All slices, for a file, where the verdict, which travels and which the ledger keeps, has the worst only."""
    table = slice_table(evidence, settings)
    return {"slices": table} if len(table) > MOST_KEPT else {}


def _worst(table: list[dict[str, Any]], settings: Gates) -> list[dict[str, Any]]:
    """All where there are few; else those with a problem, then the weakest of those that were judged, then the largest."""
    if len(table) <= MOST_KEPT:
        return table

    def badness(entry: dict[str, Any]) -> tuple[bool, float, int]:
        fine = not entry["judged"] or _slice_problem(entry, settings) is None
        return fine, entry["auc"] if entry["judged"] and entry["auc"] is not None else 1.0, -entry["rows"]

    return sorted(sorted(table, key=badness)[:MOST_KEPT], key=lambda s: (s["segment"], -s["rows"]))


def slice_table(evidence: Evidence, settings: Gates) -> list[dict[str, Any]]:
    """One entry per segment and value, largest first: rows, scores, and the gain over the champion with its interval."""
    parts = [part for name, values in evidence.segments.items() if values is not None for part in _parts(name, values)]
    found = [_slice(evidence, settings, name, value, rows, len(parts)) for name, value, rows in parts]
    return sorted(found, key=lambda s: (s["segment"], -s["rows"]))


def _parts(name: str, values: Array) -> list[tuple[str, Any, Array]]:
    """Each value of a segment with the positions of its rows, in one pass: there may be thousands of values."""
    unique, which = np.unique(values, return_inverse=True)
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which, minlength=len(unique)))[:-1]
    return [(name, value, rows) for value, rows in zip(unique, np.split(order, ends), strict=True)]


def _slice(evidence: Evidence, settings: Gates, name: str, value: Any, rows: Array, slices: int) -> dict[str, Any]:
    big = len(rows) >= settings.min_slice_rows
    found = scores(evidence.label[rows], evidence.challenger[rows]) if big or slices <= MOST_KEPT else _UNKNOWN
    entry: dict[str, Any] = {"segment": name, "value": str(value), "rows": len(rows)}
    entry |= {"auc": found["auc"], "log_loss": found["log_loss"], "champion_log_loss": None, "gain": None, "high": None}
    entry["judged"] = big and bool(np.isfinite(evidence.challenger[rows]).all())
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
