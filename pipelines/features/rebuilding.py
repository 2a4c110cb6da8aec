"""What a job wrote, looked at without publishing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.features.feature_types import as_features
from pipelines.features.planning import FeaturePlan
from pipelines.features.windows import PARTITION
from pipelines.use_case import features_table
from pipelines.workspace import StageRun

if TYPE_CHECKING:
    from pandas import DataFrame


def rebuilt(run: StageRun, plan: FeaturePlan) -> DataFrame:
    """The rows in a plan's staging area, in the types in which they would be published."""
    table = features_table(run.use_case)
    staged = run.lake.staged_files(table, plan.area)
    rows = run.lake.read_staged(table, [path for path in staged if f"/{PARTITION}={run.key}/" in path] or staged)
    return as_features(rows, run.use_case, f"{table} {run.key}").to_pandas()
