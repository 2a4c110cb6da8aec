"""The verb that takes a longer period in, in bulk and as of then."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated

from typer import Argument

from pipelines.commands.program import UseCaseName, new_run_name, opened, progress, verb
from pipelines.commands.stages import STAGES

if TYPE_CHECKING:
    from pipelines.use_case import Partition
    from pipelines.workspace import StageRun


@verb("Stages", "backfill", "flight_delay 2013-04 2013-05")
def backfill(
    use_case: UseCaseName,
    first: Annotated[str, Argument(metavar="FROM", help="The first partition, or month.")],
    last: Annotated[str, Argument(metavar="TO", help="The last one, included.")],
) -> None:
    """Take a period in, month after month, as of then: ingest, build, score, label, monitor. It starts no training.

    What was served stays what it was; where nothing was, the champion of then serves.
    """
    from pipelines.workspace import StageRun

    workspace, found = opened(use_case, new_run_name())
    period = found.period(first if first == last else f"{first}--{last}")
    for _, days in groupby(period.within(found.grain), key=lambda day: (day.start.year, day.start.month)):
        run = StageRun(workspace, found, found.period(_name(list(days))))
        for stage in ("ingestion", "features", "scoring", "labels", "monitoring"):
            with progress(f"{stage} of {run}"):
                _label(run) if stage == "labels" else STAGES[stage](run)
            print(f"{run.key}: {stage} is done")


def _name(parts: list[Partition]) -> str:
    return parts[0].key if len(parts) == 1 else f"{parts[0].key}--{parts[-1].key}"


def _label(run: StageRun) -> None:
    """Those whose outcomes are complete by now."""
    from pipelines.labels import publish_labels, unlabelled

    if keys := unlabelled(run):
        publish_labels(run, keys)
