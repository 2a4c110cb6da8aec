"""Who visits the API server in these tests: anonymous, or signed in."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.local.credentials import secrets_of


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Server:
    """The address, the routes per mounted application, and what a visitor needs to sign in."""

    url: str
    routes: dict[str, list[dict[str, Any]]]
    state: Path
    environment: dict[str, str]

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as found:
                return Answer(found.status, found.read().decode(), _lowered(found.headers))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode(), _lowered(error.headers))

    def token(self, user: str) -> str:
        body = json.dumps({"username": user, "password": secrets_of(self.state)[user]}).encode()
        request = urllib.request.Request(f"{self.url}/auth/token", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as found:
            return str(json.load(found)["access_token"])


def _lowered(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
