"""The model card: the same figures as worked out elsewhere, on both pages, and the truth about what became of the model."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from pipelines.errors import PermanentError
from pipelines.gates import Judged, evaluate_candidates
from pipelines.pages.model_card import Card, read_card
from pipelines.pages.model_status import version_status
from pipelines.pages.reports import cards, known_reports, read_report
from pipelines.promotion import Proposal, approvals, keep, model_card, outcome, promote, register, rollback
from pipelines.promotion.model_card_figures import intervals
from pipelines.promotion.model_card_record import _about as about
from pipelines.promotion.proposal import Registered
from pipelines.results import Verdict
from pipelines.training import Rows, TrainingPlan, TrainingRun, fit, train_candidate
from pipelines.use_case import UseCase
from pipelines.workspace import Decision, Kind
from tests.conftest import AFTER, World, changed

HOSTILE = "<script>alert(1)</script> | [x](javascript:alert(2)) <img src=x onerror='alert(3)'>"


class Page(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.inside = ""
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.cells: list[str] = []
        self.headings: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag in ("th", "td"):
            self.cells.append("")
        if tag == "h2":
            self.headings.append("")
        self.inside = tag if tag not in ("em", "strong") else self.inside

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag not in ("em", "strong") else self.inside

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.inside in ("th", "td"):
            self.cells[-1] += data
        if self.inside == "h2":
            self.headings[-1] += data


def record_of(world: World, version: int = 1) -> dict[str, Any]:
    return model_card.load_record(world.workspace, "parcels", version)


def judged_rows(world: World, use_case: UseCase, version: int = 1) -> tuple[Rows, Any]:
    """The rows of a version and what it was judged as, fitted once more from what was recorded."""
    meta = world.workspace.registry.load("parcels", version).meta
    plan = TrainingPlan(
        "parcels", meta["partition"], tuple(meta["partitions"]), meta["versions"], meta["holdout_from"],
        meta["trained_through"], (meta["candidate"],), None, 0,
    )  # fmt: skip
    rows = TrainingRun(world.workspace, use_case, plan).rows
    return rows, fit(use_case, use_case.training.candidates[meta["candidate"]], meta["params"], rows.fit)


def test_the_figures_are_those_that_come_out_elsewhere(one_champion: World, use_case: UseCase) -> None:
    record = record_of(one_champion)
    rows, pipeline = judged_rows(one_champion, use_case)
    label = rows.holdout["label"].to_numpy()
    probability = pipeline.predict_proba(rows.holdout[list(use_case.features.names)])[:, 1]
    found = {m["metric"]: m for m in record["metrics"]}
    assert found["auc"]["value"] == pytest.approx(roc_auc_score(label, probability))
    assert found["log_loss"]["value"] == pytest.approx(log_loss(label, probability))
    groups = pd.qcut(pd.Series(probability).rank(method="first"), 10, labels=False)
    means = pd.DataFrame({"p": probability, "y": label}).groupby(groups.to_numpy()).mean()
    assert [c["observed"] for c in record["calibration"]] == pytest.approx(means["y"].tolist(), abs=0.03)
    assert sum(c["rows"] for c in record["calibration"]) == len(label)
    gaps = sum(c["rows"] * abs(c["predicted"] - c["observed"]) for c in record["calibration"]) / len(label)
    assert found["calibration_error"]["value"] == pytest.approx(gaps)
    north = rows.holdout["depot"] == "north"
    told = next(s for s in record["slices"] if s["value"] == "north")
    assert (told["rows"], told["auc"]) == (north.sum(), pytest.approx(roc_auc_score(label[north], probability[north])))
    acted = probability >= 0.5
    assert record["worth"]["value"] == 10 * (acted & (label == 1)).sum() - 4 * (acted & (label == 0)).sum()


def test_the_data_is_told_as_it_was(one_champion: World, use_case: UseCase) -> None:
    data = record_of(one_champion)["data"]
    rows, _ = judged_rows(one_champion, use_case)
    assert [data[part]["rows"] for part in ("fit", "holdout", "all")] == [len(rows.fit), len(rows.holdout), len(rows.all)]
    assert data["holdout"]["days"] == use_case.training.holdout_days
    assert data["all"]["positive_share"] == pytest.approx(rows.all["label"].mean())
    assert data["all"]["missing"] == {"weight": pytest.approx(rows.all["weight"].isna().mean())}
    assert data["tables"] == one_champion.workspace.registry.load("parcels", 1).meta["versions"]


def test_intervals_hold_the_value_and_every_candidate_is_listed(two_champions: World, use_case: UseCase) -> None:
    for version in (1, 2):
        record = record_of(two_champions, version)
        assert all(m["low"] <= m["value"] <= m["high"] for m in record["metrics"])
    first = record_of(two_champions, 1)
    assert {c["candidate"] for c in first["candidates"]} == set(use_case.training.candidates)
    assert sum(c["chosen"] for c in first["candidates"]) == 1
    assert [m["champion"] for m in first["metrics"]] == [None] * 3
    assert all(m["champion"] is not None for m in record_of(two_champions, 2)["metrics"])


@pytest.mark.long
def test_the_interval_of_the_auc_is_that_of_drawing_whole_days() -> None:
    random = np.random.default_rng(1)
    day = np.repeat(np.arange(5), 30)
    label = random.integers(0, 2, 150)
    probability = np.round(np.clip(0.5 + 0.2 * (label - 0.5) + random.normal(0, 0.2, 150), 0.1, 0.9), 1)  # with ties
    draws = np.random.default_rng(0).integers(0, 5, (2000, 5))
    chosen = [np.concatenate([np.flatnonzero(day == d) for d in draw]) for draw in draws]
    aucs = [roc_auc_score(label[rows], probability[rows]) for rows in chosen]
    losses = [log_loss(label[rows], probability[rows]) for rows in chosen]
    found = intervals(label, probability, day)
    assert found["auc"] == pytest.approx(np.quantile(aucs, [0.025, 0.975]))
    assert found["log_loss"] == pytest.approx(np.quantile(losses, [0.025, 0.975]))
    assert set(intervals(label[:60], probability[:60], day[:60]).values()) == {None}


def test_the_features_that_cause_the_label_are_the_important_ones(one_champion: World, use_case: UseCase) -> None:
    found = record_of(one_champion)["importances"]
    assert {f["feature"] for f in found["features"]} == set(use_case.features.names)
    assert found["features"][0]["feature"] == "distance"
    assert all(f["low"] <= f["mean"] <= f["high"] for f in found["features"])
    assert (found["rows"], found["repeats"]) == (record_of(one_champion)["data"]["holdout"]["rows"], 2)


def test_page_and_markdown_say_the_same(two_champions: World) -> None:
    for version in (1, 2):
        card = read_card(two_champions.workspace, "parcels", version)
        page, lines = Page(card.page), card.markdown.splitlines()
        rows = [line[2:-2].split(" | ") for line in lines if line.startswith("| ") and "---" not in line]
        cells = [unescape(re.sub(r"\\(.)", r"\1", cell)) for row in rows for cell in row]
        assert sum(any(c.isdigit() for c in cell) for cell in cells) > 80
        assert [cell.strip("*") for cell in cells] == page.cells
        assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == page.headings
        # The plots say it too.
        importances = record_of(two_champions, version)["importances"]["features"]
        drawn = re.findall(r">([+-]\d\.\d{4}) +\(([+-]\d\.\d{4}) to ([+-]\d\.\d{4})\)</text>", card.page)
        assert drawn == [tuple(f"{f[k]:+.4f}" for k in ("mean", "low", "high")) for f in importances]


def test_hostile_text_is_shown_and_does_nothing(one_champion: World) -> None:
    record = record_of(one_champion) | {"purpose": HOSTILE, "owner": HOSTILE, "limits": [HOSTILE], "title": HOSTILE}
    record["slices"] = [s | {"value": HOSTILE} for s in record["slices"]]
    record["importances"]["features"][0]["feature"] = HOSTILE
    made = Decision(HOSTILE, "parcels", Kind.PROMOTED, "p", HOSTILE, HOSTILE, "r", {}, 1, "2024-03-09")
    card = Card(record, [made])
    page = Page(card.page)
    assert not {"script", "img", "iframe", "link", "a", "object"} & set(page.tags)
    assert not [n for n, v in page.attributes if n.startswith("on") or n == "src" or ("javascript" in str(v) and n == "href")]
    assert HOSTILE in " ".join(page.words)
    markdown = card.markdown
    assert "<" not in markdown
    assert "](" not in markdown.replace("\\](", "")
    heads = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in heads} <= {4, 5, 6, 7}


def test_the_card_says_what_the_model_is_not_for(published: World) -> None:
    limited = published.use_case.model_copy(update={"limits": ("not for parcels by ship",)})
    proposal = Proposal(published.training(7, limited), None, Registered(1, "uri", False))  # type: ignore[arg-type]
    assert about(proposal)["limits"] == ["not for parcels by ship"]
    assert about(proposal)["label"] == "arrives 15 or more minutes late; a lost parcel has no label"


def test_a_page_fetches_nothing_and_can_be_printed(one_champion: World) -> None:
    page = read_card(one_champion.workspace, "parcels").page
    assert "@media print" in page
    assert "url(" not in page
    assert "://" not in page.replace("http://www.w3.org", "")


def test_a_card_is_a_report_and_an_artifact_of_the_run(one_champion: World) -> None:
    workspace = one_champion.workspace
    assert cards(workspace, "parcels") == [1]
    assert [r.name for r in known_reports(workspace, "parcels", ["models"])] == ["v1.html"]
    assert b"Model card" in read_report(workspace, "parcels", "models", "v1.html")
    assert "arrives 15 or more minutes late" in read_card(workspace, "parcels").markdown
    run = workspace.registry.version("parcels", 1).run_id
    assert "model_card.json" in {f.path for f in workspace.registry.client.list_artifacts(run)}
    for name in ("v1.json", "v1.md", "../../secret.html"):
        with pytest.raises(PermanentError, match="no such report"):
            read_report(workspace, "parcels", "models", name)


def challenger(world: World, use_case: UseCase) -> Judged:
    training = world.training(13, changed(use_case, "training", max_history=timedelta(days=6)))
    return Judged(training, evaluate_candidates(training, [train_candidate(training, "logistic")], AFTER))


def status(world: World, version: int) -> tuple[str, str]:
    found = version_status(record_of(world, version), world.workspace.ledger.decisions("parcels"))
    return found.word, found.approved


def test_what_is_kept_has_no_card_and_what_waits_says_so(one_champion: World, simple_only: UseCase) -> None:
    world, strict = one_champion, simple_only.model_copy(update={"approval": "required"})
    judged = challenger(world, strict)
    keep(replace(judged, evaluation=replace(judged.evaluation, passed=False)))
    assert cards(world.workspace, "parcels") == [1]
    with pytest.raises(PermanentError, match="no model v2 in the registry; there are v1"):
        read_card(world.workspace, "parcels", 2)
    proposal = Proposal(judged.training, judged.evaluation, register(judged))
    assert status(world, 2) == ("awaiting approval", "awaiting approval")
    assert "awaiting approval" in page_of(world, 2)
    outcome.keep_because(proposal, "v2 was not promoted: rejected by ada: too soon.", "ada", 2)
    assert status(world, 2)[0] == "not promoted"
    assert "refused: ada" in page_of(world, 2)
    approvals.ask(proposal)
    assert status(world, 2) == ("awaiting approval", "awaiting approval")
    assert "awaiting approval" in page_of(world, 2)
    approvals._record(proposal, kind=Kind.APPROVED, actor="eve", why="approved by eve", at="2013-04-01")
    assert status(world, 2)[0] == "approved"
    assert status(world, 2)[1].startswith("by eve, ")
    promote(replace(proposal, training=replace(proposal.training, workspace=world.at("again"))), "eve")
    assert status(world, 2)[0] == "champion"
    assert "by eve" in page_of(world, 2)
    assert "replaced by v2" in page_of(world, 1)


def page_of(world: World, version: int) -> str:
    return read_report(world.workspace, "parcels", "models", f"v{version}.html").decode()


def test_after_a_rollback_both_cards_say_so(two_champions: World) -> None:
    world = two_champions
    assert status(world, 2)[0] == "champion"
    assert "automatic, by the setting" in status(world, 2)[1]
    rollback(world.workspace, world.use_case, None, "late parcels are missed", "ada")
    assert (status(world, 1)[0], status(world, 2)[0]) == ("champion", "rolled back")
    for version in (1, 2):
        assert "late parcels are missed" in page_of(world, version)
    assert "rolled back on" in page_of(world, 2)
    assert "champion again" in page_of(world, 1)


def test_a_clock_that_is_behind_changes_no_card(two_champions: World, simple_only: UseCase) -> None:
    """Planted: who rolls back, registers and answers lives years before who promoted. The ledger's order tells."""
    world = two_champions
    world.workspace.clock.set(datetime(2001, 1, 1, tzinfo=UTC))
    rollback(world.workspace, world.use_case, None, "late parcels are missed", "ada")
    assert (status(world, 1)[0], status(world, 2)[0]) == ("champion", "rolled back")
    judged = challenger(world, simple_only.model_copy(update={"approval": "required"}))
    judged = replace(judged, evaluation=replace(judged.evaluation, passed=True, verdicts=(Verdict("q", True, "good"),)))
    proposal = Proposal(judged.training, judged.evaluation, register(judged))
    assert status(world, 3)[0] == "awaiting approval"
    approvals.ask(proposal)
    world.workspace.clock.set(datetime(2000, 1, 1, tzinfo=UTC))
    outcome.keep_because(proposal, "v3 was not promoted: rejected by ada: too soon.", "ada", 3)
    assert status(world, 3)[0] == "not promoted"


def test_the_page_that_is_served_knows_what_was_decided_elsewhere(two_champions: World) -> None:
    world = two_champions
    late = world.days[13].next.next.key
    moved = Decision("x", "parcels", Kind.ALIAS_ACCEPTED, late, "it was accepted", "alias check", "r", {}, 1, late)
    world.workspace.ledger.move_champion(moved, 2)
    assert "replaced by v1" in page_of(world, 2)


def test_a_card_that_cannot_be_drawn_does_not_stop_a_rollback(two_champions: World) -> None:
    world = two_champions
    (Path(world.workspace.environment.reports) / "parcels/models/v1.json").write_text("{")
    assert rollback(world.workspace, world.use_case, None, "late parcels are missed", "ada").champion == 1


def test_a_version_from_before_there_were_cards_is_said_to_have_none(one_champion: World) -> None:
    (Path(one_champion.workspace.environment.reports) / "parcels/models/v1.json").unlink()
    with pytest.raises(PermanentError, match="v1: has no model card; it was registered before cards were written"):
        read_card(one_champion.workspace, "parcels", 1)


def test_without_a_champion_there_is_no_card_of_it(published: World) -> None:
    with pytest.raises(PermanentError, match="there is no champion yet"):
        read_card(published.workspace, "parcels")


def test_what_is_not_known_is_left_out_and_not_made_up(one_champion: World) -> None:
    record = record_of(one_champion) | {"slices": [], "worth": None, "crashed": ["forest"], "warnings": None}
    record["metrics"] = [m | {"low": None, "high": None} for m in record["metrics"]]
    markdown = Card(record, []).markdown
    assert "No segments are declared" in markdown
    assert "its worth in money is not known" in markdown
    assert "Candidate forest crashed" in markdown
    assert "The data was not assessed" in markdown
    assert "| – | – |" in markdown


def test_the_record_is_plain_json(one_champion: World) -> None:
    record = record_of(one_champion)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["reproduction"]["digest"] == one_champion.workspace.registry.version("parcels", 1).tags.digest
    assert Card(record, []).title == "Model card: Late parcels, v1"
