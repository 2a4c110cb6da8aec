"""Ten days' files land while nothing runs. The first looks after the start take them all in, in order, without a hand.

Then the rest of a week comes while scoring, labels and monitoring are paused, and get no events: the next look for what was
missed tells them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from airflow_client.client import DAGApi, DAGPatchBody

from pipelines.local import feeds, services, summary
from pipelines.local.api import Airflow
from pipelines.local.demo import STAGES
from pipelines.local.replay import Replay
from pipelines.maintenance import missed
from pipelines.monitoring import latest
from pipelines.use_case import Partition, UseCase, features_table, labels_table, load_use_case, predictions_table
from pipelines.workspace import Workspace, open_workspace, served_rows
from tests.e2e.test_whole_lifecycle import HISTORY, cut

OUTAGE, PAUSE, WEEK = "2013-11-11--2013-11-20", "2013-11-21--2013-11-24", "2013-W47"
_PATIENCE = 600
pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, UseCase, list[Partition]]]:
    """A champion; then down, ten days of files, and up again with a cron of a minute."""
    folder = tmp_path_factory.mktemp("outage")
    cut(folder / "use_cases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINYARD_STATE", str(folder / "var"))
        patch.setenv("TRAINYARD_USE_CASES", str(folder / "use_cases"))
        workspace, use_case = open_workspace("outage"), load_use_case("flight_delay")
        with services.running(folder / "var") as at:
            replay = Replay(workspace, use_case, Airflow(at.airflow, at.user, at.password), lambda p, s, t, _: None)
            replay.prepare(STAGES)
            replay.history(use_case.period(HISTORY))
        file = folder / "use_cases" / "flight_delay.yaml"
        document = yaml.safe_load(file.read_text())
        document["schedules"]["ingestion"] = "* * * * *"
        file.write_text(yaml.safe_dump(document))
        days = use_case.period(OUTAGE).within(use_case.grain)
        now = days[-1].ends_at(use_case.timezone) + timedelta(minutes=5)
        feeds.arrive(workspace, use_case, use_case.period(OUTAGE), now)
        workspace.clock.set(now)
        with services.running(folder / "var") as at:
            took = wait(lambda: all(day.key in workspace.lake.partitions(predictions_table(use_case)) for day in days))
            print(f"ten days were caught up {took:.0f} s after the start")
            pause(Airflow(at.airflow, at.user, at.password), workspace, use_case)
        yield workspace, use_case, days


def wait(until: Callable[[], bool]) -> float:
    """The seconds that it took."""
    started = time.monotonic()
    while not until():
        assert time.monotonic() - started < _PATIENCE, "look at var/airflow/logs in the test's folder"
        time.sleep(1)
    return time.monotonic() - started


def pause(airflow: Airflow, workspace: Workspace, use_case: UseCase) -> None:
    """Days come, with their outcomes, while three stages are paused; once they go on, the next look tells them."""
    paused = [f"{use_case.name}.{stage}" for stage in ("scoring", "labels", "monitoring")]
    for dag in paused:
        DAGApi(airflow).patch_dag(dag, DAGPatchBody(is_paused=True))
    days = use_case.period(PAUSE).within(use_case.grain)
    now = days[-1].ends_at(use_case.timezone) + timedelta(days=1, minutes=5)
    feeds.arrive(workspace, use_case, use_case.period(PAUSE), now)
    workspace.clock.set(now)

    def there(table: Callable[[UseCase], str]) -> set[str]:
        return {day.key for day in days} & set(workspace.lake.partitions(table(use_case)))

    wait(lambda: len(there(features_table)) == len(days))
    time.sleep(20)
    assert not there(predictions_table) | there(labels_table), "nobody was told"
    for dag in paused:
        DAGApi(airflow).patch_dag(dag, DAGPatchBody(is_paused=False))
    airflow.trigger(f"{use_case.name}.catch_up", "by_hand")
    wait(lambda: len(there(predictions_table) & there(labels_table)) == len(days) and not missed(workspace, use_case))


def test_all_days_are_served_each_flight_once(after: tuple[Workspace, UseCase, list[Partition]]) -> None:
    workspace, use_case, days = after
    keys = [day.key for day in days]
    flights = workspace.lake.partitions(f"{use_case.name}/schedule")
    served = served_rows(workspace, use_case, keys)
    assert served.partition.value_counts().to_dict() == {key: flights[key] for key in keys}


def test_they_were_built_in_order(after: tuple[Workspace, UseCase, list[Partition]]) -> None:
    workspace, use_case, days = after
    table = features_table(use_case)
    commits = workspace.lake.published_each(table, [day.key for day in days])
    assert [commits[day.key].version for day in days] == sorted(commits[day.key].version for day in days)


def test_they_are_what_they_would_have_been_then(after: tuple[Workspace, UseCase, list[Partition]]) -> None:
    workspace, use_case, days = after
    assert summary.live_in_bulk(workspace, use_case, days) == sum(
        workspace.lake.partitions(f"{use_case.name}/schedule")[day.key] for day in days
    )


def test_what_paused_stages_missed_was_caught_up_once(after: tuple[Workspace, UseCase, list[Partition]]) -> None:
    workspace, use_case, _ = after
    keys = [day.key for day in use_case.period(PAUSE).within(use_case.grain)]
    assert latest(workspace, use_case)[WEEK].performance
    rows = served_rows(workspace, use_case, keys).partition.value_counts().to_dict()
    assert rows == {key: workspace.lake.partitions(f"{use_case.name}/schedule")[key] for key in keys}


def test_no_training_was_started(after: tuple[Workspace, UseCase, list[Partition]]) -> None:
    logs = Path(after[0].environment.reports).parent
    runs = sorted((logs / "airflow" / "logs" / "dag_id=flight_delay.training").glob("run_id=*"))
    assert [run.name.partition("__")[0] for run in runs] == ["run_id=first"]
