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
    from collections.abc import Callable

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
    """A connection that is closed if the head of a request, or who takes an answer, is too slow."""

    def __init__(self, *args: Any, seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seconds = seconds
        self._due: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as above it
        super().connection_made(transport)
        self._await("head", self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._await("head", self.timeout_keep_alive_handler)
        else:
            self._forget("head")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await("answer", self.transport.abort)

    def resume_writing(self) -> None:
        self._forget("answer")
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # To close is to wait for what is not sent yet.
        self._await("end", self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._due):
            self._forget(name)
        super().connection_lost(exc)

    def _await(self, name: str, otherwise: Callable[[], None]) -> None:
        """Do something else unless this is forgotten in time."""
        if name not in self._due:
            self._due[name] = self.loop.call_later(self._seconds, otherwise)

    def _forget(self, name: str) -> None:
        timer = self._due.pop(name, None)
        if timer is not None:
            timer.cancel()
