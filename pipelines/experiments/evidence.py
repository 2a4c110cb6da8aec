"""What an experiment has shown so far, from the tables as they are now: late and corrected labels count where they belong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.errors import PermanentError
from pipelines.experiments.intervals import Floats, Sums
from pipelines.experiments.running import Opened
from pipelines.metrics import losses
from pipelines.use_case import EXPERIMENT_COLUMNS, PARTITION, UseCase, labels_table, predictions_table, worth
from pipelines.workspace import CHAMPION, Workspace, predicted_rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series


@dataclass(frozen=True)
class Evidence:
    """`paired`: by challenger, its gain over the champion on the same rows; `own`: by variant, the metric of what it served.

    `action_change`: share of rows acted upon, less the champion's. `shares` and `counts` (K, V): of units that were seen for
    the first time, how many each variant should have got, and got. `gained`: against all-champion, in `unit`, where labelled.
    """

    scored: tuple[str, ...]
    labelled: tuple[str, ...]
    paired: dict[str, Sums]
    own: dict[str, Sums]
    action_change: dict[str, float]
    shares: Floats
    counts: Floats
    gained: float
    unit: str


def gather(workspace: Workspace, use_case: UseCase, about: Opened) -> Evidence:
    """All that was scored for the experiment; the metric is that of its start."""
    rows = _rows(workspace, use_case, about)
    scored, there = tuple(map(str, rows[PARTITION].unique())), workspace.lake.partitions(labels_table(use_case))
    known = tuple(key for key in scored if key in there)
    labelled, in_money = _labelled(workspace, use_case, rows, known), "money" if use_case.value else "log_loss"
    own, champions = (_metric(use_case, about.spec.metric, labelled, of) for of in ("", "champion_"))
    worth_of, before = (_metric(use_case, in_money, labelled, of) for of in ("", "champion_"))
    values = labelled.assign(own=own, gain=own - champions, worth=worth_of - before)
    shares, counts = _first_seen(rows, list(about.versions))
    return Evidence(
        scored=scored,
        labelled=known,
        paired={name: _sums(values[values["variant"] == name], "gain") for name in about.versions if name != CHAMPION},
        own={name: _sums(values[values["served"] & (values["variant"] == name)], "own") for name in about.versions},
        action_change=_action_change(rows),
        shares=shares,
        counts=counts,
        gained=float(values.loc[values["served"], "worth"].sum()),
        unit=use_case.value.unit if use_case.value else "log_loss",
    )


def _rows(workspace: Workspace, use_case: UseCase, about: Opened) -> DataFrame:
    """Of every partition that was scored for it, up to its end: one row per key and variant, in order of the partitions.

    Beside it stands what the champion said of the same key; `event` numbers these.
    """
    until = str(about.ended.effective_from) if about.ended else None
    there = workspace.lake.partitions(predictions_table(use_case))
    keys = [key for key in there if about.since <= key <= about.spec.last and (until is None or key < until)]
    rows = predicted_rows(workspace, use_case, keys).to_pandas()
    for name in EXPERIMENT_COLUMNS:
        rows[name] = rows.get(name)
    rows = rows[rows["variant"].notna()].sort_values(PARTITION, kind="stable", ignore_index=True)
    return _beside_champion(rows.assign(event=rows.groupby([PARTITION, use_case.features.key], sort=False).ngroup()))


def _beside_champion(rows: DataFrame) -> DataFrame:
    """By numbers of events and not by keys: at each look all of the experiment's rows are paired anew."""
    places = np.full(int(rows["event"].max()) + 1 if len(rows) else 0, -1)
    of_champion = np.flatnonzero(rows["variant"] == CHAMPION)
    places[rows["event"].to_numpy()[of_champion]] = of_champion
    twins = places[rows["event"].to_numpy()]
    told = {f"champion_{name}": rows[name].to_numpy()[twins] for name in ("probability", "act")}
    return rows.assign(**told)[twins >= 0]


def _labelled(workspace: Workspace, use_case: UseCase, rows: DataFrame, known: tuple[str, ...]) -> DataFrame:
    """The rows of these partitions whose outcome is known, with it."""
    key = use_case.features.key
    if not known:
        return rows[:0].assign(label=0.0)
    labels = workspace.lake.read(labels_table(use_case), known, columns=[key, "label"]).to_pandas()
    of_champion = rows.loc[rows["variant"] == CHAMPION, [PARTITION, key, "event"]]
    found = of_champion.merge(labels, on=[PARTITION, key], validate="one_to_one").set_index("event")["label"]
    return rows.assign(label=rows["event"].map(found)).dropna(subset=["label"])


def _metric(use_case: UseCase, name: str, rows: DataFrame, of: str) -> Floats:
    """What each labelled row (n,) counts, more is better, by the variant's own columns or those `of` another: the one place
    here that knows what kind of target there is."""
    label = rows["label"].to_numpy(dtype=float)
    if name == "log_loss":
        return -losses(label, rows[f"{of}probability"].to_numpy(dtype=float))
    if use_case.value is None:
        raise PermanentError(f"{use_case.name}: its experiment counts money; put the section `value` back")
    return worth(label, rows[f"{of}act"].to_numpy(dtype=bool), use_case.value)


def _sums(rows: DataFrame, column: str) -> Sums:
    values = rows.assign(value=rows[column], square=rows[column] ** 2).groupby(PARTITION, sort=True)
    by_day = values.agg({"value": ["size", "sum"], "square": "sum"})
    return Sums(*(by_day[column].to_numpy(dtype=float) for column in (("value", "size"), ("value", "sum"), ("square", "sum"))))


def _action_change(rows: DataFrame) -> dict[str, float]:
    challengers = rows[rows["variant"] != CHAMPION]
    change = challengers["act"].astype(float) - challengers["champion_act"].astype(float)
    return {str(name): float(share) for name, share in change.groupby(challengers["variant"]).mean().items()}


def _first_seen(rows: DataFrame, variants: list[str]) -> tuple[Floats, Floats]:
    """By partition (K, V): the shares of the variants, and how many new units each served.

    A unit that comes again has its variant already. Partitions that a variant could not score are left out.
    """

    def table(found: Series) -> DataFrame:
        return found.unstack(fill_value=0).reindex(columns=variants, fill_value=0).astype(float)

    by = [PARTITION, "variant"]
    shares = table(rows.groupby(by)["weight"].first())
    counts = table(rows[rows["served"]].drop_duplicates("unit").groupby(by).size())
    whole = shares[np.isclose(shares.sum(axis=1), 1.0)]
    return whole.to_numpy(), counts.reindex(whole.index, fill_value=0.0).to_numpy()
