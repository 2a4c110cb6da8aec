"""The whole lifecycle in real Airflow, real Spark and real MLflow, on three weeks of the real flights, by days.

Two weeks of history in bulk, a week served in bulk, and two days live, by the clock.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from markupsafe import escape

from pipelines.errors import PermanentError
from pipelines.local import processes, services, summary
from pipelines.local.api import Airflow
from pipelines.local.demo import STAGES
from pipelines.local.replay import Replay
from pipelines.use_case import (
    Partition,
    UseCase,
    features_table,
    labels_table,
    load_use_case,
    predictions_table,
    source_table,
    span,
)
from pipelines.workspace import Kind, Workspace, open_workspace, served_rows
from tests.e2e import decisions
from tests.e2e.people import Person

ROOT = Path(__file__).resolve().parents[2]
HISTORY, TRAINED, WEEK, BAD = "2013-10-28--2013-11-10", "2013-11-10", "2013-W46", "2013-11-25"
DAYS = ("2013-11-19", "2013-11-20")  # the 18th is caught up: its outcomes are complete a day after the week's
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@dataclass
class Lived:
    """One replay, as it ended."""

    workspace: Workspace
    use_case: UseCase
    addresses: services.Addresses
    airflow: Airflow
    replay: Replay
    reports: list[tuple[str, str, str]]


def cut(folder: Path) -> None:
    """The reference use case judged by weeks, with two candidates: the same code on less data."""
    document = yaml.safe_load((ROOT / "conf" / "use_cases" / "flight_delay.yaml").read_text())
    document["monitoring"] |= {"window": "week"}
    document["schedules"] = {"ingestion": None, "retraining": None, "maintenance": None, "catch_up": None}
    document["training"] |= {"min_history": "P14D", "holdout_days": 4, "trials": 1, "folds": 2, "search_rows": 5000}
    candidates = document["training"]["candidates"]
    candidates.pop("forest")
    candidates["logistic"] = {**candidates["logistic"], "params": {"max_iter": 300, "C": 0.01}, "search": {}}
    # In two weeks most histories are hardly filled: these two are after a day.
    document["features"]["history"] = [
        {"name": "all_flights", "windows": [1]},
        {"name": "origin", "by": ["origin"], "windows": [1]},
    ]
    document["gates"] |= {"min_auc": 0.55, "max_overfit": 0.3}
    # Two weeks are too little for most questions, and the assessment rightly says so; what stops leaks still stops.
    mild = [
        "rows",
        "slices",
        "learning_curve",
        "predictive",
        "more_than_one_feature",
        "related",
        "balanced",
        "missing",
        "unseen",
    ]
    document["assessment"] = {"warn": mild}
    document["retraining"] = {"cooldown": "PT0S", "min_new_labels": 100}
    folder.mkdir()
    (folder / "flight_delay.yaml").write_text(yaml.safe_dump(document))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    folder = tmp_path_factory.mktemp("e2e")
    cut(folder / "use_cases")
    decisions.declare_asking(folder / "use_cases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINYARD_STATE", str(folder / "var"))
        patch.setenv("TRAINYARD_USE_CASES", str(folder / "use_cases"))
        # How often the scheduler looks for questions whose deadline has passed: 15 seconds, as it comes.
        patch.setenv("AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL", "2")
        with services.running(folder / "var") as addresses:
            patch.setenv("MLFLOW_PAGE", addresses.mlflow)
            reports: list[tuple[str, str, str]] = []
            airflow = Airflow(addresses.airflow, addresses.user, addresses.password)
            use_case = load_use_case("flight_delay")
            replay = Replay(open_workspace("e2e"), use_case, airflow, lambda p, s, t, _: reports.append((p, s, t)))
            replay.prepare(STAGES)
            replay.history(use_case.period(HISTORY))
            replay.bulk(use_case.period(WEEK))
            replay.live(span(*(use_case.partition(day) for day in DAYS)))
            yield Lived(replay.workspace, use_case, addresses, airflow, replay, reports)


def days_of(lived: Lived, period: str) -> list[Partition]:
    return lived.use_case.period(period).within(lived.use_case.grain)


def test_a_champion_came_through_the_gates(lived: Lived) -> None:
    first = days_of(lived, WEEK)[0].key
    champion = lived.workspace.ledger.champion("flight_delay", as_of=first)
    assert champion is not None
    assert champion.effective_from == first
    assert lived.workspace.registry.alias("flight_delay", "champion") is not None


def test_the_week_was_served_once_per_flight(lived: Lived) -> None:
    days = [day.key for day in days_of(lived, WEEK)]
    flights = lived.workspace.lake.partitions(source_table(lived.use_case, "schedule"))
    served = served_rows(lived.workspace, lived.use_case, days)
    assert len(served) == sum(flights[day] for day in days)
    assert served.flight_id.is_unique
    assert served.probability.between(0, 1).all()


def test_live_every_prediction_was_published_before_any_of_its_outcomes(lived: Lived) -> None:
    """By the logs of both tables: the commit of the served row, and the first one that holds the flight's outcome."""
    lake, ahead = lived.workspace.lake, 0
    outcomes, predictions = source_table(lived.use_case, "outcomes"), predictions_table(lived.use_case)
    for day in days_of(lived, "--".join(DAYS)):
        flights = set(served_rows(lived.workspace, lived.use_case, [day.key]).flight_id)
        (served_at,) = {c.timestamp for c in lake.commits(predictions) if day.key in c.record.keys}
        for commit in (c for c in lake.commits(outcomes) if day.key in c.record.keys):
            held = set(lake.read(outcomes, [day.key], commit.version, ["flight_id"])["flight_id"].to_pylist())
            assert served_at < commit.timestamp or not flights & held
        ahead += len(flights)
    assert ahead == sum(lake.partitions(source_table(lived.use_case, "schedule"))[day] for day in DAYS)
    assert summary.published_ahead(lived.workspace, lived.use_case, days_of(lived, "--".join(DAYS))) == (ahead, ahead)


def test_outcomes_came_in_parts_and_labels_of_the_complete_ones_only(lived: Lived) -> None:
    lake, table = lived.workspace.lake, source_table(lived.use_case, "outcomes")
    for day in days_of(lived, "--".join(DAYS)):
        counts = [c.record.rows_in or 0 for c in lake.commits(table) if day.key in c.record.keys][::-1]
        assert len(counts) == 2
        assert counts[0] < counts[1], "by midnight some had not landed"
        (labelled,) = [c for c in lake.commits(labels_table(lived.use_case)) if day.key in c.record.keys]
        complete = lake.published(table, day.key)
        assert complete
        assert labelled.timestamp > complete.timestamp


def test_what_was_served_live_comes_out_of_one_bulk_run(lived: Lived) -> None:
    days = days_of(lived, "--".join(DAYS))
    assert summary.live_in_bulk(lived.workspace, lived.use_case, days) == len(
        served_rows(lived.workspace, lived.use_case, [day.key for day in days])
    )


def test_the_day_in_between_was_caught_up(lived: Lived) -> None:
    assert "2013-11-18" in lived.workspace.lake.partitions(predictions_table(lived.use_case))


def test_everything_reconciles(lived: Lived) -> None:
    assert summary.problems(lived.workspace, lived.use_case) == []
    month = summary.months(lived.workspace, lived.use_case)[0]
    assert 0.5 < month.auc < 1.0


def test_the_retraining_decision_is_recorded_with_its_reason(lived: Lived) -> None:
    kinds = (Kind.STARTED, Kind.NOT_RETRAINED)
    made = [d for d in lived.workspace.ledger.decisions("flight_delay") if d.kind in kinds and d.partition == WEEK]
    assert len(made) == 1
    assert len(made[0].why) > 20


def test_spark_ran_through_the_operator_and_warm(lived: Lived) -> None:
    logs = Path(os.environ["TRAINYARD_STATE"]) / "airflow" / "logs" / "dag_id=flight_delay.features"
    text = "".join(f.read_text() for f in logs.rglob("task_id=build/*.log"))
    assert "build_features.py on the warm Spark" in text


def test_a_backfill_gives_what_the_dags_gave_and_what_was_served_and_starts_nothing(lived: Lived) -> None:
    """By one command, without Airflow; the features are built anew, equal to the last bit."""
    lake, use_case, days = lived.workspace.lake, lived.use_case, [day.key for day in days_of(lived, WEEK)]

    def state() -> tuple[Any, ...]:
        built = lake.read(features_table(use_case), days).to_pandas().sort_values(use_case.features.key, ignore_index=True)
        served = served_rows(lived.workspace, use_case, days)
        made = [d.id for d in lived.workspace.ledger.decisions("flight_delay")]
        return built, served, made, len(lived.airflow.runs("flight_delay.training"))

    built, served, made, trainings = state()
    command = [sys.executable, "-m", "pipelines", "backfill", "flight_delay", days[0], days[-1]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{days[0]}--{days[-1]}: monitoring is done" in done.stdout
    again = state()
    assert again[0].equals(built)
    assert again[1].equals(served)
    assert again[2:] == (made, trainings)


def test_a_complete_week_is_not_run_again(lived: Lived) -> None:
    versions = lived.workspace.lake.version(predictions_table(lived.use_case))
    lived.replay.bulk(lived.use_case.period(WEEK))
    assert lived.workspace.lake.version(predictions_table(lived.use_case)) == versions
    assert lived.reports[-1] == (WEEK, "period", "complete already")


def test_bad_data_turns_the_task_red_and_goes_no_further(lived: Lived) -> None:
    """A column is gone: ingestion fails at once, nothing is published, no DAG downstream runs."""
    from pipelines.local import feeds

    partition = lived.use_case.partition(BAD)
    feeds.arrive(lived.workspace, lived.use_case, partition)
    import gzip

    import pandas as pd

    file = Path(lived.workspace.environment.landing) / "flight_delay" / "schedule" / f"{BAD}.csv.gz"
    pd.read_csv(file).drop(columns="origin").to_csv(file, index=False)
    assert b"origin" not in gzip.decompress(file.read_bytes()).splitlines()[0]
    since = datetime.now(UTC)
    lived.airflow.trigger("flight_delay.ingestion.schedule", "bad", conf={"partition": BAD})
    with pytest.raises(PermanentError, match=r"ingestion\.schedule failed for 2013-11-25 at ingest"):
        lived.replay._watch(partition, ("ingestion.schedule",), since, lambda run: run.dag_run_id == "bad", lambda: True)
    assert BAD not in lived.workspace.lake.partitions(source_table(lived.use_case, "schedule"))
    assert not [r for r in lived.airflow.runs("flight_delay.features") if r.partition_key == BAD]


@pytest.fixture(scope="module")
def decided(lived: Lived) -> decisions.Decided:
    """A worse candidate, a broken contract, and every answer to a question, all in the Airflow that runs already."""
    at = lived.addresses
    admin = Person(at.airflow, at.user, at.password)
    viewer = Person(at.airflow, "viewer", at.viewer_password)
    use_cases = Path(os.environ["TRAINYARD_USE_CASES"])
    return decisions.decide(lived.workspace, lived.use_case, use_cases, admin, viewer, TRAINED, WEEK, BAD)


def test_a_worse_candidate_changes_nothing_and_the_run_says_why(lived: Lived, decided: decisions.Decided) -> None:
    made = [d for d in lived.workspace.ledger.decisions("flight_delay") if d.run == decisions.WORSE]
    now = lived.workspace.ledger.champion("flight_delay")
    assert now
    assert [(d.kind, d.model_version, d.actor) for d in made] == [("kept", now.version, "gates")]
    assert made[0].at > now.at, "the champion is the one of before"
    assert lived.workspace.registry.alias("flight_delay", "champion") == now.version
    assert "beats_champion" in made[0].why
    tasks = decided.admin.tasks("flight_delay.training", decisions.WORSE)
    assert [tasks[name] for name in ("keep", "register", "promote")] == ["success", "skipped", "skipped"]
    assert decided.admin.state("flight_delay.training", decisions.WORSE) == "success"
    page = decided.admin.page(decided.admin.links("flight_delay.training", decisions.WORSE, "keep")["Decision"])
    assert f"<h1>Kept v{now.version}</h1>" in page
    assert escape(made[0].why) in page
    assert 'data-gate="beats_champion" data-outcome="failed"' in page
    assert "Is the data fit for a model?" in decided.admin.page(
        decided.admin.links("flight_delay.training", decisions.WORSE, "assess")["Report"]
    )


def test_a_broken_contract_stops_before_anybody_reads_it(lived: Lived, decided: decisions.Decided) -> None:
    admin, dag, run = decided.admin, "flight_delay.ingestion.schedule", decisions.BROKEN
    assert admin.state(dag, run) == "failed"
    assert BAD not in {event.partition_key for event in admin.events(dag)}
    assert BAD not in lived.workspace.lake.partitions(source_table(lived.use_case, "schedule"))
    assert not [r for r in lived.airflow.runs() if r.partition_key == BAD]
    link = admin.links(dag, run, "ingest", 0)["Report"]
    assert link.endswith(f"/lifecycle/reports/flight_delay/contracts/schedule-{BAD}.html")
    page = admin.page(link)
    assert "scheduled_hour" in page
    assert "77" in page


def test_the_question_shows_the_evidence_to_a_named_group(decided: decisions.Decided) -> None:
    asked = decided.question
    assert asked.subject == "Late arrivals, with approval: promote v1?"
    assert (asked.options, asked.defaults) == (["Approve v1", "Reject"], ["Reject"])
    assert [(user.id, user.name) for user in asked.assigned_users] == [("admin", "admin")]
    for wanted in ("**logistic**, registered as **v1**", "| AUC | 0.", "| beats champion | passed |", "Warnings", "models/v1"):
        assert wanted in asked.body
    card = re.search(r"\]\((lifecycle/reports/\S+/models/v1\.html)\)", asked.body)
    assert card
    assert "v1" in decided.admin.page(f"/{card[1]}")


def test_who_is_not_in_the_group_may_not_answer(decided: decisions.Decided) -> None:
    assert "(403)" in decided.refused["outsider"]
    assert "User=mallory (id=mallory) is not a respondent for the task" in decided.refused["outsider"]
    assert "(403)" in decided.refused["viewer"]


@pytest.mark.parametrize(
    ("answer", "actor", "words"),
    [
        ("rejected", "admin", f"rejected by admin: {decisions.NOTE}. logistic passed"),
        ("silent", "nobody", "nobody answered within 30 seconds. logistic passed"),
        ("marked", "nobody", "no answer stands: the question was skipped, failed, or marked as done by hand. logistic passed"),
        ("forged", "nobody", "a yes of admin stands in the task's result, but the task never wrote one down: edited by hand?"),
    ],
)
def test_without_a_yes_the_champion_stays_and_the_ledger_says_why(
    decided: decisions.Decided, answer: str, actor: str, words: str
) -> None:
    found = decided.outcomes[answer]
    last = found.decisions[-1]
    assert (last.kind, last.actor, last.model_version, last.run) == ("kept", actor, None, decisions.RUN)
    assert f"No champion. v1 was not promoted: {words}" in last.why
    assert (found.champion, found.alias, found.events) == (None, None, 0)
    assert found.run == "success"
    assert [found.tasks[name] for name in ("approve", "promote", "decline")] == ["success", "skipped", "success"]
    assert "<h1>Kept: still no champion</h1>" in found.page
    assert escape(last.why) in found.page


def test_a_yes_of_the_group_promotes(decided: decisions.Decided) -> None:
    found = decided.outcomes["approved"]
    assert [d.kind for d in found.decisions] == [*["asked", "kept"] * 4, "asked", "approved", "promoted"]
    yes, last = found.decisions[-2:]
    assert (yes.actor, yes.model_version, yes.why) == ("admin", 1, "approved by admin: go ahead")
    assert (last.actor, last.model_version) == ("admin", 1)
    assert last.why.startswith("v1 approved by admin: go ahead. ")
    assert (found.champion, found.alias, found.events) == (1, 1, 1)
    assert [found.tasks[name] for name in ("approve", "promote", "decline")] == ["success", "success", "skipped"]
    assert "<h1>Promoted v1</h1>" in found.page


def test_a_yes_to_an_outdated_question_promotes_nothing(decided: decisions.Decided) -> None:
    """The candidate was registered anew in the same run: nobody has seen the evidence of v2."""
    found = decided.outcomes["outdated"]
    assert [found.tasks[name] for name in ("approve", "promote", "decline")] == ["failed", "upstream_failed", "success"]
    assert found.run == "failed"
    assert (found.champion, found.alias, found.events) == (1, 1, 1)
    kept, failed = found.decisions[-2:]
    assert (kept.kind, failed.kind) == ("kept", "training failed"), "the failure is written last"
    assert kept.why.startswith("v1 stays. v2 was not promoted: no answer stands")
    assert "<h1>The training failed</h1>" in found.page
    assert escape(kept.why) in found.page


def test_a_viewer_may_look_and_not_touch(lived: Lived) -> None:
    viewer = Airflow(lived.addresses.airflow, "viewer", lived.addresses.viewer_password)
    assert "flight_delay.scoring" in viewer.dags()
    with pytest.raises(PermanentError, match="403"):
        viewer.trigger("flight_delay.ingestion.schedule", "not-allowed", conf={"partition": WEEK})


def test_nobody_gets_in_without_signing_in(lived: Lived) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{lived.addresses.airflow}/api/v2/dags", timeout=10)
    assert refused.value.code == 401


def test_nothing_listens_beyond_loopback(lived: Lived) -> None:
    """Every listening socket of the services and of what they started."""
    known = json.loads((Path(os.environ["TRAINYARD_STATE"]) / "services.json").read_text())["services"]
    family = processes.members(service["pid"] for service in known)
    ours = [address for process in family for address in listening(process)]
    assert ours, "Airflow and MLflow do listen"
    assert [address for address in ours if not ip_address(address.removeprefix("::ffff:")).is_loopback] == []


def listening(process: psutil.Process) -> list[str]:
    try:
        return [c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    except psutil.NoSuchProcess:  # a DAG file was parsed, and that is that
        return []
