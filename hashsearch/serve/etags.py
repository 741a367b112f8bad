"""Whether who asks has the newest answer already."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["has_it"]


def has_it(request: Request, etag: str) -> bool:
    """Whether ``If-None-Match`` names this entity tag, which has no comma in it.

    Weak tags match as strong ones do (RFC 9110, 13.1.2).
    """
    named = ",".join(request.headers.getlist("if-none-match")).split(",")
    return any(name.strip().removeprefix("W/") in {etag, "*"} for name in named)
