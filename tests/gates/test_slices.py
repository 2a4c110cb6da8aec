"""Defects that the gate `slices` alone stops."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines.gates.evidence import Evidence
from pipelines.gates.judgement import details
from pipelines.gates.slices import MOST_KEPT, MOST_NAMED, judge, slice_table
from pipelines.metrics import scores
from pipelines.results import to_json
from tests.gates.planted import ROWS, SETTINGS, bad_in, champion_knows, defect, failed, good, sure_of_one_slice

DEFECTS = {
    "one outcome in a large slice, and wrong there": sure_of_one_slice(),
    "useless in one slice": bad_in("east", np.random.default_rng(5).random(ROWS) * 0.2 + 0.4, simple=np.full(ROWS, 0.5)),
    "worse than the champion in one slice": champion_knows("east"),
    "segment missing": defect(segments={"depot": None}),
    "required slice missing": defect(segments={"depot": np.resize(("north", "east"), ROWS)}),
    "required slice too small": defect(segments={"depot": np.resize(("north",) * 19 + ("south",), ROWS)}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_stopped_by_this_gate_alone(name: str) -> None:
    assert failed(DEFECTS[name]) == ["slices"]


def crowded(values: int) -> Evidence:
    """A segment of thousands of values, as a customer's number would be."""
    return defect(segments={"customer": np.array([f"customer {i % values}" for i in range(ROWS)])})


def test_what_travels_is_bounded_however_many_slices_there_are() -> None:
    verdict = judge(crowded(ROWS), SETTINGS.model_copy(update={"required_slices": {}}))
    assert verdict.passed
    assert len(verdict.numbers["slices"]) == MOST_KEPT
    assert verdict.numbers["all"] == ROWS
    assert len(json.dumps(to_json(verdict))) < 20_000


def test_the_worst_slices_are_kept_by_name_and_the_rest_counted() -> None:
    """Forty slices of fifty that are useless: the sentence names ten of them."""
    values, settings = 50, SETTINGS.model_copy(update={"min_slice_rows": 50, "required_slices": {}})
    evidence = crowded(values)
    bad = np.isin(evidence.segments["customer"], [f"customer {i}" for i in range(40)])
    verdict = judge(replace(evidence, challenger=np.where(bad, 1 - evidence.challenger, evidence.challenger)), settings)
    assert not verdict.passed
    assert verdict.sentence.count("For customer=") == MOST_NAMED
    assert "; and 30 more like these." in verdict.sentence
    few = judge(replace(crowded(200), challenger=np.where(np.arange(ROWS) % 200 == 7, 0.5, evidence.challenger)), settings)
    assert len(few.numbers["slices"]) == MOST_KEPT


def test_the_whole_table_goes_into_a_file_where_the_verdict_has_a_part() -> None:
    settings = SETTINGS.model_copy(update={"required_slices": {}})
    assert details(good(), settings) == {}
    assert len(details(crowded(200), settings)["slices"]["slices"]) == 200  # type: ignore[arg-type, index]


def test_slices_are_those_of_a_plain_selection() -> None:
    """One pass over sorted values finds the rows that a mask per value would."""
    evidence = good()
    for entry in slice_table(evidence, SETTINGS):
        rows = evidence.segments["depot"] == entry["value"]
        assert entry["rows"] == rows.sum()
        assert entry["auc"] == scores(evidence.label[rows], evidence.challenger[rows])["auc"]
