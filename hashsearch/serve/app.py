"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from hashsearch import __version__
from hashsearch.errors import ArgumentError, CodesError, HashsearchError, ImageError, ShardMissing
from hashsearch.serve.guards import (
    CloseUnread,
    Deadline,
    HeadAsGet,
    KeyCheck,
    OtherSites,
    SecurityHeaders,
    WantLength,
    Watch,
    problem,
)
from hashsearch.serve.limits import Limits
from hashsearch.serve.memory import Decoding, give_back
from hashsearch.serve.metrics import Metrics
from hashsearch.serve.page_files import page_router
from hashsearch.serve.routes import Service, router
from hashsearch.serve.workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hashsearch.serve.shelf import Shelf

__all__ = ["create_app"]

_log = logging.getLogger("hashsearch.serve")

_LOOK_S = 1.0


def create_app(
    shelf: Shelf,
    limits: Limits | None = None,
    *,
    key: str | None = None,
    hosts: Sequence[str] = ("*",),
    origins: Sequence[str] = (),
) -> FastAPI:
    """The service of some galleries.

    Args:
        shelf: the galleries.
        limits: what it takes; None: what :class:`Limits` says.
        key: without which no one is answered; None: everyone is.
        hosts: names that requests may call the service by; ``*``: any. To answer to its own alone
            keeps a strange page from reaching a service on the visitor's machine under a name
            that it made point there.
        origins: of other sites whose pages may ask it (CORS); with one, any may show its pictures,
            which browsers ask for without an origin.
    """
    limits = limits or Limits()
    workers = Workers(limits)
    metrics = Metrics(shelf, workers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch(shelf))
        try:
            yield
        finally:
            watching.cancel()
            workers.close()

    app = FastAPI(
        title="hashsearch",
        summary="Find fashion items by photo.",
        version=__version__,
        lifespan=lifespan,
        # They would load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = Service(shelf, limits, workers, metrics, Decoding(limits.decoded_pixels))
    app.include_router(router)
    app.include_router(page_router())
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(HashsearchError, _failed)
    app.add_exception_handler(RequestValidationError, _not_understood)
    # What is added last is passed first.
    app.add_middleware(Deadline, seconds=limits.seconds)
    if key is not None:
        app.add_middleware(KeyCheck, key=key)
    app.add_middleware(OtherSites, origins=origins)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[*origins],
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["authorization"],
        )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*hosts], www_redirect=False)
    app.add_middleware(WantLength)
    app.add_middleware(CloseUnread)
    app.add_middleware(SecurityHeaders, shared=bool(origins))
    app.add_middleware(Watch, metrics=metrics)
    app.add_middleware(HeadAsGet)
    return app


async def _watch(shelf: Shelf) -> None:
    """Look for new generations, and give back memory, as long as the service is up."""
    while True:
        await asyncio.sleep(_LOOK_S)
        await asyncio.to_thread(give_back)
        try:
            await asyncio.to_thread(shelf.look)
        except Exception:  # the next look may fare better
            _log.exception("the galleries could not be looked at")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what the handler is registered for
    return problem(error.status_code, error.detail, error.headers)


async def _failed(_: Request, error: Exception) -> Response:
    if isinstance(error, ImageError | ArgumentError | CodesError):
        return problem(422, str(error))
    _log.error("%s", error)
    if isinstance(error, ShardMissing):
        return problem(503, str(error), {"Retry-After": "5"})
    return problem(500, "the service failed; its log says why")


async def _not_understood(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    first = error.errors()[0]
    return problem(422, f"{first['loc'][-1]}: {first['msg']}")
