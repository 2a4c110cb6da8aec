"""`python -m pipelines VERB ...`: the command line; its verbs are in `pipelines.commands`."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn

from pipelines.commands import main


def _leave(status: int) -> NoReturn:
    """End at once, with everything written: threads of deltalake, idle by now, abort now and then while Python ends."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):  # who read it has seen enough, as `| head` has
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    _leave(main())
