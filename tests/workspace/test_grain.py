"""State of another grain is refused by name: a month's table holds no day."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipelines.errors import PermanentError
from pipelines.use_case import Grain, UseCase
from pipelines.workspace import CommitRecord, Workspace, stop_at_other_grain

TABLE = "parcels/shipments"


def test_tables_of_another_grain_are_refused_with_what_to_do(workspace: Workspace, use_case: UseCase) -> None:
    stop_at_other_grain(workspace, use_case)
    workspace.lake.publish(TABLE, "2024-03", [workspace.lake.stage(TABLE, "2024-03", pa.table({"a": [1]}))], CommitRecord())
    with pytest.raises(
        PermanentError, match=r"holds the partition 2024-03, but parcels\.yaml says grain: day.*make demo FRESH=1"
    ):
        stop_at_other_grain(workspace, use_case)
    stop_at_other_grain(workspace, use_case.model_copy(update={"grain": Grain.MONTH}))
