"""Passwords and keys of this machine's services: generated once, in files that only their owner reads."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path


def secrets_of(state: Path) -> dict[str, str]:
    """Generated once, kept in a file that only the owner reads."""
    file = state / "secrets.json"
    if not file.exists():
        lengths = {"jwt": 48, "session": 24, "admin": 24, "viewer": 24}  # SHA-512 wants a key of 64 characters
        made = {name: secrets.token_urlsafe(length) for name, length in lengths.items()}
        made["fernet"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        write_private(file, json.dumps(made))
    return dict(json.loads(file.read_text()))


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
