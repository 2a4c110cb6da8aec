"""The assets that link the DAGs. Each is defined here, once: definitions that disagree fail the tasks that use them."""

from __future__ import annotations

from airflow.sdk import Asset, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from pipelines.use_case import UseCase


def asset(use_case: UseCase, noun: str) -> Asset:
    """`<use case>.<noun>`; every event of it carries a partition key."""
    return Asset(name=f"{use_case.name}.{noun}", uri=f"trainyard://{use_case.name}/{noun}", group=use_case.name)


def announce(changed: Asset, partitions: list[str]) -> None:
    """One event of `changed` for each of these partitions, from a run that need not have a partition itself.

    Raises:
        AirflowSkipException: there is none; the skipped task emits no event.
    """
    if not partitions:
        raise AirflowSkipException("no published row changed, so there is nothing to recompute")
    get_current_context()["outlet_events"][changed].add_partitions(sorted(set(partitions)))
