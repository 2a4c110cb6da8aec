"""What happens after a champion is there: a worse candidate, a broken contract, and a second model that asks for approval.

All three start at once in the Airflow that runs already; while a question waits, the other two are at work.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import PermanentError
from pipelines.local import feeds
from pipelines.use_case import UseCase
from pipelines.workspace import Decision, Workspace
from tests.e2e.people import Person, outsider

ASKING = "flight_delay_asking"
TRAINING = f"{ASKING}.training"
RUN, WORSE, BROKEN = "asks", "worse", "broken-contract"
NOTE = "not before the holidays, *really*"


@dataclass(frozen=True)
class Outcome:
    """What one answer led to."""

    run: str
    tasks: dict[str, str]
    decisions: list[Decision]
    champion: int | None
    alias: int | None
    events: int
    page: str


@dataclass(frozen=True)
class Decided:
    """What the tests look at afterwards."""

    admin: Person
    question: Any
    refused: dict[str, str]
    outcomes: dict[str, Outcome]


def declare_asking(folder: Path) -> None:
    """The same use case under another name, with one candidate, that asks before it promotes."""
    document = yaml.safe_load((folder / "flight_delay.yaml").read_text())
    document["name"], document["title"] = ASKING, "Late arrivals, with approval"
    document["training"]["candidates"].pop("boosting")
    document |= {"approval": "required", "approval_deadline": "PT30S"}
    (folder / f"{ASKING}.yaml").write_text(yaml.safe_dump(document))


def decide(
    workspace: Workspace, use_case: UseCase, folder: Path, admin: Person, viewer: Person, trained: str, live: str, bad: str
) -> Decided:
    """Start all three; answer the question in every way there is, in one run that is asked again each time."""
    tables = ("features", "labels")
    for table in tables:  # a Delta table does not know its own address
        shutil.copytree(f"{workspace.lake.root}/flight_delay/{table}", f"{workspace.lake.root}/{ASKING}/{table}")
    admin.trigger(TRAINING, RUN, conf={"partition": trained})
    break_contract(workspace, use_case, bad)
    admin.trigger("flight_delay.ingestion.schedule", BROKEN, conf={"partition": bad})
    with worse_candidates(folder / "flight_delay.yaml"):
        admin.trigger("flight_delay.training", WORSE, conf={"partition": live})
        question, refused, outcomes = _answer(workspace, admin, viewer, folder.parent / "var")
        admin.wait_for_end("flight_delay.training", WORSE)
    admin.wait_for_end("flight_delay.ingestion.schedule", BROKEN)
    return Decided(admin, question, refused, outcomes)


def _answer(workspace: Workspace, admin: Person, viewer: Person, state: Path) -> tuple[Any, dict[str, str], dict[str, Outcome]]:
    log = state / "logs" / "scheduler.log"
    admin.wait_for_question(TRAINING, RUN, log)
    question = admin.question(TRAINING, RUN)
    strangers = {"outsider": outsider(admin, state, "mallory", "op"), "viewer": viewer}
    refused = {name: refusal(person) for name, person in strangers.items()}
    admin.answer(TRAINING, RUN, "Reject", NOTE)
    outcomes = {"rejected": _outcome(workspace, admin)}
    admin.ask_again(TRAINING, RUN)
    outcomes["silent"] = _outcome(workspace, admin)
    admin.ask_again(TRAINING, RUN)
    admin.wait_for_question(TRAINING, RUN, log)
    admin.mark_success(TRAINING, RUN, "approve")
    outcomes["marked"] = _outcome(workspace, admin)
    admin.ask_again(TRAINING, RUN)
    admin.wait_for_question(TRAINING, RUN, log)
    admin.forge(TRAINING, RUN, "Approve v1")
    admin.mark_success(TRAINING, RUN, "approve")
    outcomes["forged"] = _outcome(workspace, admin)
    admin.ask_again(TRAINING, RUN)
    admin.wait_for_question(TRAINING, RUN, log)
    admin.answer(TRAINING, RUN, "Approve v1", "go ahead")
    outcomes["approved"] = _outcome(workspace, admin)
    admin.ask_again(TRAINING, RUN, "register")  # another version, and Airflow shows the old question
    admin.wait_for_question(TRAINING, RUN, log)
    admin.answer(TRAINING, RUN, "Approve v1")
    outcomes["outdated"] = _outcome(workspace, admin)
    return question, refused, outcomes


def refusal(person: Person) -> str:
    """What Airflow says to somebody who may not answer."""
    try:
        person.answer(TRAINING, RUN, "Approve v1")
    except PermanentError as error:
        return str(error)
    return "it was taken"


def _outcome(workspace: Workspace, admin: Person) -> Outcome:
    admin.wait_for_end(TRAINING, RUN)
    champion = workspace.ledger.champion(ASKING)
    return Outcome(
        admin.state(TRAINING, RUN),
        admin.tasks(TRAINING, RUN),
        workspace.ledger.decisions(ASKING),
        champion.version if champion else None,
        workspace.registry.alias(ASKING, "champion"),
        len(admin.events(TRAINING)),
        admin.page(f"/lifecycle/runs/{TRAINING}/{RUN}"),
    )


@contextmanager
def worse_candidates(file: Path) -> Iterator[None]:
    """Somebody's bad idea: settings under which neither candidate learns much."""
    before = file.read_text()
    document = yaml.safe_load(before)
    document["training"]["candidates"]["logistic"]["params"]["C"] = 1e-7
    document["training"]["candidates"]["boosting"]["params"]["max_iter"] = 1
    file.write_text(yaml.safe_dump(document))
    try:
        yield
    finally:
        file.write_text(before)


def break_contract(workspace: Workspace, use_case: UseCase, key: str) -> None:
    """Every tenth flight leaves in an hour that no clock has: five times the share that may be rejected."""
    import pandas as pd

    feeds.arrive(workspace, use_case, use_case.partition(key))
    file = Path(workspace.environment.landing) / "flight_delay" / "schedule" / f"{key}.csv.gz"
    rows = pd.read_csv(file)
    rows.loc[::10, "scheduled_hour"] = 77
    rows.to_csv(file, index=False)
