"""Verbs about the API: to serve a use case's champion, and the tokens of those who may ask."""

from __future__ import annotations

import signal
import sys
from enum import StrEnum
from typing import Annotated

from typer import Argument, BadParameter, Option

from pipelines.commands.program import UseCaseName, new_run_name, opened, verb


class Act(StrEnum):
    ADD = "add"
    REVOKE = "revoke"
    LIST = "list"


@verb("Serving", "serve", "flight_delay --port 8081")
def serve(
    use_case: UseCaseName,
    host: Annotated[str, Option(help="Address to listen on; all but the loopback need a token.")] = "127.0.0.1",
    port: Annotated[int, Option(min=1, max=65535)] = 8081,
    write_every: Annotated[float, Option(min=0.1, help="Seconds between two commits of answers.")] = 60.0,
) -> None:
    """Answer with the champion by HTTP until Ctrl-C: MLflow's scoring protocol; its page is at /docs."""
    from pipelines import serving

    # uvicorn lets the signal that ended it loose again: the last answers are still to be written.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    workspace, named = opened(use_case, new_run_name())
    print(f"http://{host}:{port}/docs", flush=True)
    serving.serve(workspace, named, host, port, write_every)


@verb("Serving", "token", "flight_delay add crew_planning")
def token(
    use_case: UseCaseName,
    act: Annotated[Act, Argument(metavar="ACT", help="add, revoke or list.")],
    name: Annotated[str, Argument(metavar="NAME", help="Who will ask with it; stands in the log.")] = "",
) -> None:
    """Make, revoke or list tokens of the API; a running server knows at once. A new one is shown this once."""
    from pipelines import serving

    _, named = opened(use_case)
    if bool(name.strip()) == (act is Act.LIST):
        raise BadParameter("say whose token to add or revoke; list takes no name")
    tokens = serving.tokens_file()
    if act is Act.ADD:
        print(tokens.add(named.name, name))
    elif act is Act.REVOKE:
        tokens.revoke(named.name, name)
    else:
        print("\n".join(tokens.of(named.name)) or "no tokens: only this machine may ask")
