"""The program that the verbs belong to: its options, its help, its exit status.

A module of verbs imports what it needs inside its functions: help and completion wait for no library.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from pipelines.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from pipelines.use_case import UseCase
    from pipelines.workspace import Workspace

P = ParamSpec("P")
NAME = "python -m pipelines"
_COMPLETION = "_PIPELINES_COMPLETE"  # set by infra/completion.bash
_program = typer.Typer(
    no_args_is_help=True,
    subcommand_metavar="VERB ...",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb; 0 done, 1 the work failed, 2 the words were wrong, 130 interrupted."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as Airflow's tasks have it: the last bits of a sum hang on it
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if _COMPLETION in os.environ:
        typer.main.get_install_completion_arguments()  # for what it does beside: the shells are made known
    status = 0
    try:
        _program(words, prog_name=NAME, complete_var=_COMPLETION)
    except (PermanentError, TransientError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        status = 1
    except SystemExit as end:  # Typer ends every verb with it
        status = int(end.code or 0)
    if status == 130:
        print("interrupted", file=sys.stderr)
    return status


@_program.callback(epilog="Completion in bash: source infra/completion.bash")
def options(verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what is being done.")] = False) -> None:
    """The same functions that the DAGs call, without Airflow. VERB --help has an example."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


def verb(purpose: str, name: str, example: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a function a verb, listed under its purpose; its docstring is the help, its parameters are the words."""
    return _program.command(name, rich_help_panel=purpose, epilog=f"Example: {NAME} {name} {example}".rstrip())


@contextmanager
def progress(doing: str) -> Iterator[None]:
    """On a terminal, what is being done and for how long. Pipes and logs get results only."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    silent = not console.is_terminal or logging.getLogger().isEnabledFor(logging.INFO)
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=silent) as shown:
        shown.add_task(doing, total=None)
        yield


def opened(use_case: str, run: str = "cli") -> tuple[Workspace, UseCase]:
    """The workspace, which `run` names in commits and decisions, and the use case of that name."""
    from pipelines.use_case import load_use_case
    from pipelines.workspace import open_workspace, stop_at_other_grain

    workspace, found = open_workspace(run), load_use_case(use_case)
    stop_at_other_grain(workspace, found)
    return workspace, found


def new_run_name() -> str:
    return f"cli-{datetime.now(UTC):%Y%m%dT%H%M%S}"


def _use_cases() -> list[str]:
    """The names to choose from, for completion."""
    from pipelines.use_case import use_case_folder

    return sorted(file.stem for file in use_case_folder().glob("*.yaml"))


UseCaseName = Annotated[
    str, typer.Argument(metavar="USE_CASE", autocompletion=_use_cases, help="Its file's name in conf/use_cases.")
]
PartitionKey = Annotated[
    str, typer.Argument(metavar="PARTITION", help="Such as 2013-05, 2013-W20 or 2013-05-14, by the grain.")
]
Table = Annotated[str, typer.Argument(metavar="TABLE", help="Such as flight_delay/weather.")]
