"""A server that stays up: its socket, clients that hang, and an end that answers what was taken."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from dataclasses import asdict
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from memeblend.errors import MemeblendError, ModelError
from memeblend.serving.logs import configure, log
from memeblend.serving.settings import ServerSettings

_MAX_CONNECTIONS = 1000
_BACKLOG = 1024
_KEEP_ALIVE_S = 15
_GRACE_S = 5
# After each layer the model's threads wait for connections that are being read; Python lets them wait 5 ms.
_SWITCH_INTERVAL_S = 0.001
_HEAD_BYTES = 64 * 1024
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which waits for headers forever and takes any number of them, with an end to that.

    The time is the attribute `head_timeout_s`, set by `protocol_with`. The size is that of what arrives on end and is
    no body: headers, their continuation behind a body in pieces, or what stands beside the sizes of its pieces.
    """

    head_timeout_s: float
    _head_timer: asyncio.TimerHandle | None = None
    _num_without_body = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected and has to say what it wants."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Bytes have come; those of a next request have to become a whole head in time."""
        self._num_without_body += len(data)
        super().data_received(data)
        if self._num_without_body > _HEAD_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stop_waiting()
        self._num_without_body = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._num_without_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._num_without_body = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def protocol_with(head_timeout_s: float) -> type[PatientProtocol]:
    """The protocol with a limit of seconds on the arrival of headers."""
    return type("TimedProtocol", (PatientProtocol,), {"head_timeout_s": head_timeout_s})


def listen(host: str, port: int, settings: ServerSettings) -> socket.socket:
    """A socket at an address; port 0 takes a free one.

    Raises:
        MemeblendError: the address can't be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Hangs up on clients that take no bytes off us; without it their connections would stay for good.
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * settings.body_timeout_s))
        made.bind(address)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise _cannot_listen(host, port, error) from error
    return made


def _cannot_listen(host: str, port: int, error: OSError) -> MemeblendError:
    return MemeblendError(
        f"Could not listen at {host}, port {port}: {error.strerror or error}.",
        fix="Choose another --port (0 takes a free one) or --host, or end what is listening there.",
    )


def make_server(app: FastAPI, settings: ServerSettings) -> uvicorn.Server:
    """The server of an application; `serve` runs it."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=protocol_with(settings.body_timeout_s),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MAX_CONNECTIONS,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(settings.body_timeout_s + settings.deadline_s + _GRACE_S),
        )
    )


def serve(app: FastAPI, listener: socket.socket, settings: ServerSettings) -> None:
    """Serve until SIGINT or SIGTERM, then answer what was taken. The listener is the caller's to close.

    Raises:
        ModelError: the model could not be warmed up; the log says more.
    """
    configure(settings.log_content)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    host, port = listener.getsockname()[:2]
    log(logging.INFO, "start", host=host, port=port, **_shown(settings))
    try:
        make_server(app, settings).run(sockets=[listener])
    except SystemExit as error:
        raise ModelError("The model failed on its first memes; the log says more.") from error
    except KeyboardInterrupt:
        pass  # uvicorn repeats the signal after it has ended in order


def _shown(settings: ServerSettings) -> dict[str, Any]:
    """The settings that a log should begin with."""
    names = ("max_batch", "max_wait_s", "max_queue", "deadline_s", "max_memes", "max_body_bytes")
    return {
        **{name: getattr(settings, name) for name in names},
        **asdict(settings.streams),
        "asks_for_key": bool(settings.api_key),
    }
