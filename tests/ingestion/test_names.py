"""Names from outside never meet names from inside; and nothing is published unless every source passed."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import ingestion
from pipelines.errors import PermanentError
from pipelines.use_case import Contract, Partition, UseCase, read_use_case
from pipelines.workspace import StageRun, Workspace
from tests import synthetic
from tests.conftest import USE_CASES, make_workspace
from tests.ingestion.pipeline import QUARANTINE, TABLE, UNKNOWN, ingest, lines, published, unknown


@pytest.fixture
def day(use_case: UseCase) -> Partition:
    return synthetic.days(use_case, 1)[0]


def refused(tmp_path: Path, change: Any) -> str:
    """What `validate-config` says of the use case with a change."""
    document = yaml.safe_load((USE_CASES / "parcels.yaml").read_text())
    change(document)
    (tmp_path / "parcels.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(PermanentError) as said:
        read_use_case(tmp_path / "parcels.yaml")
    return str(said.value)


TAKEN = ["labels", "features", "predictions", "monitoring", "decisions", "carriers_quarantine", "carriers_unknown_columns"]


@pytest.mark.parametrize("name", TAKEN)
def test_a_source_cannot_have_the_name_of_a_table_of_the_pipeline(name: str, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["sources"][name] = {**document["sources"]["carriers"], "uri": "{landing}/more.csv"}
        document["contract"][name] = document["contract"]["carriers"]

    assert f"the name '{name}' is taken" in refused(tmp_path, change)


@pytest.mark.parametrize("name", ["partition", "Partition", "_row", "_columns", "_key_carrier", "price, net", "a.b", "2nd", ""])
def test_a_column_of_the_contract_cannot_have_a_name_of_inside(name: str, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["contract"]["shipments"]["columns"][name] = {"type": "string", "nullable": True}

    assert f"'{name}' cannot be a column's name" in refused(tmp_path, change)


def _two_columns(document: dict[str, Any]) -> None:
    document["contract"]["shipments"]["columns"]["Depot"] = {"type": "string"}


def _feature_as_the_key(document: dict[str, Any]) -> None:
    document["features"]["expressions"]["ship_date"] = "ship_date"


def _feature_as_the_partition(document: dict[str, Any]) -> None:
    document["features"]["expressions"]["partition"] = "depot"


def _feature_as_a_history(document: dict[str, Any]) -> None:
    document["features"]["expressions"]["all_parcels_late_1d"] = "pieces"


def _alias_as_a_column(document: dict[str, Any]) -> None:
    document["features"]["joins"][0]["columns"] = {"Weight": "rating"}


def _two_aliases(document: dict[str, Any]) -> None:
    document["features"]["joins"] *= 2


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (_two_columns, "'Depot' and 'depot'"), (_feature_as_the_key, "'ship_date' and 'ship_date'"),
        (_feature_as_the_partition, "'partition' and 'partition'"), (_alias_as_a_column, "'weight' and 'Weight'"),
        (_feature_as_a_history, "'all_parcels_late_1d' and 'all_parcels_late_1d'"), (_two_aliases, "'rating' and 'rating'"),
    ],
)  # fmt: skip
def test_names_that_are_one_are_refused_wherever_they_meet(change: Any, names: str, tmp_path: Path) -> None:
    assert f"{names} are one name: capitals are not told apart" in refused(tmp_path, change)


@pytest.mark.parametrize("name", ["partition", "_row", "_columns", "Partition", "carrier_"])
def test_a_new_column_by_a_name_of_inside_is_kept_and_harms_nothing(
    name: str, workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    ingest(workspace, use_case, day, lines(day, header=f",{name}", more=",x"))
    assert unknown(workspace)[2] == {name: "x"}
    assert {row["partition"] for row in published(workspace)} == {day.key}
    assert [row["_row"] for row in published(workspace)] == list(range(2, 17))


@pytest.mark.parametrize("name", ["Depot", "DEPOT"])
def test_a_column_that_differs_by_capitals_is_refused_before_anything_is_published(
    name: str, workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    synthetic.arrive(workspace, day)
    synthetic.put(workspace, "shipments", day, lines(day, header=f",{name}", more=",x"))
    with pytest.raises(PermanentError, match=r"has the column .* twice, as capitals are not told apart"):
        ingestion.ingest(StageRun(workspace, use_case, day), "shipments")
    assert not workspace.lake.exists("parcels/shipments")


def test_a_column_that_was_renamed_by_capitals_is_refused_before_anything_is_published(
    workspace: Workspace, use_case: UseCase, day: Partition
) -> None:
    ingest(workspace, use_case, day, lines(day))
    contract = use_case.contract["shipments"].model_dump(exclude_unset=True)
    columns = {name.replace("weight", "Weight"): column for name, column in contract["columns"].items()}
    renamed = Contract.model_validate({**contract, "columns": columns, "invariants": ()})
    changed = use_case.model_copy(update={"contract": {**use_case.contract, "shipments": renamed}})
    with pytest.raises(PermanentError, match="Weight: the published table has it as weight, and capitals are not told apart"):
        ingest(workspace, changed, day, lines(day).replace("weight", "Weight"))


# headers of all kinds ------------------------------------------------------------------------------------------------

NAMES = st.one_of(
    st.sampled_from(["partition", "_row", "depot", "DEPOT", "a b", "a,b", 'say "x"', "`", "a.b", "{}", "x=y", "", " "]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, min_size=1, max_size=3))
def test_a_file_with_any_header_is_published_whole_or_not_at_all(
    names: list[str], tmp_path_factory: pytest.TempPathFactory, use_case: UseCase
) -> None:
    workspace, day = make_workspace(tmp_path_factory.mktemp("header")), synthetic.days(use_case, 1)[0]
    rows = list(csv.reader(io.StringIO(lines(day))))
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([rows[0] + names, *(row + ["x"] * len(names) for row in rows[1:])])
    refusal = ""
    try:
        ingest(workspace, use_case, day, buffer.getvalue())
    except PermanentError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith(f"{TABLE} {day.key}")
        assert not any(workspace.lake.exists(table) for table in (TABLE, QUARANTINE, UNKNOWN))
        return
    assert len(published(workspace)) == 15
    assert unknown(workspace)[2] == {name.strip(): "x" for name in names}
