"""Definition digests: another meaning is another digest, and nothing else is."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from pipelines.use_case import UseCase, definitions_in_plan, feature_definitions
from tests import synthetic
from tests.conftest import changed


def differing(before: UseCase, after: UseCase) -> set[str]:
    old, new = feature_definitions(before), feature_definitions(after)
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}


def with_expression(use_case: UseCase, **expressions: str) -> UseCase:
    return changed(use_case, "features", expressions={**use_case.features.expressions, **expressions})


def with_column(use_case: UseCase, table: str, column: str, **values: Any) -> UseCase:
    contract = use_case.contract[table]
    columns = {**contract.columns, column: contract.columns[column].model_copy(update=values)}
    return use_case.model_copy(
        update={"contract": {**use_case.contract, table: contract.model_copy(update={"columns": columns})}}
    )


def test_another_expression_is_another_definition_of_this_feature_only(use_case: UseCase) -> None:
    assert differing(use_case, with_expression(use_case, distance="distance * 0.621")) == {"distance"}
    assert differing(use_case, with_expression(use_case, extra="pieces > 3")) == {"extra"}


def test_another_join_is_another_definition_of_what_is_looked_up(use_case: UseCase) -> None:
    (join,) = use_case.features.joins
    for values in ({"columns": {"rating": "rating / 5"}}, {"match": {"carrier": "upper(carrier)"}}):
        assert differing(use_case, changed(use_case, "features", joins=(join.model_copy(update=values),))) == {"rating"}
    more = join.model_copy(update={"columns": {**join.columns, "stars": "round(rating)"}})
    assert differing(use_case, changed(use_case, "features", joins=(more,))) == set()


def test_another_type_or_default_of_a_source_column_counts_and_its_limits_do_not(use_case: UseCase) -> None:
    from pipelines.use_case import ColumnType

    assert differing(use_case, with_column(use_case, "shipments", "weight", type=ColumnType.INTEGER)) == {"weight"}
    assert differing(use_case, with_column(use_case, "shipments", "weight", default=1.0)) == {"weight"}
    assert differing(use_case, with_column(use_case, "carriers", "rating", type=ColumnType.INTEGER)) == {"rating"}
    assert differing(use_case, with_column(use_case, "shipments", "weight", max=2.0)) == set()


def test_a_history_is_its_windows_its_label_and_its_time_zone(use_case: UseCase) -> None:
    history = {"all_parcels_late_1d", "all_parcels_late_3d"}
    (one,) = use_case.features.history
    other = changed(use_case, "features", history=(one.model_copy(update={"windows": (1, 7)}),))
    assert differing(use_case, other) == {"all_parcels_late_3d", "all_parcels_late_7d"}
    assert differing(use_case, changed(use_case, "label", threshold=30.0)) == history
    assert differing(use_case, use_case.model_copy(update={"timezone": "Europe/Berlin"})) == history
    assert differing(use_case, changed(use_case, "label", description="late")) == set()
    grouped = one.model_copy(update={"name": "depot", "by": ("depot",)})
    with_group = changed(use_case, "features", history=(one, grouped))
    heavier = changed(with_group, "features", prior_weight=50.0)
    assert differing(with_group, heavier) == {"depot_late_1d", "depot_late_3d"}


@pytest.mark.parametrize("timing", [{"in_parts": False}, {"available_after": timedelta(days=2)}])
def test_when_the_outcomes_are_known_counts_for_the_histories(use_case: UseCase, timing: dict[str, Any]) -> None:
    sources = {**use_case.sources, "deliveries": use_case.sources["deliveries"].model_copy(update=timing)}
    after = use_case.model_copy(update={"sources": sources})
    assert differing(use_case, after) == {"all_parcels_late_1d", "all_parcels_late_3d"}
    plan: Any = synthetic.job_plan(use_case)
    plan["inputs"]["deliveries"]["when"] = sources["deliveries"].timing
    assert definitions_in_plan(plan) == feature_definitions(after)


def test_whether_it_is_a_category_counts(use_case: UseCase) -> None:
    assert differing(use_case, changed(use_case, "features", categorical=("depot", "carrier", "pieces"))) == {"pieces"}


@pytest.mark.parametrize("kept", ["features", "label"])
def test_the_plan_of_a_job_says_the_same(use_case: UseCase, kept: str) -> None:
    """Rows from before there were digests are told by it."""
    plan: Any = synthetic.job_plan(use_case)
    assert definitions_in_plan(json.loads(json.dumps(plan))) == feature_definitions(use_case)
    plan[kept] = {**plan[kept], **({"prior_weight": 1.0} if kept == "features" else {"threshold": 99.0})}
    same = definitions_in_plan(plan) == feature_definitions(use_case)
    assert same == (kept == "features")  # no history of parcels has groups, so nothing is drawn towards a prior
