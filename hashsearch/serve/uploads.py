"""Reading what a client sends: a form with an image, counted while it comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hashsearch.serve.limits import Limits
    from hashsearch.serve.workers import Guest

__all__ = ["Fields", "read_form"]

Fields = dict[str, list[str | bytes]]
"""What a form holds: the values of each field, as text, or of a file its bytes."""

_MOST_FIELDS = 100
_FIELD_BYTES = 1 << 16
_PATIENCE = 8  # times what may be sent


async def read_form(request: Request, guest: Guest, limits: Limits) -> Fields:
    """The form that a request brings; it is in memory, never in a file.

    Raises:
        HTTPException: 400, damaged; 413, too large; 415, no form; 503, as :meth:`Guest.hold`.
    """
    media_type, _, _ = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "multipart/form-data":
        raise HTTPException(415, "send the fields as multipart/form-data, as `curl -F` does")
    parser = MultiPartParser(
        request.headers,
        _counted(request, guest, limits.upload_bytes),
        max_files=1,
        max_fields=_MOST_FIELDS,
        max_part_size=_FIELD_BYTES,
    )
    parser.spool_max_size = limits.upload_bytes + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read: {error.message}") from error
    except ClientDisconnect as error:  # nobody is told, but the request is counted
        raise HTTPException(400, "the request ended before its body did") from error
    fields: Fields = {}
    for name, value in form.multi_items():
        content = value.file.read() if isinstance(value, UploadFile) else value
        fields.setdefault(name, []).append(content)
    await form.close()
    return fields


async def _counted(request: Request, guest: Guest, most: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes; no more than may be is ever held.

    Of one that is somewhat too large the rest is read and forgotten: who still sends would not see
    the answer.
    """
    # A body without it is empty: none comes in chunks.
    announced = request.headers.get("content-length", "0")
    if int(announced) > _PATIENCE * most:
        raise _too_large(most)
    read = 0
    async for chunk in request.stream():
        read += len(chunk)
        if read <= most:
            guest.hold(len(chunk))
            yield chunk
    if read > most:
        raise _too_large(most)


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"a request may have {most / 2**20:g} MiB; send a smaller image")
