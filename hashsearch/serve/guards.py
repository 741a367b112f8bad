"""What every request passes, and every answer: headers, counts, the key, and a time limit."""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from hashsearch.serve.metrics import Metrics

__all__ = ["CloseUnread", "Deadline", "KeyCheck", "SecurityHeaders", "Watch", "problem"]

_HEADERS = {
    # The page has a style sheet and a script of its own, and shows pictures of the service and of
    # the visitor's disk; nothing else is loaded or runs, whatever an item is called.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
_GUARDED = ("/api/", "/metrics")


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer that says what went wrong, and the mend, in one line."""
    return JSONResponse({"detail": detail}, status, headers)


class SecurityHeaders:
    """Tells browsers to do with an answer what it is for, and nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, sending)


class Watch:
    """Counts and times the requests of each route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "")
            self._metrics.answered(route, status, time.perf_counter() - began)


class CloseUnread:
    """Closes the connection after an answer to a request whose body was not read to its end.

    Else the server would go on to read, for nothing, what may have no end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        unread = True

        async def receiving() -> Message:
            nonlocal unread
            message = await receive()
            unread = message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and unread:
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receiving, sending)


class KeyCheck:
    """Lets only those who have the key ask the programming interface and the metrics."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"].startswith(_GUARDED):
            given = Headers(scope=scope).get("authorization", "").encode("latin-1")
            # Takes as long wherever the two differ.
            if not hmac.compare_digest(given, self._expected):
                refusal = problem(
                    401,
                    "this service wants its key: send the header `Authorization: Bearer KEY`",
                    {"www-authenticate": "Bearer"},
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Deadline:
    """Gives a request so many seconds: to be sent, to wait, and to be worked at."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reading = started = False

        async def receiving() -> Message:
            nonlocal reading
            reading = True
            message = await receive()
            reading = False
            return message

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        with anyio.move_on_after(self._seconds) as limit:
            await self._app(scope, receiving, sending)
        # Where the answer has begun, the server closes the connection.
        if limit.cancelled_caught and not started:
            late = f"not done within {self._seconds:g} seconds"
            refusal = (
                problem(408, f"the request was {late}; send it faster")
                if reading
                else problem(503, f"the request was {late}; try again later", {"retry-after": "5"})
            )
            await refusal(scope, receive, send)
