"""The assets that link the DAGs. Each is defined here, once: definitions that disagree fail the tasks that use them."""

from __future__ import annotations

from airflow.sdk import Asset

from pipelines.config import UseCase


def asset(use_case: UseCase, noun: str) -> Asset:
    """`<use case>.<noun>`; every event of it carries a partition key."""
    return Asset(name=f"{use_case.name}.{noun}", uri=f"trainyard://{use_case.name}/{noun}", group=use_case.name)
