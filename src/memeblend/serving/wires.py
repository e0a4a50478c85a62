"""What stands between a connection and the API: telemetry, the key, and bodies read within limits.

Plain ASGI, the outermost first. Each answers itself what it refuses, in the shape of `refusals`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import logging
import re
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memeblend.serving.logs import log
from memeblend.serving.metrics import Metrics
from memeblend.serving.refusals import Refusal, error_response
from memeblend.serving.settings import ServerSettings

NOTES, BODY = "memeblend.notes", "memeblend.body"
"""Keys of a request's scope: its `Notes` and its body."""
CLIENT_GONE, GONE_STATUS = "client_gone", 499
"""Reason and status that are written down where the client left before its answer."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINGER_S = 2.0
_LINGER_BYTES = 256 * 2**20


class _SlowReader(Exception):
    """A client that does not take its answer."""


@dataclass
class Notes:
    """What is written down of a request.

    Attributes:
        request_id: the client's, or one of ours.
        num_memes: memes that it holds.
        reason: code of the refusal, "" for one that was served.
        texts: the memes' texts, where logs are to hold them.
    """

    request_id: str
    num_memes: int = 0
    reason: str = ""
    texts: list[str] = field(default_factory=list)


def notes_of(scope: Scope) -> Notes:
    """The notes of a request."""
    found = scope[NOTES]
    assert isinstance(found, Notes)
    return found


async def refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that is not served, let what is still on its way pass by for a while, then hang up.

    A connection that is closed while its client sends is reset, and the client may never see the answer.
    """
    notes_of(scope).reason = refusal.code
    response = error_response(refusal, {"connection": "close"})
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    num_drained = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while num_drained < _LINGER_BYTES:
                message = await receive()
                num_drained += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class Telemetry:
    """Counts, times and logs every request, and answers for those in which something unforeseen happened.

    Args:
        app: what answers.
        metrics: where requests are counted.
        settings: the server's.
        paths: paths that are counted by their name; all others count as one.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, settings: ServerSettings, paths: Sequence[str]) -> None:
        self.app = app
        self.metrics = metrics
        self.settings = settings
        self.paths = frozenset(paths)
        self.prefix = uuid.uuid4().hex[:12]
        self.numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        notes = Notes(given if _REQUEST_ID.fullmatch(given) else f"{self.prefix}-{next(self.numbers):x}")
        scope[NOTES] = notes
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = notes.request_id
                headers["x-content-type-options"] = "nosniff"
                headers["cache-control"] = "no-store"
                await send(message)  # headers are but kept until the body comes
                return
            try:
                async with asyncio.timeout(self.settings.body_timeout_s):
                    await send(message)
            except TimeoutError as error:
                raise _SlowReader from error

        try:
            await self.app(scope, receive, observed)
        except _SlowReader:
            notes.reason = "slow_reader"
        except Exception as error:
            log(logging.ERROR, "unforeseen error", error, request_id=notes.request_id)
            if not status:
                await refuse(_unforeseen(notes), scope, receive, observed)
        finally:
            self._note(scope, notes, status or GONE_STATUS, time.perf_counter() - began)

    def _note(self, scope: Scope, notes: Notes, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in self.paths else "other"
        self.metrics.request_done(path, status, seconds, notes.reason)
        fields = {
            "request_id": notes.request_id,
            "method": scope["method"],
            "path": path,
            "status": status,
            "ms": round(1000 * seconds, 1),
            "num_memes": notes.num_memes,
        }
        if notes.reason:
            fields["reason"] = notes.reason
        if self.settings.log_content and notes.texts:
            fields["texts"] = notes.texts
        log(logging.INFO, "request", **fields)


def _unforeseen(notes: Notes) -> Refusal:
    return Refusal(
        500, "internal_error", f"Something went wrong in the server; its log tells more of request {notes.request_id}."
    )


class KeyCheck:
    """Lets only those in who send the key, compared in constant time.

    Args:
        app: what answers.
        key: the key.
        open_paths: paths that need none.
    """

    def __init__(self, app: ASGIApp, key: str, open_paths: Sequence[str]) -> None:
        self.app = app
        self.expected = _key_digest(key)
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http" or scope["path"] in self.open_paths or self._is_right(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        refusal = Refusal(401, "wrong_key", "Send the server's key in the header 'Authorization: Bearer KEY'.")
        await refuse(refusal, scope, receive, send)

    def _is_right(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(_key_digest(given.strip()), self.expected)


def _key_digest(key: str) -> bytes:
    """Of equal length for every key, so that comparing tells nothing of it."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class _Held:
    """How much of a request's body is held in memory."""

    def __init__(self, bodies: Bodies) -> None:
        self.bodies = bodies
        self.size = 0

    def add(self, num_bytes: int) -> None:
        """So much more."""
        self.size += num_bytes
        self.bodies.num_buffered += num_bytes

    def release(self) -> None:
        """None of it any more."""
        self.bodies.num_buffered -= self.size
        self.size = 0


class Bodies:
    """Reads a request's body within limits of size and time, and keeps it in the scope.

    The application behind finds the body under `BODY`; what its `receive` gives next is that the client has gone.

    Args:
        app: what answers.
        settings: the limits.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app = app
        self.settings = settings
        self.num_buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        held = _Held(self)
        try:
            try:
                async with asyncio.timeout(self.settings.body_timeout_s):
                    body = await self._read(scope, receive, held)
            except TimeoutError:
                late = f"The body did not arrive within {self.settings.body_timeout_s:g} s."
                await refuse(Refusal(408, "slow_body", late), scope, receive, send)
                return
            except Refusal as refusal:
                await refuse(refusal, scope, receive, send)
                return
            if body is None:
                notes_of(scope).reason = CLIENT_GONE
                return
            scope[BODY] = body
            await self.app(scope, receive, send)
        finally:
            held.release()

    async def _read(self, scope: Scope, receive: Receive, held: _Held) -> bytes | None:
        """The body, or None where the client left before its end.

        Raises:
            Refusal: it is larger than allowed, or all bodies together are.
        """
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.settings.max_body_bytes:
            raise self._too_large()
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            held.add(len(chunk))
            if held.size > self.settings.max_body_bytes:
                raise self._too_large()
            if self.num_buffered > self.settings.max_buffered_bytes:
                raise Refusal(429, "busy", "The server holds as many bodies as it may; try again.", retry_after_s=1)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _too_large(self) -> Refusal:
        allowed = f"{self.settings.max_body_bytes:,}"
        return Refusal(413, "too_large", f"The body is larger than the {allowed} bytes that are allowed.")
