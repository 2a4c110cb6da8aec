"""Verbs that show what there is and change nothing: status, decisions, the rows of a table."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

from typer import Option

from pipelines.commands.program import Table, UseCaseName, opened, verb


@verb("Look", "status", "flight_delay")
def status(use_case: UseCaseName) -> None:
    """The champion, the last partition per stage, quality per partition."""
    from pipelines.pages import lifecycle

    found = lifecycle(*opened(use_case))
    champion = found.champion
    print(f"{found.title} ({found.use_case})")
    if champion:
        print(f"champion   v{champion.version}, serves from {champion.effective_from}, promoted {champion.age} ago")
        print(f"           {champion.why}")
    else:
        print("champion   none yet")
    for stage, partition in found.last_partitions.items():
        print(f"{stage:<12} last partition {partition or 'none'}")
    for why in found.late:
        print(f"late         {why}")
    for m in found.quality:
        figures = f"AUC {_f(m.auc)}  log loss {_f(m.log_loss)}  drifted {_f(m.drifted_share)}"
        worth = "" if m.worth is None else f"  worth {m.worth:,.0f} {found.unit}"
        version = "–" if m.model_version is None else f"v{m.model_version}"
        print(f"{m.partition}  {version:<3} {figures}{worth}")
        if m.verdict:
            print(f"           {m.verdict}")
        for each in m.answers:
            said = f"{each.answers:,} answers, {each.rows:,} rows, {each.labels:,} labels"
            print(f"           by API, v{each.model_version}: {said}, AUC {_f(each.auc)}  log loss {_f(each.log_loss)}")


def _f(value: float | None) -> str:
    return "  -   " if value is None else f"{value:.4f}"


@verb("Look", "decisions", "flight_delay")
def decisions(
    use_case: UseCaseName, as_json: Annotated[bool, Option("--json", help="One JSON document instead of text.")] = False
) -> None:
    """Every decision, in plain words."""
    workspace, named = opened(use_case)
    found = workspace.ledger.decisions(named.name)
    if as_json:
        print(json.dumps([asdict(d) for d in found], indent=1))
        return
    for d in found:
        worth = f"  ({d.effect:,.0f} {d.effect_unit})" if d.effect is not None else ""
        print(f"{d.at[:19]}  {d.partition:<10} {d.kind:<14} by {d.actor}{worth}\n    {d.why}")
    if not found:
        print("no decisions yet")


@verb("Look", "show", "flight_delay/weather --partition 2013-02 --limit 1")
def show(
    table: Table,
    version: Annotated[int | None, Option(help="Delta version; without it, the newest.")] = None,
    partition: Annotated[str | None, Option(help="One partition only.")] = None,
    limit: Annotated[int, Option(min=0, help="So many rows.")] = 5,
) -> None:
    """The rows of a published table, now or at an older version: one JSON object per row."""
    from pipelines.workspace import open_workspace

    lake = open_workspace().lake
    counts = lake.partitions(table, version)
    now = lake.version(table)
    shown = now if version is None else version
    print(f"{table} version {shown} of {now}: {sum(counts.values()):,} rows in {len(counts)} partitions")
    for key, rows in counts.items():
        print(f"  {key:<12} {rows:>10,} rows")
    keys = [key for key in counts if partition in (None, key)]
    found = lake.read(table, keys[:1] if partition is None else keys, version)
    for row in found.slice(0, limit).to_pylist():
        print(json.dumps(row, default=str))
