"""The features job on a warm Spark and in a JVM of its own: the same rows, the same words, and one without the other."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from pipelines import features, ingestion
from pipelines.errors import PermanentError
from pipelines.features import FeaturePlan
from pipelines.local import processes, services
from pipelines.local.processes import Service
from pipelines.use_case import UseCase, features_table, read_use_case
from pipelines.workspace import StageRun, Workspace, load_environment
from tests import synthetic
from tests.conftest import USE_CASES, changed, make_workspace
from tests.infra.reading import wait_for

pytestmark = pytest.mark.long
DAYS = 4  # so that the last has a history


@dataclass
class Yard:
    """Ingested days; a workspace that asks the warm Spark first, and one that knows of none."""

    service: Service
    warm: Workspace
    cold: Workspace
    run: StageRun

    def built(self, workspace: Workspace, use_case: UseCase | None = None) -> pa.Table:
        run = replace(self.run, use_case=use_case or self.run.use_case)
        planned: FeaturePlan = features.plan(run)
        features.build(workspace, planned)
        table = features_table(run.use_case)
        rows = run.lake.read_staged(table, run.lake.staged_files(table, planned.area))
        assert features.publish(run, planned).rows == rows.num_rows
        return rows.sort_by(run.use_case.features.key)


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    folder = tmp_path_factory.mktemp("warm")
    cold, use_case = make_workspace(folder), read_use_case(USE_CASES / "parcels.yaml")
    days = synthetic.days(use_case, DAYS)
    for each in days:
        synthetic.arrive(cold, each, rows=24)
        ingestion.ingest_all(StageRun(cold, use_case, each))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINYARD_STATE", str(folder))
        (folder / "logs").mkdir()
        settings = load_environment().spark
        with services.warm_spark(folder, dict(os.environ)) as (service,):
            wait_for(lambda: features.warm_address(settings), 120)
            environment = cold.environment.model_copy(update={"spark": settings})
            yield Yard(service, replace(cold, environment=environment), cold, StageRun(cold, use_case, days[-1]))
    assert not processes.members([service.process.pid])
    assert not Path(settings.connect or "").exists()


def said(workspace: Workspace, yard: Yard, expression: str) -> str:
    use_case = yard.run.use_case
    expressions = {**use_case.features.expressions, "extra": expression}
    with pytest.raises(PermanentError) as failed:
        yard.built(workspace, changed(use_case, "features", expressions=expressions))
    return str(failed.value).partition(": ")[2]


@pytest.fixture(scope="module")
def cold(yard: Yard) -> pa.Table:
    return yard.built(yard.cold)


def test_both_give_the_same_rows(yard: Yard, cold: pa.Table, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    warm = yard.built(yard.warm)
    assert "on the warm Spark" in caplog.text
    assert warm.schema == cold.schema
    assert warm.equals(cold)
    assert set(warm["all_parcels_late_3d"].to_pylist()) - {None, 0.0}, "there was a history to count"


def test_both_explain_a_failure_in_the_same_words(yard: Yard) -> None:
    expression = "distance / if(shipment_id = '2024-03-04-0013', 0, pieces)"
    warm = said(yard.warm, yard, expression)
    assert f"the Spark job failed: feature extra = {expression}: [DIVIDE_BY_ZERO]" in warm
    assert 'such as for {"shipment_id":"2024-03-04-0013"' in warm
    assert warm == said(yard.cold, yard, expression)


@pytest.mark.parametrize(
    ("expression", "why"), [("distance / nope", "UNRESOLVED_COLUMN"), ("distance +", "PARSE_SYNTAX_ERROR")]
)
def test_an_expression_that_is_none_is_named(expression: str, why: str, yard: Yard) -> None:
    """Here it is analysed by the server only; the words of the cold way are known to test_joins_and_failures.py."""
    assert f"the Spark job failed: feature extra = {expression}: [{why}" in said(yard.warm, yard, expression)


def test_it_listens_on_loopback_and_wants_its_token(yard: Yard) -> None:
    file = Path(yard.warm.environment.spark.connect or "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    sockets = [c for p in processes.members([yard.service.process.pid]) for c in connections(p)]
    assert sockets
    assert [at for at in sockets if not ip_address(at.removeprefix("::ffff:")).is_loopback] == []
    address = file.read_text()
    try:
        file.write_text(address.partition("=")[0] + "=guessed")
        with pytest.raises(PermanentError, match="Invalid authentication token"):
            yard.built(yard.warm)
    finally:
        file.write_text(address)


def connections(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess):
        return [c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    return []


def test_once_it_was_killed_a_job_has_a_jvm_of_its_own(yard: Yard, cold: pa.Table, caplog: pytest.LogCaptureFixture) -> None:
    """The last test here: nothing starts it again."""
    caplog.set_level(logging.INFO)
    for process in processes.members([yard.service.process.pid]):
        process.kill()
    yard.service.process.wait()
    assert yard.built(yard.warm).equals(cold)
    assert "on the warm Spark" not in caplog.text
