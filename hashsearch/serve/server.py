"""Running the service: its socket, its connections, its end."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp

    from hashsearch.serve.limits import Limits

__all__ = ["address", "listen", "run"]

_WAITING = 1024  # connections that the system keeps until they are accepted
_CONNECTIONS = 1024  # further ones are told that the service is busy


def listen(host: str, port: int) -> socket.socket:
    """A socket at this host and port (0: any that is free), on which connections wait already.

    Raises:
        ArgumentError: the system refuses it.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=_WAITING)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArgumentError(
            f"cannot listen on {host}, port {port}: {reason}; name others with --host and --port"
        ) from error
    # Connections have it from here; asyncio sets it on those of its own sockets alone. Without it,
    # the second packet of an answer waits 40 ms for the client to confirm the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def address(listening: socket.socket) -> str:
    """Where a browser on this machine finds what listens there."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - any of its own
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: ASGIApp, listening: socket.socket, limits: Limits) -> None:
    """Answer until the process is told to stop (SIGINT or SIGTERM) and requests are answered."""
    config = uvicorn.Config(
        app,
        # A class is meant, and called.
        http=partial(_Connection, seconds=limits.seconds),  # type: ignore[arg-type]
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
    )
    with suppress(KeyboardInterrupt):  # uvicorn passes on what stopped it
        uvicorn.Server(config).run(sockets=[listening])


class _Connection(H11Protocol):
    """A connection that is closed if the head of a request takes too long."""

    def __init__(self, *args: Any, seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seconds = seconds
        self._due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as above it
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._await_head()
        else:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(self._seconds, self.timeout_keep_alive_handler)

    def _forget(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
