"""One server of one use case: the follower and the writer beside uvicorn, and their end."""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from pipelines.errors import PermanentError, in_words
from pipelines.serving.answers import continue_numbers, write_answers
from pipelines.serving.api import Around, make_app
from pipelines.serving.champion import Follower, Served
from pipelines.serving.edge import Door, Edge, Limits
from pipelines.serving.meters import Meters
from pipelines.serving.spool import Spool
from pipelines.serving.tokens import Tokens
from pipelines.use_case import UseCase
from pipelines.workspace import Workspace, state_folder

_LOG = logging.getLogger(__name__)
LOOK_EVERY = 1.0  # seconds; two looks at two small files where nothing has changed


@dataclass(frozen=True)
class Parts:
    """What a server is made of."""

    edge: Edge
    follower: Follower
    spool: Spool
    write: Callable[[], int]


def tokens_file() -> Tokens:
    return Tokens(state_folder() / "serving" / "tokens.json")


def serve(workspace: Workspace, use_case: UseCase, host: str, port: int, write_every: float) -> None:
    """Answer until a signal ends it; what was answered is in the table by then, or in the spool for the next start.

    Raises:
        PermanentError: others could reach it, and there is no token; or another server answers from the same spool.
    """
    tokens = tokens_file()
    loopback = is_loopback(host)
    if not loopback and not tokens.of(use_case.name):
        raise PermanentError(
            f"{use_case.name}: whoever reaches {host} could ask, and there is no token: make one with "
            f"`python -m pipelines token {use_case.name} add NAME`, or listen on 127.0.0.1"
        )
    door = Door(use_case.name, tokens, loopback)
    with opened(workspace, use_case, door, state_folder() / "serving" / use_case.name, write_every) as parts:
        config = uvicorn.Config(
            parts.edge, host, port, ws="none", lifespan="off", access_log=False, log_config=None, server_header=False,
            limit_concurrency=512, timeout_graceful_shutdown=20,
        )  # fmt: skip
        uvicorn.Server(config).run()


@contextmanager
def opened(
    workspace: Workspace, use_case: UseCase, door: Door, folder: Path, write_every: float, limits: Limits | None = None
) -> Iterator[Parts]:
    """The parts at work, first look done; at the end the table has every answer that it takes."""
    spool, meters = Spool(folder), Meters()
    edge = Edge(door, meters, limits)
    around = Around(spool, meters, lambda: follower.alarm)

    def adopt(served: Served | None) -> None:
        edge.app = make_app(use_case, served, around)

    adopt(None)  # until the first look, or as long as nothing loads, it says so
    follower = Follower(workspace, use_case, adopt)
    parts = Parts(edge, follower, spool, lambda: write_answers(workspace, use_case, spool))
    ended, threads = threading.Event(), []
    try:
        continue_numbers(workspace, use_case, spool)
        follower.look()
        for step, seconds in ((follower.look, LOOK_EVERY), (parts.write, write_every)):
            threads.append(threading.Thread(target=_again_and_again, args=(step, seconds, ended), daemon=True))
            threads[-1].start()
        yield parts
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        _told(parts.write)
        spool.close()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it; of another name nobody knows to where it leads."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _again_and_again(step: Callable[[], object], seconds: float, ended: threading.Event) -> None:
    while not ended.wait(seconds):
        _told(step)


def _told(step: Callable[[], object]) -> None:
    """What fails now may work the next time; until then the spool has the answers, and its size is a metric."""
    try:
        step()
    except Exception as error:
        _LOG.error("answers are not written to the lake: %s", in_words(error))
