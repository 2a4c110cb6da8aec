"""What the API answers, held against the bulk table: a month of rows, and through promotions and rollbacks under load.

    .venv/bin/python benchmarks/served_answers.py --month 2013-12 [--singles 300]
    .venv/bin/python benchmarks/served_answers.py --moves 200

Works on a copy of the state folder (var/, or TRAINYARD_STATE) and asks a real server of it by HTTP. It ends with 1 where
anything differs or fails.

`--month`: each row that was served in the month, by features and by its key, in requests of 1,000 rows; and `--singles` rows
alone, by both. Probabilities to 1e-12, the same action, the version that served it, the features' table as it is now. Where
several versions served the month, each is made champion (by a row of the copy's ledger) for its partitions.

`--moves`: two clients by features and one by keys, 500 rows each, while the champion moves to and fro between the two newest
versions as fast as the server follows. Each answer is held, row by row, against the version that it names, as the pipeline
itself says it.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
from serving import copied, plain, promote, running, serve_words

from pipelines.use_case import UseCase, features_table, load_use_case
from pipelines.workspace import Model, Workspace, served_rows, state_folder

SAME = 1e-12


class Compared:
    """Rows, and how far the farthest is."""

    def __init__(self) -> None:
        self.rows, self.wrong, self.farthest = 0, 0, 0.0

    def add(self, said: dict[str, Any], wanted: pd.DataFrame, features_version: int | None = None) -> None:
        """`wanted` by key in the order that was asked for."""
        found = pd.DataFrame(said["predictions"])
        apart = np.abs(found["probability"].to_numpy() - wanted["probability"].to_numpy())
        good = (apart <= SAME) & (found["act"].to_numpy() == wanted["act"].to_numpy())
        good &= found["key"].to_numpy() == wanted.index.to_numpy()
        good &= wanted["model_version"].to_numpy() == said["model_version"]
        good &= said["features_version"] == features_version
        self.rows, self.wrong = self.rows + len(good), self.wrong + int((~good).sum())
        self.farthest = max(self.farthest, apart.max())

    def __str__(self) -> str:
        return f"{self.rows:,} rows, {self.wrong} of them otherwise, the farthest by {self.farthest:.1e}"


def asked(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ours_is(client: httpx.Client, version: int) -> None:
    until = time.monotonic() + 300
    while client.get("/").json()["model_version"] != version:
        assert time.monotonic() < until, client.get("/").json()
        time.sleep(0.02)


def month(workspace: Workspace, use_case: UseCase, name: str, singles: int) -> bool:
    key, features = use_case.features.key, features_table(use_case)
    days = [day for day in workspace.lake.partitions(features) if day.startswith(name)]
    served = served_rows(workspace, use_case, days)
    ways = [f"{how} by {what}" for how in ("in thousands", "alone") for what in ("features", "keys")]
    newest = workspace.lake.version(features)
    compared, alone = {way: Compared() for way in ways}, served.sample(min(singles, len(served)), random_state=0)[key]
    with running(serve_words(use_case.name)) as (client, _):
        for number, (version, its) in enumerate(served.groupby("model_version")):
            promote(workspace, use_case, int(version), number)
            ours_is(client, int(version))
            names = list(workspace.registry.load(use_case.name, int(version)).meta["features"])
            for day, wanted in its.set_index(key).groupby("partition"):
                rows = workspace.lake.read(features, [str(day)]).to_pandas().set_index(key, drop=False).loc[wanted.index]
                records = dict(zip(wanted.index, plain(rows[[key, *names]]), strict=True))
                for way, some in parts(wanted, set(alone)):
                    asking = wanted.loc[some]
                    by_key = {"keys": some, "partition": str(day)}
                    by_features = {"dataframe_records": [records[k] for k in some]}
                    compared[f"{way} by keys"].add(asked(client, "/keys", by_key), asking, newest)
                    compared[f"{way} by features"].add(asked(client, "/invocations", by_features), asking)
    print(
        f"{use_case.name} {name}: {len(days)} partitions by {served['model_version'].value_counts().to_dict()} (version: rows)"
    )
    for way, found in compared.items():
        print(f"{way}: {found}")
    complete = all(found.rows == (len(alone) if "alone" in way else len(served)) for way, found in compared.items())
    return complete and not any(found.wrong for found in compared.values())


def parts(wanted: pd.DataFrame, alone: set[Any]) -> Iterator[tuple[str, list[Any]]]:
    keys = list(wanted.index)
    yield from (("in thousands", keys[start : start + 1000]) for start in range(0, len(keys), 1000))
    yield from (("alone", [each]) for each in keys if each in alone)


class Asking:
    """Clients that hold each answer against the version that it names."""

    def __init__(self, address: httpx.URL, known: dict[int, list[float]]) -> None:
        self.address, self.known = address, known
        self.ended, self.statuses, self.wrong = threading.Event(), Counter[str](), 0

    def ask(self, path: str, body: dict[str, Any]) -> None:
        with httpx.Client(base_url=self.address, timeout=60) as client:
            while not self.ended.is_set():
                try:
                    answer = client.post(path, json=body)
                except httpx.TransportError as error:
                    self.statuses[repr(error)] += 1
                    continue
                self.statuses[str(answer.status_code)] += 1
                if answer.status_code == 200:
                    said = answer.json()
                    self.statuses[f"by v{said['model_version']}"] += 1
                    found = [each["probability"] for each in said["predictions"]]
                    self.wrong += not np.allclose(found, self.known[said["model_version"]], rtol=0, atol=SAME)


def moves(workspace: Workspace, use_case: UseCase, count: int) -> bool:
    versions = [v.version for v in workspace.registry.versions(use_case.name)][-2:]
    models = {version: workspace.registry.load(use_case.name, version) for version in versions}
    rows, day = last_rows(workspace, use_case, models[versions[0]])
    known = {version: model.predict(rows).tolist() for version, model in models.items()}
    apart = np.abs(np.subtract(*known.values()))
    print(f"v{versions[0]} and v{versions[1]} differ on all but {int((apart < 1e-6).sum())} of {len(rows)} rows")
    records, keys = plain(rows), rows[use_case.features.key].tolist()
    bodies = [("/invocations", {form: records}) for form in ("instances", "dataframe_records")]
    with running(serve_words(use_case.name)) as (client, process), ThreadPoolExecutor(3) as pool:
        asking, started, memory, slowest = Asking(client.base_url, known), time.monotonic(), list[float](), 0.0
        done = [pool.submit(asking.ask, *body) for body in [*bodies, ("/keys", {"keys": keys, "partition": day})]]
        try:
            for number in range(count):
                moved = time.monotonic()
                promote(workspace, use_case, versions[number % 2], number)
                ours_is(client, versions[number % 2])
                slowest = max(slowest, time.monotonic() - moved)
                if number % max(1, count // 20) == 0:
                    memory.append(process.memory_info().rss / 2**20)
        finally:
            asking.ended.set()
        for each in done:
            each.result()
    print(f"{count} moves in {time.monotonic() - started:.0f} s, the slowest followed after {slowest:.1f} s")
    print(f"answers: {dict(asking.statuses)}, {asking.wrong} of them not wholly by the version that they name")
    print("MiB of the server:", " ".join(f"{each:.0f}" for each in memory))
    failed = sum(n for status, n in asking.statuses.items() if status != "200" and not status.startswith("by v"))
    return failed == asking.wrong == 0 and min(asking.statuses[f"by v{version}"] for version in versions) > 0


def last_rows(workspace: Workspace, use_case: UseCase, model: Model) -> tuple[pd.DataFrame, str]:
    table = features_table(use_case)
    day = list(workspace.lake.partitions(table))[-1]
    names = [use_case.features.key, *model.meta["features"]]
    return workspace.lake.read(table, [day]).to_pandas()[names].head(500), day


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--use-case", default="flight_delay")
    parser.add_argument("--month", metavar="YYYY-MM")
    parser.add_argument("--singles", type=int, default=300)
    parser.add_argument("--moves", type=int, default=0)
    given = parser.parse_args()
    use_case, good = load_use_case(given.use_case), True
    with tempfile.TemporaryDirectory() as folder:
        workspace = copied(state_folder(), use_case.name, Path(folder))
        if given.month:
            good &= month(workspace, use_case, given.month, given.singles)
        if given.moves:
            good &= moves(workspace, use_case, given.moves)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
