"""Verbs for this machine: the reference use case's feeds, Airflow and MLflow, the replay of 2013."""

from __future__ import annotations

from typing import Annotated

from typer import Exit, Option

from pipelines.commands.program import PartitionKey, opened, progress, verb


@verb("This machine", "arrive", "2013-05")
def arrive(partition: PartitionKey) -> None:
    """Put the reference use case's files of one partition into the landing zone."""
    from pipelines import local

    workspace, use_case = opened(local.REFERENCE)
    with progress(f"files of {partition}"):
        addresses = local.arrive(workspace, use_case, use_case.period(partition))
    print("\n".join(addresses))


@verb("This machine", "demo", "--until 2013-06")
def demo(
    fresh: Annotated[bool, Option("--fresh", help="Erase the state first, instead of going on where it stopped.")] = False,
    until: Annotated[
        str | None, Option(help="Last month to replay, such as 2013-06; without it the year ends with live days.")
    ] = None,
) -> None:
    """Replay 2013 through Airflow on this machine."""
    from pipelines.local import erase, run_demo
    from pipelines.workspace import state_folder

    if fresh:
        erase(state_folder())
    raise Exit(run_demo(until))


@verb("This machine", "airflow", "")
def airflow() -> None:
    """Start Airflow and MLflow on the present state, until Ctrl-C."""
    from pipelines.local import serve

    serve()


@verb("This machine", "clean", "")
def clean() -> None:
    """Stop what was left running and erase the state."""
    from pipelines.local import erase
    from pipelines.workspace import state_folder

    erase(state_folder())
