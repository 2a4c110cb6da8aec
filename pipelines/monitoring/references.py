"""Other references than the champion's training rows: the first champion's, so that slow drift cannot hide, and the season.

Bounded samples of `monitoring.sample_rows`; the noise is that of parts of such a sample, which is more than that of many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.monitoring.comparison import PREDICTION, compare, has_drifted, predicted
from pipelines.monitoring.observations import Reference
from pipelines.monitoring.sampling import sample
from pipelines.use_case import Definitions, Grain, Partition, features_table
from pipelines.workspace import Model, StageRun, model_definitions, published_definitions

if TYPE_CHECKING:
    from pandas import DataFrame

_YEAR = timedelta(days=364)  # the same weekday


def baseline(run: StageRun, model: Model, current: DataFrame, partitions: int) -> Reference | None:
    """The training rows of the first champion, where the one that served is a later one."""
    first = next((d.model_version for d in run.ledger.champion_moves(run.use_case.name) if d.model_version), None)
    if first is None or first == model.version:
        return None
    return _against(
        run, model, current, partitions, f"the training rows of the first champion, v{first}", partial(_first, first)
    )


def season(run: StageRun, model: Model, current: DataFrame, partitions: int) -> Reference | None:
    """The window a year ago, where there are features of all of it."""
    then = a_year_before(run.partition)
    keys = [p.key for p in then.within(run.use_case.grain)]
    if not set(keys) <= set(run.lake.partitions(features_table(run.use_case))):
        return None
    return _against(run, model, current, partitions, f"a year ago, {then.key}", partial(_then, keys))


def a_year_before(window: Partition) -> Partition:
    if window.grain is Grain.MONTH:
        return Partition.of(window.start.replace(year=window.start.year - 1), window.grain)
    return Partition.of(window.start - _YEAR, window.grain)


_Rows = Callable[[StageRun, Definitions], "DataFrame"]


def _against(run: StageRun, model: Model, current: DataFrame, partitions: int, about: str, rows: _Rows) -> Reference:
    """By the features that the reference has by the same definition; and by the predictions, where it has all of them."""
    judged = [name for name in model.meta["features"] if name in run.use_case.features.expressions]
    try:
        reference = rows(run, model_definitions(run.registry, run.use_case, model))
    except PermanentError as error:  # it is not there any more: it is told, and keeps nobody from the rest
        return Reference(about, (), 0.0, 0.0, str(error))
    names, predictions = [name for name in judged if name in reference], 0.0
    if set(model.meta["features"]) <= set(reference):
        reference = predicted(model, reference)
    known = [*names, *({PREDICTION} & set(reference))]
    moved = compare(run.use_case, known, current, reference, partitions).moved
    drifted = tuple(sorted(name for name in names if has_drifted(run.use_case.monitoring, moved[name])))
    if PREDICTION in moved and moved[PREDICTION].real:
        predictions = moved[PREDICTION].distance
    return Reference(about, drifted, len(drifted) / max(len(names), 1), predictions)


def _first(version: int, run: StageRun, wanted: Definitions) -> DataFrame:
    first, table = run.registry.load(run.use_case.name, version), features_table(run.use_case)
    names = _same(wanted, [model_definitions(run.registry, run.use_case, first)])
    return _sampled(run, first.meta["partitions"], first.meta["versions"][table], names)


def _then(keys: Sequence[str], run: StageRun, wanted: Definitions) -> DataFrame:
    found = published_definitions(run.lake, features_table(run.use_case), keys)
    return _sampled(run, keys, None, _same(wanted, [each or {} for each in found.values()]))


def _same(wanted: Definitions, found: Sequence[Definitions]) -> list[str]:
    return [name for name, digest in wanted.items() if all(each.get(name) == digest for each in found)]


def _sampled(run: StageRun, keys: Sequence[str], version: int | None, names: list[str]) -> DataFrame:
    rows = sample(run, features_table(run.use_case), keys, version, names, run.use_case.monitoring.sample_rows)
    return rows.reset_index(drop=True)
