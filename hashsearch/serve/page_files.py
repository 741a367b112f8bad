"""The page: files of the package, read once."""

from __future__ import annotations

import hashlib
import mimetypes
from importlib import resources
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import Response

from hashsearch.serve.etags import has_it

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["page_router"]

_INDEX = "index.html"


def page_router() -> APIRouter:
    """The page at ``/``, and its other files beside it."""
    router = APIRouter(include_in_schema=False)
    for file in (resources.files("hashsearch.serve") / "page").iterdir():
        media_type, _ = mimetypes.guess_type(file.name)
        if media_type is None:
            continue
        answer = _answer(file.read_bytes(), media_type)
        router.add_api_route("/" if file.name == _INDEX else f"/{file.name}", answer)
    return router


def _answer(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    # Asked for anew each time, as the next version has other files; answered with one line.
    headers = {"etag": etag, "cache-control": "no-cache"}

    async def answer(request: Request) -> Response:
        if has_it(request, etag):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return answer
