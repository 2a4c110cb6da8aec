"""What an experiment has shown, in figures and in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.experiments.evidence import Evidence
from pipelines.experiments.intervals import Sums, interval, partitions_needed
from pipelines.experiments.policies import chance_of
from pipelines.experiments.running import Opened
from pipelines.use_case import Experiment, Partition, UseCase, span


@dataclass(frozen=True)
class Outcome:
    """One variant: what its own rows were worth in the mean, and its gain per row over the champion on the same rows.

    An end of an interval that too few partitions tell is None. `needed`: after how many partitions the minimum effect would be
    seen in four of five experiments.
    """

    variant: str
    version: int
    own_rows: int
    own: float | None
    own_low: float | None
    own_high: float | None
    rows: int
    gain: float | None
    low: float | None
    high: float | None
    needed: int | None

    @property
    def word(self) -> str:
        if self.low is not None and self.low > 0:
            return "better"
        return "worse" if self.high is not None and self.high < 0 else "not sure yet"

    @property
    def decided(self) -> bool:
        return self.word in ("better", "worse")


def outcomes(use_case: UseCase, about: Opened, evidence: Evidence) -> list[Outcome]:
    """The champion first, which gains nothing over itself."""
    chance, count = chance_of(about.spec), len(planned(use_case, about))
    found = []
    for variant, version in about.versions.items():
        own, paired = evidence.own[variant], evidence.paired.get(variant)
        needed = partitions_needed(paired, chance, count, about.spec.minimum_effect) if paired else None
        gain = _told(paired, chance, count) if paired else (None, None, None)
        rows = int(paired.rows.sum()) if paired else 0
        found.append(Outcome(variant, version, int(own.rows.sum()), *_told(own, chance, count), rows, *gain, needed))
    return found


def _told(sums: Sums, chance: float, count: int) -> tuple[float | None, float | None, float | None]:
    if not len(sums.rows):
        return None, None, None
    low, high = interval(sums, chance, count)
    return (sums.mean, low, high) if math.isfinite(low) else (sums.mean, None, None)


def planned(use_case: UseCase, about: Opened) -> list[Partition]:
    """For which partitions it was opened."""
    return span(use_case.partition(about.since), use_case.partition(about.spec.last))


def unit_of(spec: Experiment, evidence: Evidence) -> str:
    """What its figures per row are counted in."""
    return evidence.unit if spec.metric == "money" else "of log loss"


def decimals(spec: Experiment) -> int:
    """Of figures per row: a step more than the smallest useful gain has."""
    return max(2, 1 - math.floor(math.log10(spec.minimum_effect)))


def in_words(use_case: UseCase, about: Opened, evidence: Evidence, left: Sequence[str]) -> str:
    """Of each challenger that is `left`, against the champion on the same rows; and what the experiment gained."""
    if not evidence.labelled:
        return "Nothing is labelled yet."
    unit, digits = unit_of(about.spec, evidence), decimals(about.spec)
    told = [_sentence(each, unit, digits) for each in outcomes(use_case, about, evidence) if each.variant in left]
    count = len(evidence.labelled)
    since = f"By {count} labelled partition{'s'[: count > 1]}, through {evidence.labelled[-1]}"
    gained = f"Against all-champion: {evidence.gained:+,.2f} {evidence.unit}."
    return f"{since}: {'; '.join(told) or 'nobody is left to compare with'}. {gained}"


def _sentence(each: Outcome, unit: str, digits: int) -> str:
    if each.gain is None:
        return f"{each.variant} has no labelled row"
    between = "with no interval yet" if each.low is None else f"{each.low:+.{digits}f} to {each.high:+.{digits}f}"
    return f"{each.variant} (v{each.version}) {each.gain:+.{digits}f} {unit} a row ({between}), {each.word}"
