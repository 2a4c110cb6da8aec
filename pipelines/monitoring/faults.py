"""Data faults: what a mend of the data answers and no new model does. Each names the table that it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pipelines.monitoring.observations import Drift, Monitored
from pipelines.use_case import Monitoring

_PARTITIONS = 8  # a week's days and one more: before, nobody knows what a usual one holds
_RANGE = 1.1  # times the most, or the least, that any window held


@dataclass(frozen=True)
class Fault:
    """In words, and the tables and features that it is about."""

    words: str
    drivers: tuple[str, ...]


def faults(settings: Monitoring, window: Monitored, before: Sequence[Monitored]) -> list[Fault]:
    """Everything about a window that a fault of its data explains; nothing where a person has accepted it by name."""
    drift = window.drift
    if drift is None or window.partition in settings.accepted_faults:
        return []
    nulls = {name: f"{change:+.0%}" for name, change in drift.nulls.items() if change > settings.max_null_change}
    unseen = {name: f"{share:.0%}" for name, share in drift.unseen.items() if share > settings.max_unseen_share}
    units = {name: f"times {factor:.3g}" for name, factor in drift.factors.items()}
    return [
        *_volume(settings, drift, before),
        *_of_sources(drift, nulls, "rows without a value"),
        *_of_sources(drift, unseen, "values that no training row has"),
        *_of_sources(drift, units, "another unit, it seems: all values"),
    ]


def _of_sources(drift: Drift, found: Mapping[str, str], what: str) -> list[Fault]:
    by_source: dict[str, list[str]] = {}
    for name in found:
        by_source.setdefault(drift.sources.get(name, "features"), []).append(name)
    return [
        Fault(f"{source}: {what}: {', '.join(f'{name} {found[name]}' for name in names)}", (source, *names))
        for source, names in by_source.items()
    ]


def _volume(settings: Monitoring, drift: Drift, before: Sequence[Monitored]) -> list[Fault]:
    """Rows per partition beyond the ratio of the median, and beyond what any window before held."""
    known = [(d.rows / d.partitions, d.partitions) for w in before if (d := w.drift) and d.rows and d.partitions]
    if not drift.rows or not drift.partitions or sum(partitions for _, partitions in known) < _PARTITIONS:
        return []
    now, usual = drift.rows / drift.partitions, [rows for rows, _ in known]
    ratio = now / median(usual)
    more = ratio > settings.max_volume_ratio and now > max(usual) * _RANGE
    fewer = ratio < 1 / settings.max_volume_ratio and now < min(usual) / _RANGE
    words = f"the feed holds {ratio:.2g} times the usual rows ({now:,.0f} a partition, usually {median(usual):,.0f})"
    return [Fault(words, ("volume",))] if more or fewer else []
