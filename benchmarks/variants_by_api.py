"""An experiment that was served in bulk, asked of the API once more, row by row; and its answers as monitoring measures them.

    .venv/bin/python benchmarks/variants_by_api.py [--use-case flight_delay]

Works on a copy of the state folder (TRAINYARD_STATE), whose use case had an experiment; TRAINYARD_USE_CASES is where its file
is. At the start of each of its partitions all of its rows are asked for, by key and by features. Variant, unit, version and
action have to be those of the table, and the probability within 1e-12. Then monitoring's figures of each window are computed
again from the tables by other code.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from serving import copied
from sklearn.metrics import log_loss, roc_auc_score
from starlette.testclient import TestClient

from pipelines.experiments import opened
from pipelines.monitoring.answered import measure_answers
from pipelines.serving.edge import Door
from pipelines.serving.server import opened as server
from pipelines.serving.tokens import Tokens
from pipelines.use_case import PARTITION, Partition, UseCase, answers_table, features_table, labels_table, load_use_case
from pipelines.workspace import StageRun, Workspace, served_rows, state_folder

EQUAL = ["variant", "unit", "assigned", "model_version", "act"]


def differences(answer: Any, bulk: pd.DataFrame) -> tuple[int, float]:
    """How many rows got another variant, version or action, and how far the probabilities are apart at most."""
    found = pd.DataFrame(answer["predictions"]).set_index("key").loc[bulk.index]
    other = (found[EQUAL] != bulk[EQUAL]).any(axis=1)
    return int(other.sum()), float((found["probability"] - bulk["probability"]).abs().max())


def sent(workspace: Workspace, use_case: UseCase, key: str, features: list[str]) -> list[dict[str, Any]]:
    columns = [use_case.features.key, *features]
    rows = workspace.lake.read(features_table(use_case), [key], columns=columns).to_pandas()[columns]
    plain = rows.astype(dict.fromkeys(rows.select_dtypes(["number", "bool"]), float)).to_dict("records")
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in plain]


def ask(client: TestClient, workspace: Workspace, use_case: UseCase, key: str) -> tuple[int, int, float]:
    at = use_case.partition(key).starts_at(use_case.timezone)
    workspace.clock.set(at)
    bulk = served_rows(workspace, use_case, [key]).set_index(use_case.features.key)
    features = workspace.registry.load(use_case.name, int(bulk["model_version"].iloc[0])).meta["features"]
    bodies = {
        "/keys": {"keys": list(bulk.index), "partition": key},
        "/invocations": {"instances": sent(workspace, use_case, key, features)},
    }
    told = [differences(client.post(path, json=body).raise_for_status().json(), bulk) for path, body in bodies.items()]
    return 2 * len(bulk), sum(other for other, _ in told), max(apart for _, apart in told)


def recomputed(workspace: Workspace, use_case: UseCase, window: Partition) -> dict[int, tuple[int, float, float]]:
    """By version: labels, log loss, AUC of each key's last answer before its outcome was known."""
    days = [day.key for day in window.within(use_case.grain)]
    answers = workspace.lake.read(answers_table(use_case)).to_pandas()
    answers["about"] = answers["features_partition"].fillna(answers[PARTITION])
    labels = workspace.lake.read(labels_table(use_case), days).to_pandas().rename(columns={PARTITION: "about"})
    rows = answers.merge(labels, on=["about", use_case.features.key])
    rows = rows[rows["made_at"] < rows["known_at"]].sort_values(["made_at", "answer", "row"])
    last = rows.groupby(["about", use_case.features.key]).tail(1)
    sides = {int(version): (mine["label"], mine["probability"]) for version, mine in last.groupby("model_version")}
    return {version: (len(label), log_loss(label, p), roc_auc_score(label, p)) for version, (label, p) in sides.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--use-case", default="flight_delay")
    use_case = load_use_case(parser.parse_args().use_case)
    with tempfile.TemporaryDirectory() as folder:
        workspace = copied(state_folder(), use_case.name, Path(folder))
        about = opened(workspace.ledger.decisions(use_case.name))[-1]
        until = str(about.ended.effective_from) if about.ended else "9999"
        keys = [k for k in workspace.lake.partitions(f"{use_case.name}/predictions") if about.since <= k < until]
        workspace.clock.set(use_case.partition(keys[0]).starts_at(use_case.timezone))
        door = Door(use_case.name, Tokens(Path(folder, "tokens.json")), True)
        started = time.perf_counter()
        with server(workspace, use_case, door, Path(folder, "spool"), 60.0) as parts:
            client = TestClient(parts.edge, base_url="http://127.0.0.1")
            found = [ask(client, workspace, use_case, key) for key in keys]
        rows, other, apart = sum(f[0] for f in found), sum(f[1] for f in found), max(f[2] for f in found)
        print(f"{about.spec.name}: {len(keys)} partitions, {rows:,} rows asked in {time.perf_counter() - started:.0f} s")
        print(f"of another variant, version or action: {other}; probabilities at most {apart:.1e} apart")
        wrong = other + (apart > 1e-12)
        started = time.perf_counter()
        for window in dict.fromkeys(Partition.of(use_case.partition(key).start, use_case.window) for key in keys):
            wanted = recomputed(workspace, use_case, window)
            for by in measure_answers(StageRun(workspace, use_case, window)):
                labels, loss, auc = wanted[by.model_version]
                right = by.labels == labels and abs(by.log_loss - loss) < 1e-9 and abs(by.auc - auc) < 1e-9
                wrong += not right
                print(
                    f"{window.key} v{by.model_version}: {by.rows:,} rows, {by.labels:,} labels, log loss {by.log_loss:.4f}, "
                    f"AUC {by.auc:.4f}, moved {by.prediction_drift}: {'as' if right else 'NOT as'} computed again"
                )
        print(f"measured, and computed again, in {time.perf_counter() - started:.0f} s")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
