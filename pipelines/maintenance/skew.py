"""Training/serving skew: a sample of what was served is computed again from the sources' tables, and compared row by row.

plan_again  which served partition, and the features job's plan for it as of now; nothing of it is published
(build)     the features job, as ever
compare     features as they were served from, probability and action; what differs is told, and stops

Features that differ because their inputs were corrected since are stale, which is another thing: named, and no failure. What
came in later and was not yet due then (the partition's own outcomes, say) is no correction: it must not matter.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

from pipelines.errors import PermanentError
from pipelines.features import FeaturePlan, plan, rebuilt
from pipelines.scoring import predict
from pipelines.use_case import SNAPSHOT, UseCase, feature_definitions, features_table, predictions_table
from pipelines.workspace import (
    Decision,
    Kind,
    StageRun,
    Workspace,
    feature_rows,
    file_exists,
    published_definitions,
    read_bytes,
    served_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy import bool_
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

_log = logging.getLogger(__name__)
SAME = 1e-12  # sums in another order differ in the last bits
_SHOWN = 5
Which = Literal["newest", "older"]


@dataclass(frozen=True)
class Again:
    """A served partition to be computed again by `plan`; without one, `why` says what stands against it."""

    partition: str | None
    plan: FeaturePlan | None
    why: str


@dataclass(frozen=True)
class Compared:
    """All `rows` agree; or there are `differences`, and `corrected` names the inputs that changed since it was served."""

    partition: str
    rows: int
    features: int
    differences: int = 0
    corrected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """One value of one row: of a feature, the probability or the action."""

    name: str
    key: str
    served: str
    recomputed: str

    def __str__(self) -> str:
        return f"{self.name} of {self.key} was {self.served} when it was served, and is {self.recomputed} now"


def plan_again(workspace: Workspace, use_case: UseCase, which: Which) -> Again:
    """Choose the newest served partition, or an older one, by the run's name; and plan its features as they would be now."""
    served = list(workspace.lake.partitions(predictions_table(use_case)))
    older = [Random(f"{use_case.name} {workspace.run}").choice(served[:-1])] if served[:-1] else []
    for key in served[-1:] if which == "newest" else older:
        run = StageRun(workspace, use_case, use_case.partition(key))
        if why := _incomparable(run):
            _log.warning("%s: not computed again: %s", run, why)
            return Again(key, None, f"{run}: {why}")
        return Again(key, plan(run), "")
    return Again(None, None, f"{use_case.name}: nothing {'older ' if which == 'older' else ''}was served yet")


def _incomparable(run: StageRun) -> str | None:
    served, table = served_rows(run.workspace, run.use_case, [run.key]), features_table(run.use_case)
    if served.empty or served["features_version"].isna().any():
        return "served before it was written down from which features"
    version, now = int(served["features_version"].iloc[0]), feature_definitions(run.use_case)
    then = published_definitions(run.lake, table, [run.key], version)[run.key] or {}
    if other := [name for name, definition in then.items() if now.get(name) != definition]:
        return f"{', '.join(other)} had another definition then"
    if not all(file_exists(file.uri) for file in run.lake.files(table, [run.key], version)):
        return "the features that it was served from were swept away"
    return None


def compare(workspace: Workspace, use_case: UseCase, again: Again) -> Compared:
    """Hold what was computed again against what was served.

    Raises:
        PermanentError: a value differs, and no input was corrected since: named, and written down.
    """
    if again.partition is None or again.plan is None:
        raise PermanentError(again.why)
    run = StageRun(workspace, use_case, use_case.partition(again.partition))
    served, now = served_rows(workspace, use_case, [run.key]), rebuilt(run, again.plan)
    versions, features_version = sorted(set(served["model_version"])), int(served["features_version"].iloc[0])
    models = {version: run.registry.load(use_case.name, int(version)) for version in versions}
    then = [feature_rows(workspace, use_case, model, [run.key], features_version) for model in models.values()][-1]
    names = published_definitions(run.lake, features_table(use_case), [run.key], features_version)[run.key] or {}
    key = use_case.features.key
    found = differences(then, now, key, names)
    if found and (corrected := _corrected(run, features_version, again.plan)):
        _log.warning("%s: %d values differ, as inputs were corrected since: %s", run, len(found), ", ".join(corrected))
        return Compared(run.key, len(served), len(names), len(found), tuple(corrected))
    if not found:
        threshold = _threshold_of(served, use_case)
        for version, rows in served.groupby("model_version"):  # of an experiment each row by the version that served it
            predicted = predict(models[version], use_case, now[now[key].isin(rows[key])])
            found += differences(rows, predicted.assign(act=predicted["probability"] >= threshold), key, ("probability", "act"))
    if found:
        _tell(run, int(versions[0]), found)
    return Compared(run.key, len(served), len(names))


def differences(then: DataFrame, now: DataFrame, key: str, names: Iterable[str]) -> list[Difference]:
    """Rows that only one of them has, and values that are not equal, by the rows' key."""
    then, now = then.set_index(key), now.set_index(key)
    found = [Difference("the row", str(k), "there", "not") for k in then.index.difference(now.index)]
    found += [Difference("the row", str(k), "not there", "there") for k in now.index.difference(then.index)]
    both = then.index.intersection(now.index)
    for name in names:
        a, b = then.loc[both, name], now.loc[both, name]
        found += [Difference(name, str(k), f"{a[k]}", f"{b[k]}") for k in both[~_equal(a, b)]]
    return found


def _equal(a: Series, b: Series) -> NDArray[bool_]:
    import numpy as np
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(a) and is_numeric_dtype(b):
        one, other = (values.to_numpy(dtype=float, na_value=np.nan) for values in (a, b))
        return np.isclose(one, other, rtol=SAME, atol=SAME, equal_nan=True)
    return ((a == b) | (a.isna() & b.isna())).to_numpy(dtype=bool)


def _threshold_of(served: DataFrame, use_case: UseCase) -> float:
    """From which probability on action was asked for: today's, unless that was changed since."""
    threshold = use_case.scoring.threshold
    if ((served["probability"] >= threshold) == served["act"]).all() or not served["act"].any():
        return threshold
    return float(served.loc[served["act"], "probability"].min())


def _corrected(run: StageRun, features_version: int, planned: FeaturePlan) -> list[str]:
    """Tables and partitions that have another content than in the served features' plan, or should have been in it.

    Without that plan nobody can tell: then nothing excuses a difference. It may be of a longer period, and reach further.
    """
    commit = run.lake.published(features_table(run.use_case), run.key, features_version)
    uri = commit.record.plan if commit else None
    then = json.loads(read_bytes(uri))["inputs"] if uri and file_exists(uri) else {}
    now = json.loads(read_bytes(planned.uri))["inputs"]
    found = []
    for table, given in then.items():
        before, after = given.get("contents", {}), now.get(table, {}).get("contents", {})
        changed = [k for k in after if after[k] != before.get(k, after[k]) or (k not in before and _was_due(run, table, k))]
        found += [f"{table} of {key}" for key in sorted(changed)]
    return found


def _was_due(run: StageRun, table: str, key: str) -> bool:
    zone, source = run.use_case.timezone, run.use_case.sources[table]
    if key == SNAPSHOT:
        return True
    return source.complete_at(run.use_case.partition(key), zone) <= run.partition.starts_at(zone)


def _tell(run: StageRun, version: int, found: list[Difference]) -> None:
    """Raises PermanentError, with the ledger's row written."""
    told = "; ".join(map(str, found[:_SHOWN])) + (f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
    why = f"{run.key}, served by v{version}, is not what comes out when it is computed again: {told}."
    digest = hashlib.sha256(repr(found).encode()).hexdigest()[:16]
    run.ledger.record(
        Decision(
            id=f"{Kind.SKEW}/{run.key}/{digest}",
            use_case=run.use_case.name,
            kind=Kind.SKEW,
            partition=run.key,
            why=why,
            actor="skew check",
            run=run.id,
            evidence={"differences": len(found), "first": [asdict(each) for each in found[:20]]},
            model_version=version,
        )
    )
    raise PermanentError(f"{run.use_case.name}: {why} Find out whether the job, the table or the model was changed")
