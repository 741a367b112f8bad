"""Running the service: its socket, its connections, its end."""

from __future__ import annotations

import logging
import socket
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from hashsearch.errors import ArgumentError
from hashsearch.serve.guards import Busy, SecurityHeaders

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from hashsearch.serve.limits import Limits

__all__ = ["address", "listen", "network_address", "run"]

_WAITING = 1024  # connections that the system keeps until they are accepted
_CONNECTIONS = 1024  # further ones are told that the service is busy
_FILES = 8192  # that the process asks to have open at once; a connection is one
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - of what listens everywhere
_FAR = {"0.0.0.0": "192.0.2.1", "::": "2001:db8::1"}  # noqa: S104 - addresses for documentation
_READ_BYTES = 1 << 14  # of a connection at once: its parsing keeps all others waiting


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
    return _url(_LOOPBACK.get(host, host), port)


def network_address(listening: socket.socket) -> str | None:
    """Where a phone of the same network finds it; None: nowhere, or where :func:`address` says."""
    host, port = listening.getsockname()[:2]
    if host not in _LOOPBACK:
        return None
    with socket.socket(listening.family, socket.SOCK_DGRAM) as asking:
        try:
            # Sends nothing: the system only chooses the address of its own that it would send from.
            asking.connect((_FAR[host], 9))
        except OSError:
            return None
        return _url(asking.getsockname()[0], port)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: ASGIApp, listening: socket.socket, limits: Limits) -> None:
    """Answer until the process is told to stop (SIGINT or SIGTERM) and requests are answered."""
    room = _Room.of(_files())
    # What strangers send would fill the log: uvicorn and the form parser warn of each garbled line.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        # A class is meant, and called.
        http=partial(  # type: ignore[arg-type]
            _Connection, seconds=limits.seconds, room=room, busy=SecurityHeaders(Busy(app))
        ),
        loop="asyncio",  # the connections lean on its transports
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        backlog=room.accepted,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
    )
    with suppress(KeyboardInterrupt):  # uvicorn passes on what stopped it
        _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Accepts few connections at one go, though the system keeps many until then."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or []:
            listening.listen(_WAITING)  # asyncio has set both to one number


class _Room(NamedTuple):
    """How many connections there may be, so that none is lost for want of an open file.

    Attributes:
        served: that are answered; the next ones are told that the service is busy.
        told: those included; the next ones are closed without a word.
        accepted: at one go; there are a few goes before the first is closed.
    """

    served: int
    told: int
    accepted: int

    @classmethod
    def of(cls, files: int) -> _Room:
        """That of a process that may have so many files open; some are left for its galleries."""
        return cls(min(_CONNECTIONS, files // 2), files * 5 // 8, files // 16)


def _files() -> int:
    """How many files this process may have open, once it has asked for what it may ask for."""
    if sys.platform == "win32":
        return _FILES
    import resource  # noqa: PLC0415 - there is none on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _FILES
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft < wanted:
        with suppress(OSError, ValueError):  # then it does with what it has
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return soft


class _Parser(h11.Connection):
    """Reads no body that comes in chunks: each is an event, and one byte is a chunk.

    So a few clients would keep the service at parsing. The head is passed on, to be refused by
    :class:`~hashsearch.serve.guards.WantLength`.
    """

    _is_chunked = False

    def next_event(self) -> Any:
        if self._is_chunked:
            return h11.PAUSED
        event = super().next_event()
        self._is_chunked = isinstance(event, h11.Request) and any(
            name == b"transfer-encoding" for name, _ in event.headers
        )
        return event


class _Connection(H11Protocol):
    """A connection that is closed if the head of a request, or who takes an answer, is too slow."""

    def __init__(
        self, *args: Any, seconds: float, room: _Room, busy: ASGIApp, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Parser(h11.SERVER, _READ_BYTES)
        self._seconds = seconds
        self._room = room
        self._busy = busy
        self._due: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as above it
        super().connection_made(transport)
        if len(self.connections) > self._room.told:
            transport.abort()
            return
        if len(self.connections) > self._room.served:
            self.app = self._busy
        # That of asyncio's own transports, 256 KiB unless told.
        transport.max_size = _READ_BYTES  # type: ignore[attr-defined]
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
