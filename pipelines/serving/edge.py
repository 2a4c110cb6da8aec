"""Before any model: who may ask, how much at a time, and how long; counted and logged without values."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.serving.api import refusal
from pipelines.serving.meters import Meters
from pipelines.serving.tokens import Tokens

_LOG = logging.getLogger(__name__)
_WORK = ("/invocations", "/keys")
_KNOWN = (*_WORK, "/", "/ping", "/version", "/metrics", "/docs", "/openapi.json")
_OURS = {"127.0.0.1", "localhost", "[::1]"}


@dataclass(frozen=True)
class Limits:
    """More than these is refused at once, so that nothing grows without bound."""

    body: int = 8 << 20  # bytes
    at_once: int = os.cpu_count() or 1  # predictions; more would only wait for a core
    waiting: int = 64  # requests that are being read, wait, or are answered
    reading: float = 10.0  # seconds for a client to send its body
    patience: float = 5.0  # seconds to wait for a turn


@dataclass(frozen=True)
class Door:
    """Whose tokens count. Where there are none, whoever is on this machine may ask, and a browser that was led here not."""

    use_case: str
    tokens: Tokens
    loopback: bool

    def refuse(self, request: Request) -> tuple[str, Response | None]:
        """The name of who asks, or the refusal."""
        if self.loopback and not self.tokens.of(self.use_case):
            host = re.sub(r":\d+$", "", request.headers.get("host", ""))
            return "", None if host in _OURS else refusal(421, "a request to 127.0.0.1 or localhost")
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        token = self.tokens.holder(text.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            return "", refusal(401, "the header 'Authorization: Bearer TOKEN'", {"WWW-Authenticate": "Bearer"})
        if token.use_case != self.use_case:
            return token.name, refusal(403, f"a token for {self.use_case}")
        return token.name, None


class Edge:
    """The ASGI application. `app` answers; it is taken once per request, so that nobody is answered by two models."""

    def __init__(self, door: Door, meters: Meters, limits: Limits | None = None) -> None:
        self.app: ASGIApp | None = None
        self.door, self.meters, self.limits = door, meters, limits or Limits()
        self._inside = 0
        self._turns = asyncio.Semaphore(self.limits.at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "the server speaks nothing else"
        started, status = time.perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        who = ""
        try:
            request = Request(scope, receive)
            who, refused = ("", None) if scope["path"] == "/ping" else self.door.refuse(request)
            app = refused or self.app or refusal(503, "a model: none was looked for yet", {"Retry-After": "1"})
            await (self._work(request, app, sent) if scope["path"] in _WORK and not refused else app(scope, receive, sent))
        finally:
            self._count(scope, who, status, time.perf_counter() - started)

    async def _work(self, request: Request, app: ASGIApp, send: Send) -> None:
        """A bounded number at a time, of bounded size, for a bounded time."""
        if self._inside >= self.limits.waiting:
            return await _say(request, send, 429, f"at most {self.limits.waiting} requests at once", {"Retry-After": "1"})
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            return await _say(request, send, 415, "a body of application/json", {"Connection": "close"})
        self._inside += 1
        try:
            async with asyncio.timeout(self.limits.reading):
                body = await self._body(request)
        except ClientDisconnect:
            return None
        except TimeoutError:
            said = f"a body within {self.limits.reading:g} seconds"
            return await _say(request, send, 408, said, {"Connection": "close"})
        else:
            if body is None:
                said = f"a body of at most {self.limits.body:,} bytes"
                return await _say(request, send, 413, said, {"Connection": "close"})
            return await self._in_turn(request, app, send, body)
        finally:
            self._inside -= 1

    async def _body(self, request: Request) -> bytes | None:
        """None where it is too long, which is told before it was read."""
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.limits.body:
            return None
        parts, size = [], 0
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > self.limits.body:
                return None
        return b"".join(parts)

    async def _in_turn(self, request: Request, app: ASGIApp, send: Send, body: bytes) -> None:
        try:
            async with asyncio.timeout(self.limits.patience):
                await self._turns.acquire()
        except TimeoutError:
            return await _say(request, send, 503, "fewer requests: no turn came in time", {"Retry-After": "2"})
        try:
            await app(request.scope, _again(body, request.receive), send)
        finally:
            self._turns.release()

    def _count(self, scope: Scope, who: str, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in _KNOWN else "other"
        self.meters.requested(path, status, seconds)
        _LOG.info("%s %s %d %.1f ms %s", scope["method"], path, status, 1000 * seconds, who or "-")


def _again(body: bytes, receive: Receive) -> Receive:
    """The body once more, and then whatever the client does."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


async def _say(request: Request, send: Send, status: int, expected: str, headers: dict[str, str]) -> None:
    await refusal(status, expected, headers)(request.scope, request.receive, send)
