"""Verbs about the versions of a model: its card, its reproduction, and the way back to an earlier one."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated

import typer
from typer import Argument, BadParameter, Exit, Option

from pipelines.commands.program import UseCaseName, opened, progress, verb


def version_number(text: str) -> int:
    """`3` or `v3`."""
    number = text.removeprefix("v")
    if not number.isdecimal():
        raise BadParameter(f"'{text}' is no version; say it as 3 or v3")
    return int(number)


@verb("Models", "rollback", 'flight_delay --to 1 --reason "v2 was trained on a broken weather feed"')
def rollback(
    use_case: UseCaseName,
    reason: Annotated[str, Option(help="Why; it is kept in the ledger.")],
    to: Annotated[int | None, Option(help="Model version; without it, the champion before this one.")] = None,
) -> None:
    """Let an earlier champion serve again."""
    from pipelines import promotion

    print(promotion.rollback(*opened(use_case), to, reason, getpass.getuser()).why)


@verb("Models", "resume", 'flight_delay --reason "the weather feed is mended"')
def resume(use_case: UseCaseName, reason: Annotated[str, Option(help="Why; it is kept in the ledger.")]) -> None:
    """Let the retraining policy go on after a rollback, or before the pause after refused trainings is over."""
    from pipelines import retraining

    print(retraining.resume(*opened(use_case), reason, getpass.getuser()).why)


@verb("Models", "experiment", 'flight_delay --end "the planes it was asked about are sold"')
def experiment(
    use_case: UseCaseName,
    file: Annotated[
        typer.FileText | None,
        Option("--open", metavar="FILE", help="YAML with the keys of `experiment:`; - is standard input."),
    ] = None,
    end: Annotated[str | None, Option(metavar="WHY", help="End the one that runs; why is kept in the ledger.")] = None,
) -> None:
    """Open an experiment that the use case's file does not declare, or end the one that runs."""
    from pipelines import experiments
    from pipelines.use_case import read_mapping

    workspace, found = opened(use_case)
    if end is not None and file is None:
        print(experiments.end(workspace, found, end, getpass.getuser()).why)
    elif file is not None and end is None:
        name = experiments.open_by_hand(workspace, found, read_mapping(file.name, file.read()), getpass.getuser())
        print(f"'{name}' is open; `python -m pipelines decisions {found.name}` tells of it")
    else:
        raise BadParameter("--open FILE or --end WHY, one of them")


@verb("Models", "card", "flight_delay 2 --html card.html")
def card(
    use_case: UseCaseName,
    version: Annotated[
        int | None, Argument(metavar="VERSION", parser=version_number, help="Such as 3; without it, the champion.")
    ] = None,
    markdown: Annotated[str | None, Option(metavar="PATH", help="Write it there instead of printing it.")] = None,
    html: Annotated[str | None, Option(metavar="PATH", help="Write the page there instead of printing the Markdown.")] = None,
) -> None:
    """The model card of a version, as Markdown; where its page is stands on standard error."""
    from pathlib import Path

    from pipelines.pages import read_card

    if markdown and html:
        raise BadParameter("--markdown or --html, not both")
    workspace, named = opened(use_case)
    found = read_card(workspace, named.name, version)
    if html or markdown:
        Path(html or markdown or "").write_text(found.page if html else found.markdown)
    else:
        print(found.markdown)
    print(f"page: {found.address} in Airflow", file=sys.stderr)


@verb("Models", "reproduce", "flight_delay 2")
def reproduce(
    use_case: UseCaseName,
    version: Annotated[int, Argument(metavar="VERSION", parser=version_number, help="Such as 3 or v3.")],
) -> None:
    """Train a version again from its record, and compare to the last bit."""
    from pipelines import training

    workspace, named = opened(use_case)
    with progress(f"reproducing {named.name} v{version}"):
        done = training.reproduce(workspace, named.name, version)
    print(done)
    if not done.identical:
        raise Exit(1)
