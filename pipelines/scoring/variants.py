"""While an experiment runs: every variant's score of every row, and whose is served."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError, TransientError, in_words
from pipelines.experiments import Plan, record_failure, record_slowness, variants_of
from pipelines.scoring.predicting import predict_timed
from pipelines.use_case import PARTITION, source_table
from pipelines.workspace import CHAMPION, StageRun

if TYPE_CHECKING:
    from pandas import DataFrame

_log = logging.getLogger(__name__)
_AGAIN = 3  # times that a challenger which seems slow is timed once more


def with_variants(run: StageRun, champions: DataFrame, planned: dict[str, Plan], features_version: int) -> DataFrame:
    """The champion's rows and the challengers' beside them, each with its variant; of each key one is served.

    A challenger that cannot score is taken out, with a row of the ledger, and the champion serves its units.
    """
    import pandas as pd

    frames = [champions[~champions[PARTITION].isin(planned)]]
    mine = champions[champions[PARTITION].isin(planned)].assign(variant=CHAMPION)
    scored = pd.concat([*_challengers(run, planned, features_version), mine], ignore_index=True)
    for key, rows in scored.groupby(PARTITION):
        plan = planned[str(key)]
        units = units_by_key(run, str(key), plan.unit)
        unit = [units.get(k, str(k)) for k in rows[run.use_case.features.key].tolist()]
        assigned = variants_of(plan.salt, unit, plan.owners)
        present = set(rows["variant"])
        serves = [variant if variant in present else CHAMPION for variant in assigned]
        weight = rows["variant"].map(plan.weights)
        frames.append(rows.assign(served=rows["variant"] == serves, unit=unit, weight=weight, assigned=assigned))
    return pd.concat(frames)


def _challengers(run: StageRun, planned: dict[str, Plan], features_version: int) -> list[DataFrame]:
    found = []
    wanted = {(plan.name, variant, version) for plan in planned.values() for variant, version in plan.versions.items()}
    for name, variant, version in sorted(each for each in wanted if each[1] != CHAMPION):
        keys = [key for key, plan in planned.items() if plan.name == name and plan.versions.get(variant) == version]
        try:
            predicted, latency = predict_timed(run, version, keys, features_version)
            frames = [_whole(frame) for frame in predicted]
            is_slow = _is_slow(run, planned[keys[0]], variant, latency, keys[:1], features_version)
        except TransientError:  # what did not answer says nothing about the version
            raise
        except Exception as error:  # whatever stopped it, the champion serves
            _log.exception("%s: %s, v%d, cannot score", run, variant, version)
            record_failure(run, planned[keys[0]], variant, in_words(error), keys)
        else:
            found += [frame.assign(variant=variant) for frame in frames]
            if is_slow:
                record_slowness(run, planned[keys[0]], variant, latency, keys)
    return found


def _is_slow(run: StageRun, plan: Plan, variant: str, latency_ms: float, keys: list[str], features_version: int) -> bool:
    """Told from a machine that is busy: in turn with the champion, it is slow each time, and the champion is not."""
    its, control = [latency_ms], list[float]()
    while len(control) < _AGAIN and min(its) > plan.max_latency_ms:
        for version, times in ((plan.versions[CHAMPION], control), (plan.versions[variant], its)):
            times.append(predict_timed(run, version, keys, features_version)[1])
    if min(its) <= plan.max_latency_ms:
        return False
    _log.warning("%s: milliseconds for up to a hundred rows: %s %s, champion %s", run, variant, its, control)
    return min(control) <= plan.max_latency_ms


def _whole(frame: DataFrame) -> DataFrame:
    if not frame["probability"].between(0, 1).all():
        raise PermanentError("not every row got a probability")
    return frame


def units_by_key(run: StageRun, partition: str, column: str | None) -> dict[object, str]:
    """The unit of each key of the partition, as text by the column's own type; those without one are left out."""
    if column is None:
        return {}
    import pyarrow as pa

    key = run.use_case.features.key
    rows = run.lake.read(source_table(run.use_case, run.use_case.features.entity), [partition], columns=[key, column])
    units = zip(rows[key].to_pylist(), rows[column].cast(pa.string()).to_pylist(), strict=True)
    return {k: unit for k, unit in units if unit is not None}
