"""How good a model is, on its card: scores, slices, calibration, importance of the features, worth, gates."""

from __future__ import annotations

from typing import Any

from pipelines.pages.figures import UNKNOWN, count, figure, money
from pipelines.pages.model_card_blocks import Bars, Block, Calibration, Section, Table, Text

_METRICS = {
    "auc": "AUC (higher is better)",
    "log_loss": "Log loss (lower is better)",
    "calibration_error": "Calibration error (lower is better)",
}


def quality(record: dict[str, Any]) -> list[Block]:
    then = record["champion_then"]
    beside = f"Champion then, v{then}" if then else "Champion then: none"
    head = ("On the holdout", "Value", f"{record['confidence']:.0%} interval", beside)
    rows = tuple((_METRICS[m["metric"]], figure(m["value"]), _interval(m), figure(m["champion"])) for m in record["metrics"])
    note = (
        f"Intervals: {record['confidence']:.0%}, by drawing whole days of the holdout anew, as rows of one day are not "
        "independent. The champion of then was scored on the same rows."
    )
    return [Section("Quality"), Table(head, rows), Text(note, soft=True)]


def _interval(metric: dict[str, Any]) -> str:
    return UNKNOWN if metric["low"] is None else f"{figure(metric['low'])} to {figure(metric['high'])}"


def slices(record: dict[str, Any]) -> list[Block]:
    if not record["slices"]:
        return [Section("Slices"), Text("No segments are declared, or their gate was not asked.")]
    head = ("Slice", "Rows", "AUC", "Log loss", "Champion's log loss", "Judged")
    rows = tuple(
        (f"{s['segment']} = {s['value']}", count(s["rows"]), figure(s["auc"]), figure(s["log_loss"]),
         figure(s.get("champion_log_loss")), "yes" if s["judged"] else "too few rows")
        for s in record["slices"]
    )  # fmt: skip
    return [Section("Slices"), Table(head, rows)]


def calibration(record: dict[str, Any]) -> list[Block]:
    head = ("Rows, by rising probability", "Rows", "Predicted", "Came true")
    found = record["calibration"]
    rows = tuple(
        (f"Group {i}", count(p["rows"]), figure(p["predicted"]), figure(p["observed"])) for i, p in enumerate(found, start=1)
    )
    points = tuple((p["predicted"], p["observed"]) for p in found)
    return [Section("Calibration"), Calibration("Mean prediction and the share that came true", Table(head, rows), points)]


def importances(record: dict[str, Any]) -> list[Block]:
    found = record["importances"]
    features = found["features"]
    title = "What shuffling a feature's values costs in log loss"
    rows = tuple((f["feature"], _cost(f["mean"]), f"{_cost(f['low'])} to {_cost(f['high'])}") for f in features)
    values = tuple((f["mean"], f["low"], f["high"]) for f in features)
    note = (
        f"On {found['rows']:,} rows of the holdout, {found['repeats']} times per feature: mean, lowest and highest. Features "
        "that say the same share their importance, so each alone may look like nothing."
    )
    table = Table(("Feature", "Log loss", "Lowest to highest"), rows)
    return [Section("Importance of the features"), Bars(title, table, values), Text(note, soft=True)]


def _cost(value: float) -> str:
    return f"{value:+.4f}"


def worth(record: dict[str, Any]) -> list[Block]:
    worth = record["worth"]
    if worth is None:
        return [Section("Worth"), Text("The use case states no value per outcome, so its worth in money is not known.")]
    matrix, rows = worth["matrix"], record["data"]["holdout"]["rows"]
    unit = matrix["unit"]
    text = (
        f"Acting from a probability of {worth['threshold']:g} on would have been worth {money(worth['value'], unit)} on the "
        f"{rows:,} rows of the holdout, against doing nothing: {worth['value'] / rows * 1000:,.0f} {unit} per 1,000 rows."
    )
    table = Table(
        (f"{unit} per row", "It came true", "It did not"),
        (
            ("Acted", f"{matrix['true_positive']:,g}", f"{matrix['false_positive']:,g}"),
            ("Did not act", f"{matrix['false_negative']:,g}", f"{matrix['true_negative']:,g}"),
        ),
    )
    return [Section("Worth"), Text(text), table]


def gates(record: dict[str, Any]) -> list[Block]:
    gates = record["gates"]
    rows = tuple((g["gate"].replace("_", " "), "passed" if g["passed"] else "failed", g["sentence"]) for g in gates)
    failed = sum(not g["passed"] for g in gates)
    text = f"{len(gates) - failed} of {len(gates)} gates passed. A version is registered only if all of them do."
    return [Section("Gates"), Text(text), Table(("Gate", "Verdict", "What it says"), rows, left=2, wide=True)]
