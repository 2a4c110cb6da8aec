"""A container's health check: `healthy.py URL [component]` exits 0 when the URL answers and calls the component healthy.

Standard library only, and no `airflow` command: that one takes seconds of CPU, every few seconds, in each container.
"""

from __future__ import annotations

import json
import sys
import urllib.request


def check(url: str, component: str | None = None) -> str | None:
    """What is wrong, or None."""
    try:
        with urllib.request.urlopen(url, timeout=4) as answer:
            body = answer.read()
    except OSError as error:
        return f"{url}: {error}"
    if component is None:
        return None
    # Airflow answers 200 even when a part of it is dead: the verdict is in the body.
    status = json.loads(body)[component]["status"]
    return None if status == "healthy" else f"{url}: {component} is {status}"


if __name__ == "__main__":
    sys.exit(check(*sys.argv[1:]))
