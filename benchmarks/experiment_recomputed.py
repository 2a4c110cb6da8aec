"""An experiment computed again from its tables, by none of the pipelines' code: where do weights, money and page agree?

    .venv/bin/python benchmarks/experiment_recomputed.py STATE [--name EXPERIMENT] [--page FILE]

Reads Parquet files by Delta's list of them. Places are hashed anew; money is summed by row; an interval's ends are where the
mixture's Bayes factor, integrated numerically, is 1 / chance; a chance to be the best is Student's t, or drawn anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable
from scipy import integrate, stats

NAME, KEY, SLOTS, DRAWS = "flight_delay", "flight_id", 10_000, 4_000
WORTH = {(True, 1): 45.0, (True, 0): -15.0, (False, 1): 0.0, (False, 0): 0.0}
CLOSE = 1e-9
SUREST = math.log(1000)  # a right assignment is stopped once in so many experiments


def table(state: Path, name: str) -> pd.DataFrame:
    delta = DeltaTable(str(state / "lake" / NAME / name))
    adds = pa.table(delta.get_add_actions(flatten=True)).select(["path", "partition.partition"]).to_pandas()
    parts = zip(adds["path"], adds["partition.partition"], strict=True)
    return pd.concat([pd.read_parquet(state / "lake" / NAME / name / path).assign(partition=key) for path, key in parts])


@dataclass
class Report:
    """A line per claim: how many were compared, the largest difference, and how much was allowed."""

    page: str
    agree: bool = True
    found: dict[str, list[tuple[float, float, str]]] = field(default_factory=dict)

    def same(self, claim: str, told: float | None, again: float | None, allowed: float = CLOSE, where: str = "") -> None:
        unlike = (told is None) != (again is None)
        apart = math.inf if unlike else 0.0 if told is None or again is None else abs(told - again) / max(1.0, abs(again))
        self.found.setdefault(claim, []).append((apart, allowed, f"{where}: {told} told, {again} computed"))

    def said(self, claim: str, words: str) -> None:
        self.same(claim, float(words in self.page), 1.0, where=words)

    def tell(self) -> bool:
        for claim, compared in self.found.items():
            apart, allowed, where = max(compared, key=lambda each: each[0] - each[1])
            wrong = sum(each[0] > each[1] for each in compared)
            print(f"{claim:<62} {len(compared):>7,} compared, at most {apart:.1e} apart (of {allowed:.0e}), {wrong} differ")
            if wrong:
                self.agree = False
                print(f"    {where}")
        return self.agree


@dataclass
class Lived:
    """The experiment: its rows of the ledger in order, its rows of the predictions, and these where they are labelled."""

    declared: dict[str, Any]
    versions: dict[str, int]
    ledger: list[dict[str, Any]]
    rows: pd.DataFrame
    labelled: pd.DataFrame

    @property
    def chance(self) -> float:
        return self.declared["false_better"] / len(self.declared["challengers"])

    @property
    def digits(self) -> int:
        """Of figures per row on the page: one more than the smallest useful gain has, and two at least."""
        return max(2, 1 - math.floor(math.log10(self.declared["minimum_effect"])))

    def gone(self, before: float = math.inf) -> set[str]:
        """The challengers that a guard had taken out before a position of the ledger."""
        guards = [row for row in self.ledger if row["kind"] == "experiment guard" and row["position"] < before]
        return {row["evidence"]["variant"] for row in guards}

    @property
    def planned(self) -> int:
        return (pd.Timestamp(self.declared["last"]) - pd.Timestamp(self.ledger[0]["effective_from"])).days + 1


def lived(state: Path, name: str | None) -> Lived:
    decisions = table(state, "decisions").sort_values("position")
    told = [row | {"evidence": json.loads(row["evidence"])} for row in decisions.to_dict("records")]
    mine = [row for row in told if row["kind"].startswith("experiment") and name in (None, row["evidence"]["experiment"])]
    rows = table(state, "predictions")
    rows = rows[rows["variant"].notna() & (rows["partition"] >= mine[0]["effective_from"])]
    labelled = rows.merge(table(state, "labels")[["partition", KEY, "label"]], on=["partition", KEY])
    labelled["worth"] = [WORTH[bool(act), int(label)] for act, label in zip(labelled["act"], labelled["label"], strict=True)]
    right = np.where(labelled["label"] == 1, labelled["probability"], 1 - labelled["probability"])
    labelled["metric"] = labelled["worth"] if mine[0]["evidence"]["declared"]["metric"] == "money" else np.log(right)
    champion = labelled[labelled["variant"] == "champion"].set_index(["partition", KEY])
    at = pd.MultiIndex.from_frame(labelled[["partition", KEY]])
    for column in ("worth", "metric"):
        labelled[f"{column}_gain"] = labelled[column].to_numpy() - champion[column].reindex(at).to_numpy()
    evidence = mine[0]["evidence"]
    return Lived(evidence["declared"], evidence["versions"], mine, rows, labelled)


# who serves whom -----------------------------------------------------------------------------------------------------


def owners_on(about: Lived, partition: str) -> list[str]:
    """Of each slot who had it, by the rows of the ledger that were in force."""
    force = [row for row in about.ledger if row["effective_from"] <= partition]
    with_owners = [row for row in force if "owners" in row["evidence"]]
    newest = max(enumerate(with_owners), key=lambda each: (each[1]["effective_from"], each[0]))[1]
    gone = {row["evidence"]["variant"] for row in force if row["kind"] == "experiment guard"}
    owners = [name for name, count in newest["evidence"]["owners"] for _ in range(count)]
    return ["champion" if name in gone else name for name in owners]


def check_assignment(about: Lived, report: Report) -> None:
    salt, unit = about.declared["salt"] or about.declared["name"], about.declared["unit"]
    for partition, rows in about.rows.groupby("partition"):
        owners = np.array(owners_on(about, partition))
        digests = [hashlib.sha256(salt.encode() + b"\0" + each.encode()).hexdigest() for each in rows["unit"]]
        wanted = owners[[int(digest[:16], 16) % SLOTS for digest in digests]]
        serves = np.where(np.isin(wanted, rows["variant"].unique()), wanted, "champion")  # who cannot score does not serve
        share = {name: float((owners == name).mean()) for name in about.versions}
        report.same("rows whose unit is the key", (rows["unit"] != rows[KEY]).sum(), 0) if unit is None else None
        report.same("rows assigned by hash and slots", (rows["assigned"] == wanted).sum(), len(rows), where=partition)
        right, version = rows["served"] == (rows["variant"] == serves), rows["variant"].map(about.versions)
        report.same("rows served by whom they are assigned to", right.sum(), len(rows), where=partition)
        report.same("rows of the variant's version", (rows["model_version"] == version).sum(), len(rows), where=partition)
        report.same("largest difference of a row's weight", abs(rows["weight"] - rows["variant"].map(share)).max(), 0)
        report.same("keys that are served once", rows[rows["served"]][KEY].nunique(), rows[KEY].nunique(), where=partition)
        report.same("rows per key", len(rows), rows[KEY].nunique() * rows["variant"].nunique(), where=partition)


def check_slots(about: Lived, report: Report) -> None:
    """A change of weights moves as few slots as the weights allow."""
    told = [row for row in about.ledger if "owners" in row["evidence"]]
    for before, after in pairwise(told):
        one = np.array(owners_on(about, before["effective_from"]))
        other = np.array([name for name, count in after["evidence"]["owners"] for _ in range(count)])
        least = sum(max(0, int((other == name).sum() - (one == name).sum())) for name in about.versions)
        report.same("slots that moved, as few as can be", int((one != other).sum()), least, where=after["effective_from"])
        shares = {name: float((other == name).mean()) for name in about.versions}
        for name, weight in after["evidence"]["weights"].items():
            report.same("weights of the ledger are its slots", weight, shares[name], where=after["effective_from"])


def check_shares(about: Lived, report: Report) -> None:
    """Units that come for the first time are drawn by the weights: the e-value, one unit after the other."""
    names, seen, expected, evidence = list(about.versions), np.zeros(len(about.versions)), np.zeros(len(about.versions)), 0.0
    served = about.rows[about.rows["served"]].drop_duplicates("unit")
    for partition, rows in served.groupby("partition"):
        owners = np.array(owners_on(about, partition))
        share = np.array([(owners == name).mean() for name in names])
        tilted = share * (seen + 100 * share) / (expected + 100 * share)
        prior = tilted / tilted.sum() * (100 + seen.sum())
        for i in rows["variant"].map(names.index):
            evidence += math.log(prior[i] / prior.sum() / share[i])
            prior[i] += 1
        counts = rows["variant"].value_counts().reindex(names, fill_value=0).to_numpy()
        seen, expected = seen + counts, expected + counts.sum() * share
    by_weight = expected.round(1).tolist()
    print(f"new units served {seen.astype(int).tolist()} of {names}, by the weights {by_weight}; log e {evidence:+.2f}")
    stopped = "the shares that were served" in about.ledger[-1]["why"]
    report.same("the shares' check stops what it has to", float(stopped), float(evidence > SUREST))


# what it is worth ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Days:
    """Of rows by partition: how many, the sum of a column, the spread of a row."""

    count: int
    rows: float
    first: float
    mean: float
    spread: float


def by_day(rows: pd.DataFrame, column: str) -> Days:
    sums = rows.groupby("partition")[column].agg(["size", "sum"]).sort_index()
    mean, size = rows[column].mean(), sums["size"]
    between = (size * (sums["sum"] / size - mean) ** 2).sum() / (len(sums) - 1) if len(sums) > 2 else 0.0
    spread = max(float(between), float(rows[column].var(ddof=0)))
    return Days(len(sums), float(len(rows)), float(size.iloc[0]), float(mean), spread)


def prior_of(days: Days, chance: float, planned: int) -> float:
    log = -2 * math.log(chance)
    return planned / 2 * days.first / (log + math.log(1 + log))


def bayes_factor(days: Days, prior: float, at: float) -> float:
    """Of some effect size, normal with 1 / `prior` for variance, against a mean of `at`; the scale's prior is Haar's."""
    scatter, off = (days.count - 1) * days.spread, days.rows * (days.mean - at) ** 2
    shrunk = off * prior / (days.rows + prior)

    def log_mass(total: float) -> float:
        top = math.sqrt(total / days.count)  # where the integrand is largest

        def over(log_sigma: float) -> float:
            sigma = top * math.exp(log_sigma)
            return math.exp(days.count / 2 - days.count * log_sigma - total / (2 * sigma**2))

        wide = 12 / math.sqrt(days.count)
        area = integrate.quad(over, -wide, 3 * wide, limit=400, epsabs=0, epsrel=1e-10)[0]
        return math.log(area) - days.count * math.log(top)

    return math.exp(0.5 * math.log(prior / (days.rows + prior)) + log_mass(scatter + shrunk) - log_mass(scatter + off))


def half_width(days: Days, count: int, rows: float, prior: float, chance: float) -> float:
    """Where (S + r d^2) / (S + r d^2 p / (r + p)) is as large as the chance asks for, solved for d."""
    ratio = math.exp(2 / count * (math.log(chance) + 0.5 * math.log(prior / (rows + prior))))
    left = ratio - prior / (rows + prior)
    return math.inf if left <= 0 else math.sqrt((count - 1) * days.spread * (1 - ratio) / (rows * left))


def needed(days: Days, chance: float, planned: int, effect: float) -> int | None:
    prior, each = prior_of(days, chance, planned), days.rows / days.count
    for count in range(2, 2000):
        if half_width(days, count, count * each, prior, chance) + 0.84 * math.sqrt(days.spread / count / each) <= effect:
            return count
    return None


def check_figures(about: Lived, report: Report) -> None:
    """Of each row of the ledger, by the partitions that were labelled then."""
    for row in about.ledger:
        if "figures" not in row["evidence"]:
            continue
        known = about.labelled[about.labelled["partition"].isin(row["evidence"]["labelled"])]
        served = known[known["served"]]
        report.same("money gained against all-champion", row["effect"], served["worth_gain"].sum(), where=row["id"])
        for told in row["evidence"]["figures"]:
            _check_figure(about, report, told, known, served, row["effective_from"])


def _check_figure(
    about: Lived, report: Report, told: dict[str, Any], known: pd.DataFrame, served: pd.DataFrame, where: str
) -> None:
    own = served[served["variant"] == told["variant"]]
    report.same("rows that a variant served", told["own_rows"], len(own), where=where)
    if len(own):
        _check_told(about, report, "own rows", (told["own"], told["own_low"], told["own_high"]), by_day(own, "metric"), where)
    if told["variant"] == "champion":
        return
    paired = known[known["variant"] == told["variant"]]
    report.same("rows that are compared", told["rows"], len(paired), where=where)
    if len(paired):
        days = by_day(paired, "metric_gain")
        _check_told(about, report, "paired gain", (told["gain"], told["low"], told["high"]), days, where)
        again = needed(days, about.chance, about.planned, about.declared["minimum_effect"]) if days.count > 1 else None
        report.same("partitions that an answer needs", told["needed"], again, where=where)


def _check_told(
    about: Lived, report: Report, of: str, told: tuple[float, float | None, float | None], days: Days, where: str
) -> None:
    report.same(f"{of}: mean per row", told[0], days.mean, where=where)
    prior = prior_of(days, about.chance, about.planned)
    half = half_width(days, days.count, days.rows, prior, about.chance) if days.count > 1 else math.inf
    for end, sign in ((told[1], -1), (told[2], 1)):
        report.same(f"{of}: ends of the interval", end, days.mean + sign * half if math.isfinite(half) else None, where=where)
        if end is not None and days.spread:
            factor = bayes_factor(days, prior, end)
            report.same(f"{of}: chance x Bayes factor there is 1", factor * about.chance, 1.0, 1e-6, where)


# thompson ------------------------------------------------------------------------------------------------------------


def check_thompson(about: Lived, report: Report) -> None:
    """Weights follow the posterior chance to be the best; a change is allowed four standard errors of its 4,000 draws."""
    if about.declared["policy"] != "thompson":
        return
    for row in about.ledger:
        if row["kind"] != "experiment weights" or len(row["evidence"]["labelled"]) < 2:
            continue
        known = about.labelled[about.labelled["partition"].isin(row["evidence"]["labelled"])]
        left = [name for name in about.versions if name not in about.gone(row["position"])]
        chances = best(known, left)
        wanted = bounded(chances, about.declared["floor"], about.declared["ceiling"])
        error = 4 * max(math.sqrt(p * (1 - p) / DRAWS) for p in chances)
        for name, weight in zip(left, wanted, strict=True):
            told = row["evidence"]["weights"].get(name, 0.0)
            report.same("thompson: weights follow the posterior", told, weight, error + 2 / SLOTS, row["effective_from"])


def best(known: pd.DataFrame, left: list[str]) -> list[float]:
    """Champion first. One challenger: Student's t; several: drawn, with the correlation that their days have."""
    days = [by_day(known[known["variant"] == name], "metric_gain") for name in left[1:]]
    if len(days) == 1:
        scale = math.sqrt(days[0].spread / days[0].rows)
        chance = float(stats.t.sf(-days[0].mean / scale, days[0].count - 1)) if scale else 0.0
        return [1 - chance, chance]
    sums = known.pivot_table(index="partition", columns="variant", values="metric_gain", aggfunc="sum")[left[1:]]
    size = known[known["variant"] == "champion"].groupby("partition").size().reindex(sums.index)
    noise = (sums - np.outer(size, [d.mean for d in days])).div(np.sqrt(size), axis=0)
    scale = np.sqrt(np.array([d.spread / d.rows for d in days]))
    matrix = noise.corr().fillna(0.0).to_numpy() * np.outer(scale, scale)
    np.fill_diagonal(matrix, scale**2)
    drawn = stats.multivariate_t([d.mean for d in days], matrix, df=days[0].count - 1, allow_singular=True, seed=1).rvs(400_000)
    first = np.argmax(np.column_stack([np.zeros(len(drawn)), drawn]), axis=1)
    return [float((first == i).mean()) for i in range(len(left))]


def bounded(chances: list[float], floor: float, ceiling: float) -> list[float]:
    """By halving: the factor at which all, each within its bounds, sum up to 1."""
    values, low, high = np.maximum(chances, 1e-6), 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(values * middle, floor, ceiling).sum() < 1 else (low, middle)
    return [float(value) for value in np.clip(values * high, floor, ceiling)]


# the page ------------------------------------------------------------------------------------------------------------


def check_page(about: Lived, report: Report) -> None:
    """As it stands there, by the tables as they are now."""
    figures = dict(re.findall(r'data-figure="(\w+)" data-value="([^"]+)"', report.page.split("Outcome per variant")[0]))
    served = about.labelled[about.labelled["served"]]
    report.same("page: money gained", float(figures["gained"]), served["worth_gain"].sum())
    report.said("page: words and figures", f"{about.labelled['partition'].nunique()} of {about.planned}")
    for row in re.findall(r'<tr data-variant="(\w+)">(.*?)</tr>', report.page, re.DOTALL):
        _check_row(about, report, *row)
    for row in about.ledger[-1:]:
        report.said("page: words and figures", row["kind"])


def _check_row(about: Lived, report: Report, variant: str, cells: str) -> None:
    mine = about.labelled[about.labelled["variant"] == variant]
    if not len(mine):
        report.same("page: no figure where nothing is labelled", float("data-value" in cells), 0.0, where=cells)
        return
    days = by_day(mine, "metric_gain")
    told = re.findall(r'data-figure="gain" data-value="([^"]+)"', cells)
    for value in told:
        report.same("page: gain per row", float(value), days.mean)
    half = half_width(days, days.count, days.rows, prior_of(days, about.chance, about.planned), about.chance)
    if told and math.isfinite(half):
        low, high, digits = days.mean - half, days.mean + half, about.digits
        report.same("page: interval", float(f"({low:+.{digits}f} to {high:+.{digits}f})" in cells), 1.0, where=cells)
        word = "taken out" if variant in about.gone() else "better" if low > 0 else "worse" if high < 0 else "not sure yet"
        report.same("page: the word for it", float(word in cells), 1.0, where=cells)
    owned = int((about.labelled["served"] & (about.labelled["variant"] == variant)).sum())
    report.same("page: rows served", float(f"{owned:,}" in cells), 1.0, where=cells)


def differences(state: Path, name: str | None, page: str) -> bool:
    """Print every claim; whether all hold."""
    about, report = lived(state, name), Report(page)
    check_assignment(about, report)
    check_slots(about, report)
    check_shares(about, report)
    check_figures(about, report)
    check_thompson(about, report)
    check_page(about, report) if page else None
    return report.tell()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path)
    parser.add_argument("--name")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    return 0 if differences(options.state, options.name, options.page.read_text() if options.page else "") else 1


if __name__ == "__main__":
    sys.exit(main())
