"""A served world: the parts at work on the tests' small use case, and a client of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import uvicorn
from starlette.testclient import TestClient

from pipelines.serving.edge import Door, Limits
from pipelines.serving.server import Parts, opened
from pipelines.serving.tokens import Tokens
from tests.conftest import World

NEVER = 3600.0


@contextmanager
def served(
    world: World, tmp_path: Path, limits: Limits | None = None, loopback: bool = True
) -> Iterator[tuple[TestClient, Parts]]:
    door = Door(world.use_case.name, Tokens(tmp_path / "tokens.json"), loopback)
    with opened(world.workspace, world.use_case, door, tmp_path / "spool", NEVER, limits) as parts:
        yield TestClient(parts.edge, base_url="http://127.0.0.1"), parts


@contextmanager
def listening(app: Any) -> Iterator[int]:
    """A real server of an application, on a port that was free."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


def feature_rows(world: World, day: int) -> list[dict[str, Any]]:
    """Published features of a day as a client would send them: with the key, null where a value is missing."""
    spec = world.use_case.features
    rows = world.workspace.lake.read("parcels/features", [world.days[day].key]).to_pandas()[[spec.key, *spec.names]]
    return [{k: None if pd.isna(v) else v for k, v in row.items()} for row in rows.to_dict("records")]


def row(**values: Any) -> dict[str, Any]:
    """One row that is in order, with some values replaced; those that are `...` left out."""
    found = {
        "depot": "north", "carrier": "AA", "distance": 120.5, "weight": 3.2, "pieces": 2, "rating": 4.5,
        "all_parcels_late_1d": 0.4, "all_parcels_late_3d": 0.35,
    } | values  # fmt: skip
    return {name: value for name, value in found.items() if value is not ...}


def answers(world: World) -> pd.DataFrame:
    if not world.workspace.lake.exists("parcels/answers"):
        return pd.DataFrame()
    return world.workspace.lake.read("parcels/answers").to_pandas()
