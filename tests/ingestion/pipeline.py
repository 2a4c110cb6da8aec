"""One source through the real pipeline (land, audit, publish), and changes of what is declared of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines import ingestion
from pipelines.results import Published
from pipelines.use_case import Contract, Partition, Source, UseCase
from pipelines.workspace import StageRun, Workspace
from tests import synthetic

TABLE = "parcels/shipments"
QUARANTINE, UNKNOWN = f"{TABLE}_quarantine", f"{TABLE}_unknown_columns"


def declared(use_case: UseCase, source: str = "shipments", **keys: Any) -> UseCase:
    """The use case with other keys under `sources`."""
    new = Source.model_validate({**use_case.sources[source].model_dump(exclude_unset=True), **keys})
    return use_case.model_copy(update={"sources": {**use_case.sources, source: new}})


def contracted(use_case: UseCase, source: str = "shipments", **changes: Any) -> UseCase:
    """The use case with parts of one contract replaced; `columns` are changed one by one."""
    contract = use_case.contract[source].model_dump(exclude_unset=True)
    for name, column in changes.pop("columns", {}).items():
        contract["columns"].setdefault(name, {}).update(column)
    new = Contract.model_validate({**contract, **changes})
    return use_case.model_copy(update={"contract": {**use_case.contract, source: new}})


def free_text(use_case: UseCase, **keys: Any) -> UseCase:
    """Any text may be a carrier, and many rows may be rejected."""
    free = contracted(use_case, columns={"carrier": {"pattern": None, "max_length": 2000}}, max_rejected_share=0.9)
    return declared(free, **keys)


def ingest(
    workspace: Workspace, use_case: UseCase, day: Partition, rows: pd.DataFrame | str | bytes, source: str = "shipments"
) -> list[Published]:
    synthetic.put(workspace, source, day, rows)
    run = StageRun(workspace, use_case, day)
    return ingestion.publish_all(run, ingestion.audit_all(run, [ingestion.land(run, source)]))


def published(workspace: Workspace, table: str = TABLE) -> list[dict[str, Any]]:
    return sorted(workspace.lake.read(table).to_pylist(), key=lambda row: row["_row"])


def rejected(workspace: Workspace, table: str = QUARANTINE) -> list[tuple[int, str]]:
    """Line and rule of every row in quarantine."""
    rows = workspace.lake.read(table).to_pylist() if workspace.lake.exists(table) else []
    return sorted((row["row"], row["rule"]) for row in rows)


def texts(workspace: Workspace) -> dict[int, str]:
    return {row["row"]: row["text"] for row in workspace.lake.read(QUARANTINE).to_pylist()}


def unknown(workspace: Workspace) -> dict[int, dict[str, str]]:
    """By line, the columns that the contract does not know."""
    return {row["_row"]: json.loads(row["_columns"]) for row in workspace.lake.read(UNKNOWN).to_pylist()}


def lines(day: Partition, *carriers: str, header: str = "", more: str = "") -> str:
    """A good file of fifteen rows, but for the texts that stand where the carrier is in the first ones."""
    frame = synthetic.parcels(day, 15)[0]
    found = frame.astype(object).to_csv(index=False).splitlines()
    for number, text in enumerate(carriers, 1):
        found[number] = found[number].replace(f",{frame.carrier[number - 1]},", f",{text},", 1)
    return "\n".join([found[0] + header, *(line + more for line in found[1:])]) + "\n"


def landing_file(workspace: Workspace, day: Partition) -> bytes:
    return gzip.decompress(Path(f"{workspace.environment.landing}/parcels/shipments/{day.key}.csv.gz").read_bytes())
