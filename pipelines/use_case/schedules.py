"""Section `schedules:` when the DAGs run by themselves."""

from __future__ import annotations

from pipelines.use_case.section import Section


class Schedules(Section):
    """Cron expressions in UTC; null: the DAG runs only when asked, or when its input arrives."""

    ingestion: str | None = None
    retraining: str | None = "0 6 2 * *"
    maintenance: str | None = "0 3 * * 0"
