"""What every request passes, and every answer: headers, counts, the key, and a time limit."""

from __future__ import annotations

import hmac
import logging
import time
from typing import TYPE_CHECKING

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from hashsearch.serve.metrics import Metrics

__all__ = [
    "Busy",
    "CloseUnread",
    "Deadline",
    "HeadAsGet",
    "KeyCheck",
    "OtherSites",
    "SecurityHeaders",
    "WantLength",
    "Watch",
    "problem",
]

_log = logging.getLogger("hashsearch.serve")

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
_HEALTH = "/health"
_LONGEST = 1000  # characters of what is said, which may repeat what was sent
_TELL_EVERY_S = 60.0


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer that says what went wrong, and the mend, in one line."""
    if len(detail) > _LONGEST:
        detail = f"{detail[:_LONGEST]} ..."
    return JSONResponse({"detail": detail}, status, headers)


class SecurityHeaders:
    """Tells browsers to do with an answer what it is for, and nothing else.

    Args:
        app: that answers.
        shared: whether pages of other sites may show its pictures.
    """

    def __init__(self, app: ASGIApp, *, shared: bool = False) -> None:
        self._app = app
        self._headers = {
            **_HEADERS,
            "cross-origin-resource-policy": "cross-origin" if shared else "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
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


class HeadAsGet:
    """Answers HEAD as GET; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


class Busy:
    """Tells everyone that the service is busy, but for whoever asks whether it is up.

    The log has it once a minute.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tell_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["path"] == _HEALTH:
            await self._app(scope, receive, send)
            return
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TELL_EVERY_S
            _log.warning("too many connections; further ones are told to try again")
        refusal = problem(
            503,
            "the service has too many connections; try again in a few seconds",
            {"retry-after": "5", "connection": "close"},
        )
        await refusal(scope, receive, send)


class WantLength:
    """Refuses requests whose body does not say its size: the server reads none in chunks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and "transfer-encoding" in Headers(scope=scope):
            refusal = problem(
                411,
                "send the size of the body as Content-Length, not the body in chunks",
                {"connection": "close"},
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class OtherSites:
    """Does no work for pages of other sites, but for those that may ask.

    A browser keeps the answer from such a page, but has sent the request by then.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] == "POST" and "*" not in self._origins:
            headers = Headers(scope=scope)
            if (
                headers.get("sec-fetch-site") == "cross-site"
                and headers.get("origin") not in self._origins
            ):
                refusal = problem(403, "pages of this site may not ask; `--cors ORIGIN` lets them")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class CloseUnread:
    """Closes the connection after an answer to a request whose body was not read to its end.

    Else the server would go on to read, for nothing, what may have no end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        if headers.get("content-length", "0") == "0":
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
        self._expected = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"].startswith(_GUARDED):
            scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            # Takes as long wherever the two differ.
            right = hmac.compare_digest(given.encode("latin-1"), self._expected)
            if scheme.lower() != "bearer" or not right:
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
