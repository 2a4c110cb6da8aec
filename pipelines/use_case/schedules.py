"""Section `schedules:` when the DAGs run by themselves."""

from __future__ import annotations

from datetime import datetime
from itertools import islice, pairwise

from pipelines.use_case.partitions import Grain, Partition
from pipelines.use_case.section import Section

_TICKS = 100  # of a weekly cron, two years


class Schedules(Section):
    """Cron expressions in the use case's time zone; null: the DAG runs only when asked, or when its input arrives."""

    ingestion: str | None = None
    retraining: str | None = "0 6 2 * *"
    maintenance: str | None = "0 3 * * 0"
    catch_up: str | None = "30 5 * * *"


def stop_at_bad_cron(where: str, cron: str | None, grain: Grain | None) -> None:
    """Refuse what is no cron, or one that asks the same question twice: about a partition of the grain.

    Raises:
        ValueError: says where, what is wrong, and the mend.
    """
    if cron is None:
        return
    from croniter import CroniterError, croniter

    try:
        ticks = [*islice(croniter(cron, datetime(2024, 1, 1), ret_type=datetime), _TICKS if grain else 1)]
    except CroniterError as error:
        raise ValueError(
            f"{where}: '{cron}' is no cron expression that ever comes true ({error}); write it like '0 6 2 * *'"
        ) from None
    twice = [(a, b) for a, b in pairwise(ticks) if grain and Partition.of(a.date(), grain) == Partition.of(b.date(), grain)]
    if twice:
        raise ValueError(
            f"{where}: '{cron}' comes twice in one {grain}, at {twice[0][0]} and {twice[0][1]}, but partitions are a {grain} "
            "each, so nothing new can be decided; let it come once per partition, or more rarely"
        )
