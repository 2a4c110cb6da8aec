"""A use case file is refused with a sentence that names the file, the key and the mend."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.errors import PermanentError
from pipelines.use_case.loader import load_use_case, load_use_cases, read_use_case
from pipelines.use_case.use_case import UseCase

PARCELS: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "use_cases" / "parcels.yaml").read_text())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINYARD_USE_CASES", str(tmp_path))
    return tmp_path


def written(folder: Path, path: str, value: Any) -> Path:
    """The parcels file with one value changed, at a path such as `training.folds`; None takes the key out."""
    data = copy.deepcopy(PARCELS)
    *parents, last = path.split(".")
    place = data
    for part in parents:
        place = place.setdefault(part, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    file = folder / "parcels.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


DEFECTS = [
    ("ownr", "me", r"ownr: unknown key; did you mean 'owner'\?"),
    ("training.candidats", {}, r"training\.candidats: unknown key; did you mean 'candidates'\?"),
    ("contract.shipments.columns.depot.nulable", True, r"depot\.nulable: unknown key; did you mean 'nullable'\?"),
    ("training.candidates.logistic.search.C.lo", 1, r"C\.lo: unknown key; did you mean '(low|log)'\?"),
    ("contract.shipments.columns.type", {"type": "string", "nulable": True}, r"columns\.type\.nulable: .*'nullable'"),
    ("contract.deliveries.rules", [{"id": "a", "lef": "b"}], r"rules\.0\.lef: unknown key; did you mean 'left'"),
    ("scoring.treshold", 0.5, r"scoring\.treshold: unknown key; did you mean 'threshold'"),
    ("owner", None, "owner: this key is required"),
    ("grain", "hour", r"grain: .*'day', 'week' or 'month'.*'hour'"),
    ("timezone", "America/NewYork", "unknown time zone 'America/NewYork'"),
    ("monitoring.window", "hour", r"monitoring\.window: .*'day', 'week' or 'month'"),
    ("schedules.retraining", "0 6 2", r"schedules\.retraining: '0 6 2' is no cron expression that ever comes true"),
    ("schedules.maintenance", "0 6 30 2 *", r"schedules\.maintenance: '0 6 30 2 \*' is no cron expression"),
    ("schedules.retraining", "0 6,18 * * *", r"schedules\.retraining: '0 6,18 \* \* \*' comes twice in one day, at 2024-01-01"),
    ("training.folds", 1, r"training\.folds: .*greater than or equal to 2"),
    ("gates.max_log_loss", float("nan"), r"gates\.max_log_loss: .*finite number"),
    ("contract.shipments.columns.weight.min", float("nan"), r"columns\.weight\.min\.float: .*finite number"),
    ("training.candidates.boosting.estimator", "sklearn.ensemble.HistGradientBoostingClasifier",
     r"unknown estimator .*did you mean 'sklearn\.ensemble\.HistGradientBoostingClassifier'"),
    ("training.candidates.boosting.estimator", "os.system", r"'os\.system' is not allowed: .* starts with .*sklearn"),
    ("training.candidates.logistic.search.C", {"type": "float", "low": 2, "high": 1}, "needs 'low' below 'high'"),
    ("label.source", "delivery", r"label\.source: no table 'delivery' .*did you mean 'deliveries'\?"),
    ("features.entity", "shipment", r"features\.entity: no table 'shipment' .*did you mean 'shipments'\?"),
    ("contract.carriers", None, r"source 'carriers' has no contract; add contract\.carriers"),
    ("sources.carriers", None, "no table 'carriers' among the sources"),
    ("label.column", "dealy", r"label: 'dealy' is no column of deliveries; did you mean 'delay'\?"),
    ("features.date", "shipdate", r"features: 'shipdate' is no column of shipments; did you mean 'ship_date'\?"),
    ("features.categorical", ["depo"], r"no feature 'depo'; did you mean 'depot'\?"),
    ("contract.shipments.key", ["id"], "'id' is used by a key or rule but is no column"),
    ("contract.shipments.key", ["weight"], "'weight' is part of the key, so it cannot be nullable"),
    ("contract.shipments.invariants", [{"id": "v", "measure": "row_count"}], "row_count invariant needs 'max_ratio'"),
    ("sources.shipments.time_column", "ship_day", r"time_column: 'ship_day' is no column .*did you mean 'ship_date'\?"),
    ("sources.shipments.time_column", "depot", "'depot' is a string, must be a date or timestamp"),
    ("sources.shipments.encoding", "utf8x", "unknown encoding 'utf8x'"),
    ("sources.shipments.delimiter", "||", r"delimiter: must be one byte"),
    ("sources.shipments.uri", "{landing}/{month}.csv", r"only \{landing\} and \{partition\} are filled in"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), DEFECTS, ids=[f"{d[0]}={d[1]}"[:60] for d in DEFECTS])
def test_a_defect_is_named_with_the_file_and_the_mend(folder: Path, path: str, value: Any, message: str) -> None:
    with pytest.raises(PermanentError, match=message) as refused:
        read_use_case(written(folder, path, value))
    assert str(refused.value).startswith("parcels.yaml: ")


@pytest.mark.parametrize(
    ("grain", "cron", "fits"),
    [
        ("day", "0 6 * * *", True), ("day", "0 6 2 * *", True), ("day", "0 * * * *", False),
        ("week", "0 6 * * 1", True), ("week", "0 6 2 * *", True), ("week", "0 6 * * 1,5", False),
        ("month", "0 6 2 * *", True), ("month", "0 6 2 */3 *", True), ("month", "0 6 * * 1", False),
    ],
)  # fmt: skip
def test_a_cron_asks_at_most_once_per_partition(folder: Path, grain: str, cron: str, fits: bool) -> None:
    """More rarely is well: it asks about all that is undecided."""
    file = written(folder, "schedules.retraining", cron)
    file.write_text(file.read_text().replace("grain: day", f"grain: {grain}"))
    if fits:
        assert read_use_case(file).schedules.retraining == cron
        return
    with pytest.raises(PermanentError, match=rf"parcels\.yaml: schedules\.retraining: .* comes twice in one {grain}"):
        read_use_case(file)


@pytest.mark.parametrize(
    ("grain", "window", "fits"), [("day", "month", True), ("week", "month", False), ("month", "day", False)]
)
def test_a_window_is_made_of_whole_partitions(folder: Path, grain: str, window: str, fits: bool) -> None:
    file = written(folder, "monitoring.window", window)
    file.write_text(file.read_text().replace("grain: day", f"grain: {grain}"))
    if fits:
        assert read_use_case(file).window == window
        return
    with pytest.raises(PermanentError, match=rf"parcels\.yaml: monitoring\.window: a {window} is not made of whole partitions"):
        read_use_case(file)


@pytest.mark.parametrize(
    ("monitored", "decided", "refused"),
    [
        ("week", "month", None),
        ("month", None, None),
        ("month", "week", r"retraining\.window: a week is shorter than what is monitored at a time, a month"),
        ("day", "hour", r"retraining\.window: .*'day', 'week' or 'month'"),
    ],
)
def test_a_decision_is_about_no_less_than_a_window(
    folder: Path, monitored: str, decided: str | None, refused: str | None
) -> None:
    file = written(folder, "monitoring.window", monitored)
    if decided is not None:
        data = yaml.safe_load(file.read_text())
        data.setdefault("retraining", {})["window"] = decided
        file.write_text(yaml.safe_dump(data))
    if refused is None:
        assert read_use_case(file).decided == (decided or monitored)
        return
    with pytest.raises(PermanentError, match=rf"parcels\.yaml: {refused}"):
        read_use_case(file)


def test_nobody_goes_around_the_approvers_by_moving_the_alias(folder: Path) -> None:
    file = written(folder, "approval", "required")
    file.write_text(file.read_text() + "alias_moved: accept\n")
    with pytest.raises(PermanentError, match="would let who moves the alias go around 'approval: required'"):
        read_use_case(file)
    assert read_use_case(written(folder, "alias_moved", "accept")).alias_moved == "accept"


def test_every_defect_of_a_file_is_named_at_once(folder: Path) -> None:
    file = written(folder, "ownr", "me")
    file.write_text(file.read_text().replace("holdout_days: 3", "holdout_days: 0"))
    with pytest.raises(PermanentError, match=r"(?s)holdout_days.*ownr"):
        read_use_case(file)


def test_the_name_is_the_files_own(folder: Path) -> None:
    with pytest.raises(PermanentError, match="is 'letters', must be the file's own, 'parcels'"):
        read_use_case(written(folder, "name", "letters"))


@pytest.mark.parametrize(("text", "message"), [("a: [1", "not valid YAML"), ("just words", "is a mapping of keys")])
def test_a_file_that_is_no_mapping_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "parcels.yaml").write_text(text)
    with pytest.raises(PermanentError, match=f"parcels.yaml: .*{message}"):
        load_use_case("parcels")


def test_one_broken_file_leaves_the_others_alone(folder: Path) -> None:
    written(folder, "tags", ["good"])
    (folder / "broken.yaml").write_text("name: broken")
    good, broken = load_use_cases()
    assert [u.name for u in good] == ["parcels"]
    assert list(broken) == ["broken.yaml"]
    assert "title: this key is required" in broken["broken.yaml"]


def test_an_unknown_use_case_names_the_nearest(folder: Path) -> None:
    written(folder, "tags", [])
    with pytest.raises(PermanentError, match=r"no use case 'parcel' .*did you mean 'parcels'\?"):
        load_use_case("parcel")


def test_a_use_case_is_frozen(use_case: UseCase) -> None:
    with pytest.raises(ValueError, match="frozen"):
        use_case.owner = "somebody else"  # type: ignore[misc]


def test_features_are_named_in_the_order_of_the_file(use_case: UseCase) -> None:
    assert use_case.features.names[:2] == ("depot", "carrier")
    assert use_case.features.names[-2:] == ("all_parcels_late_1d", "all_parcels_late_3d")
    assert "depot" not in use_case.numeric
    assert use_case.features.lookback_days == 3


def test_every_use_case_of_the_repository_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINYARD_USE_CASES", raising=False)
    good, broken = load_use_cases()
    assert broken == {}
    assert "flight_delay" in [u.name for u in good]


def test_a_copy_with_other_features_has_their_numbers(use_case: UseCase) -> None:
    """What was worked out of a use case before must not travel into its copy."""
    assert "pieces" in use_case.numeric
    spec = use_case.features
    more = use_case.model_copy(
        update={"features": spec.model_copy(update={"expressions": {**spec.expressions, "half": "pieces / 2"}})}
    )
    assert set(more.numeric) - set(use_case.numeric) == {"half"}
