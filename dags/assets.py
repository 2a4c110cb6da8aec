"""The assets that link the DAGs. Each is defined here, once: definitions that disagree fail the tasks that use them."""

from __future__ import annotations

from airflow.sdk import Asset, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from pipelines.use_case import UseCase


def asset(use_case: UseCase, noun: str) -> Asset:
    """`<use case>.<noun>`; every event of it carries a partition key."""
    return Asset(name=f"{use_case.name}.{noun}", uri=f"trainyard://{use_case.name}/{noun}", group=use_case.name)


def announce(changed: dict[Asset, list[str]]) -> None:
    """One event for each of these partitions of each asset, from a run that need not have a partition itself.

    Raises:
        AirflowSkipException: there is none; the skipped task emits no event.
    """
    if not any(changed.values()):
        raise AirflowSkipException("no published row changed, so there is nothing to recompute")
    for each, partitions in changed.items():
        if partitions:
            get_current_context()["outlet_events"][each].add_partitions(sorted(set(partitions)))
