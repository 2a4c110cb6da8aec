"""`make demo`: start everything, replay 2013, say what came of it, stop everything."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from statistics import mean
from types import FrameType
from typing import TYPE_CHECKING

from pipelines.errors import PermanentError
from pipelines.local import feeds, services, summary
from pipelines.local.feeds import USE_CASE
from pipelines.local.replay import CHAIN, Replay
from pipelines.use_case import Grain, Partition, UseCase, load_use_case, span
from pipelines.workspace import Kind, Workspace, open_workspace, state_folder, stop_at_other_grain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

# The package's weather ends on 30 December. The day between the last period and the first live one is caught up with it, as
# after an outage: its outcomes are complete a day later than the period's.
HISTORY, MONTHS, REST, DAYS = "2013-01--2013-03", ("2013-04", "2013-11"), "2013-12-01--2013-12-24", ("2013-12-26", "2013-12-30")
_NO_EDITS = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600"}  # nobody changes a DAG file meanwhile
STAGES = (*CHAIN, "training", "retraining", "rollback")


def run_demo(until: str | None = None) -> int:
    """Replay and summarise; the exit status is 0 only if every run succeeded and the tables reconcile.

    Without `until`, the last month to replay, the year ends with live days.
    """
    from rich.console import Console

    console, started, use_case = Console(soft_wrap=True), time.monotonic(), load_use_case(USE_CASE)
    stop_at_other_grain(open_workspace("demo"), use_case)
    signal.signal(signal.SIGTERM, _interrupt)
    months = span(*(Partition.parse(key, Grain.MONTH) for key in (MONTHS[0], until or MONTHS[1])))
    periods = [*months, *([] if until else [use_case.period(REST)])]
    days = [] if until else span(*(use_case.partition(day) for day in DAYS))
    steps = [HISTORY, *(each.key for each in (*periods, *days))]
    spent: Counter[str] = Counter()
    with _bar(console) as bar:
        task = bar.add_task("", total=len(steps))

        def report(partition: str, stage: str, state: str, seconds: float | None) -> None:
            spent[stage] += round(seconds or 0)
            clock = time.strftime("%M:%S", time.gmtime(time.monotonic() - started))
            took = f"{seconds:5.1f} s" if seconds is not None else " " * 7
            console.print(f"{clock}  {partition:<22} {stage:<18} {took}  {state}", highlight=False, markup=False)
            if partition in steps:
                bar.update(task, completed=steps.index(partition), description=partition)

        report("", "services", "starting Airflow and MLflow on loopback", None)
        loaded = ThreadPoolExecutor(1).submit(feeds.load)  # while the services start
        with services.running(changed=_NO_EDITS) as addresses:
            os.environ["MLFLOW_PAGE"] = addresses.mlflow
            report("", "services", f"Airflow {addresses.airflow}  MLflow {addresses.mlflow}  (sign in: see the end)", None)
            workspace = open_workspace("demo")
            from pipelines.local.api import Airflow

            airflow = Airflow(addresses.airflow, addresses.user, addresses.password)
            replay = Replay(workspace, use_case, airflow, report)
            replay.prepare(STAGES)
            loaded.result()
            replay.history(use_case.period(HISTORY))
            for period in periods:
                replay.bulk(period)
            if days:
                replay.live(days)
                replay.decide(Partition.of(days[-1].start, use_case.decided))
                _tell_of_live(console, workspace, use_case, days)
    console.print(f"Seconds per stage: {', '.join(f'{stage} {n}' for stage, n in spent.most_common() if n)}.")
    return summarise(console, workspace, time.monotonic() - started)


def _bar(console: Console) -> Progress:
    """How much of the year is done, below the lines, on a terminal only."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def summarise(console: Console, workspace: Workspace, seconds: float) -> int:
    use_case = load_use_case(USE_CASE)
    for table in (_counts_table(workspace), _champions_table(workspace), _months_table(workspace)):
        console.print(table)
    found = summary.problems(workspace, use_case)
    for problem in found:
        console.print(f"does not reconcile: {problem}", markup=False)
    state = state_folder()
    console.print(f"\n{seconds / 60:.1f} minutes. Everything that ran has been stopped; its state is in {state}.")
    console.print("Look again:   make airflow    (prints the addresses; user admin, passwords in secrets.json there)")
    console.print(f"Decisions:    .venv/bin/python -m pipelines decisions {USE_CASE}")
    console.print("Reconciled: rows in = published + quarantined, each flight once per model version." if not found else "")
    return 1 if found else 0


def _tell_of_live(console: Console, workspace: Workspace, use_case: UseCase, days: list[Partition]) -> None:
    ahead, rows = summary.published_ahead(workspace, use_case, days)
    console.print(
        f"Live, {days[0].key} to {days[-1].key}: {ahead:,} of {rows:,} predictions were published before any outcome of"
    )
    console.print("their day was. Computing them again in bulk ...")
    same = summary.live_in_bulk(workspace, use_case, days)
    console.print(f"In bulk all {same:,} rows have the same features, probability and action.")


def _counts_table(workspace: Workspace) -> Table:
    from rich.table import Table

    table = Table("source", "rows in", "published", "quarantined", title="Data", title_justify="left")
    for count in summary.counts(workspace, load_use_case(USE_CASE)):
        table.add_row(*[f"{v:,}" if isinstance(v, int) else v for v in asdict(count).values()])
    return table


def _champions_table(workspace: Workspace) -> Table:
    from rich.table import Table

    table = Table("version", "from", "why it came", title="Champions", title_justify="left")
    for decision in workspace.ledger.decisions(USE_CASE):
        if decision.kind in (Kind.PROMOTED, Kind.ROLLED_BACK):
            table.add_row(f"v{decision.model_version}", decision.effective_from, decision.why)
    return table


def _months_table(workspace: Workspace) -> Table:
    from rich.table import Table

    rows = summary.months(workspace, load_use_case(USE_CASE))
    title = "Served, beside the first champion had it never been retrained"
    table = Table("month", "model", "labels", "AUC", "never", "log loss", "never", title=title, title_justify="left")
    for m in rows:
        figures = (m.auc, m.never_auc, m.log_loss, m.never_log_loss)
        table.add_row(m.partition, f"v{m.version}", f"{m.labels:,}", *[f"{f:.4f}" for f in figures])
    if not rows:
        raise PermanentError("no month was served and labelled; the replay did not get that far")
    means = [mean(getattr(m, name) for m in rows) for name in ("auc", "never_auc", "log_loss", "never_log_loss")]
    table.add_section()
    table.add_row("mean", "", "", *[f"{value:.4f}" for value in means])
    table.add_row("gain", "", "", f"{means[0] - means[1]:+.4f}", "", f"{means[3] - means[2]:+.4f}", "")
    return table


def serve() -> int:
    """`make airflow`: the same services on the same state, until Ctrl-C."""
    from rich.console import Console

    console = Console(soft_wrap=True)
    signal.signal(signal.SIGTERM, _interrupt)
    console.print("starting Airflow and MLflow on loopback ...")
    with services.running() as addresses:
        console.print(f"Airflow  {addresses.airflow}   user {addresses.user}, or viewer who may look and no more")
        console.print(f"         passwords: {state_folder() / 'secrets.json'} (admin, viewer)")
        console.print(f"MLflow   {addresses.mlflow}")
        console.print("Ctrl-C stops both.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            console.print("stopping ...")
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
