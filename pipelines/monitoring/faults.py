"""Data faults: what a mend of the data answers and no new model does. Each names the table that it comes from.

What was served stays faulty. A fault ends where the same rows, as they are published now, are in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from statistics import median

from pipelines.monitoring.observations import Drift, Monitored
from pipelines.use_case import Monitoring

_PARTITIONS = 8  # a week's days and one more: before, nobody knows what a usual one holds
_MEASURED = ("rows", "nulls", "unseen", "factors", "slices_gone", "slice_nulls")
_RANGE = 1.1  # times the most, or the least, that any window held


@dataclass(frozen=True)
class Fault:
    """In words, and the tables and features that it is about."""

    words: str
    drivers: tuple[str, ...]


def faults(settings: Monitoring, window: Monitored, before: Sequence[Monitored]) -> list[Fault]:
    """Everything about a window that a fault of its data explains; nothing where a person has accepted it by name."""
    return [] if window.drift is None else _faults(settings, window, _now(window.drift), before)


def mended(settings: Monitoring, window: Monitored, before: Sequence[Monitored]) -> list[Fault]:
    """What was faulty when it was served, where nothing is any more."""
    drift = window.drift
    if drift is None or drift.present is None or faults(settings, window, before):
        return []
    return _faults(settings, window, drift, before)


def _now(drift: Drift) -> Drift:
    """The drift with what is measured of the features as they are published now."""
    now = drift.present
    return replace(drift, **{name: getattr(now, name) for name in _MEASURED}) if now else drift


def _faults(settings: Monitoring, window: Monitored, drift: Drift, before: Sequence[Monitored]) -> list[Fault]:
    if window.partition in settings.accepted_faults:
        return []
    nulls = {name: f"{change:+.0%}" for name, change in drift.nulls.items() if change > settings.max_null_change}
    unseen = {name: f"{share:.0%}" for name, share in drift.unseen.items() if share > settings.max_unseen_share}
    units = {name: f"times {factor:.3g}" for name, factor in drift.factors.items()}
    return [
        *_volume(settings, drift, before),
        *_of_sources(drift, nulls, "rows without a value"),
        *_of_slices(settings, drift, set(nulls)),
        *_of_sources(drift, unseen, "values that no training row has"),
        *_of_sources(drift, units, "another unit, it seems: all values"),
    ]


def _of_slices(settings: Monitoring, drift: Drift, known: Set[str]) -> Iterator[Fault]:
    """What is missing in a slice, and not, or not as much, in all rows."""
    for name, share in drift.slices_gone.items():
        yield Fault(f"{name}: not a row, of usually {share:.0%}", ("volume", name))
    for name, changes in drift.slice_nulls.items():
        found = {n: f"{c:+.0%}" for n, c in changes.items() if c > settings.max_null_change and n not in known}
        for fault in _of_sources(drift, found, f"rows without a value where {name}"):
            yield Fault(fault.words, (*fault.drivers, name))


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
    given = [_now(w.drift) for w in before if w.drift]
    known = [(d.rows / d.partitions, d.partitions) for d in given if d.rows and d.partitions]
    if not drift.rows or not drift.partitions or sum(partitions for _, partitions in known) < _PARTITIONS:
        return []
    now, usual = drift.rows / drift.partitions, [rows for rows, _ in known]
    ratio = now / median(usual)
    more = ratio > settings.max_volume_ratio and now > max(usual) * _RANGE
    fewer = ratio < 1 / settings.max_volume_ratio and now < min(usual) / _RANGE
    words = f"the feed holds {ratio:.2g} times the usual rows ({now:,.0f} a partition, usually {median(usual):,.0f})"
    return [Fault(words, ("volume",))] if more or fewer else []
