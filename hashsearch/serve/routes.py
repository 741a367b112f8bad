"""The addresses of the service, and what each answers."""

# No `from __future__ import annotations`: FastAPI reads the annotations.

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from hashsearch import __version__
from hashsearch.serve import items, schemas
from hashsearch.serve.etags import has_it
from hashsearch.serve.limits import Limits
from hashsearch.serve.memory import Decoding
from hashsearch.serve.metrics import Metrics
from hashsearch.serve.searches import is_quick, search
from hashsearch.serve.shelf import Generation, Shelf
from hashsearch.serve.uploads import Fields, read_form
from hashsearch.serve.workers import Workers

__all__ = ["Service", "router"]


@dataclass(frozen=True)
class Service:
    """What the routes share; the application's state."""

    shelf: Shelf
    limits: Limits
    workers: Workers
    metrics: Metrics
    decoding: Decoding

    @classmethod
    def of(cls, request: Request) -> "Service":
        """That of the application that was asked."""
        service: Service = request.app.state.service
        return service


router = APIRouter()

_REASONS = {
    400: "What came is no form, or no request.",
    401: "The service wants its key.",
    403: "A page of a site that may not ask sent it.",
    404: "No such gallery, item or picture.",
    408: "The request came too slowly.",
    411: "The size of the body is not said.",
    413: "The request is too large.",
    415: "The fields are not sent as multipart/form-data.",
    422: "A value that cannot be, or an image that cannot be read.",
    503: "The service is busy; `Retry-After` says when to try again.",
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": schemas.Problem, "description": _REASONS[status]}
        for status in (400, 401, *statuses)
    }


_GalleryName = Annotated[
    str | None,
    Query(
        description="Name of the gallery; else the first of /api/galleries.",
        examples=["fashion-mnist"],
    ),
]
_Id = Annotated[str, Path(description="Of an item of the gallery.", examples=["test-00075"])]
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "It is the one that `If-None-Match` names."},
}


@router.post(
    "/api/search",
    summary="Find the items nearest to an image, an item or a code.",
    response_class=Response,
    responses={
        200: {"model": schemas.SearchAnswer},
        **_problems(403, 404, 408, 411, 413, 415, 422, 503),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": schemas.SearchForm.model_json_schema(),
                    "examples": schemas.EXAMPLES,
                }
            },
        }
    },
)
async def post_search(request: Request) -> Response:
    """Exact: matches within the radius come first, by the whole code, then the nearest others."""
    service = Service.of(request)
    with service.workers.guest() as guest:
        form = _form(await read_form(request, guest, service.limits))
        generation = service.shelf.get(form.gallery)

        def answer() -> bytes:
            found = search(
                generation, form, most_pixels=service.limits.pixels, decoding=service.decoding
            )
            return _json(found)

        # To hand what takes half a millisecond to a thread would take half as long again.
        content = answer() if is_quick(generation, form) else await service.workers.run(answer)
    by = "image" if form.image is not None else "code" if form.code is not None else "id"
    service.metrics.searched(generation.name, by)
    return Response(content, media_type="application/json")


@router.get(
    "/api/galleries",
    summary="What can be searched.",
    response_class=Response,
    responses={200: {"model": schemas.Galleries}, **_problems(503)},
)
async def get_galleries(request: Request) -> Response:
    """The default comes first."""
    shelf = Service.of(request).shelf
    return await _worked(request, lambda: {"galleries": [generation.facts for generation in shelf]})


@router.get(
    "/api/samples",
    summary="Some items to try a search with.",
    response_class=Response,
    responses={200: {"model": schemas.Samples}, **_problems(404, 422, 503)},
)
async def get_samples(request: Request, gallery: _GalleryName = None) -> Response:
    """Of different labels; the same ones until the gallery changes."""
    generation = Service.of(request).shelf.get(gallery)
    return await _worked(request, lambda: {"samples": items.sample_records(generation)})


@router.get(
    "/api/items/{id:path}/image",
    summary="The image of an item.",
    response_class=Response,
    responses={**_PICTURES, **_problems(404, 422, 503)},
)
async def get_image(request: Request, id: _Id, gallery: _GalleryName = None) -> Response:  # noqa: A002 - as the address calls it
    """The original if it is at hand, else its thumbnail."""
    decoding = Service.of(request).decoding
    picture_of = partial(items.original, decoding=decoding)
    return await _picture(request, id, "image", gallery, picture_of)


@router.get(
    "/api/items/{id:path}/thumbnail",
    summary="A small image of an item.",
    response_class=Response,
    responses={**_PICTURES, **_problems(404, 422, 503)},
)
async def get_thumbnail(request: Request, id: _Id, gallery: _GalleryName = None) -> Response:  # noqa: A002
    """As the gallery holds it."""
    return await _picture(request, id, "thumbnail", gallery, items.small_picture)


@router.get(
    "/api/items/{id:path}",
    summary="What is known of an item.",
    response_class=Response,
    responses={200: {"model": schemas.Item}, **_problems(404, 422, 503)},
)
async def get_item(request: Request, id: _Id, gallery: _GalleryName = None) -> Response:  # noqa: A002
    """As a match tells it, without distances."""
    generation = Service.of(request).shelf.get(gallery)

    def record() -> Mapping[str, Any]:
        row = items.row_of(generation, id)
        return items.item_records(generation, np.array([row]))[0]

    return await _worked(request, record)


@router.get(
    "/health",
    summary="Whether the service is up.",
    response_class=Response,
    responses={200: {"model": schemas.Health}, 400: _problems()[400]},
)
async def get_health(request: Request) -> Response:
    """Answered without waiting for searches."""
    shelf = Service.of(request).shelf
    return _answer({"status": "ok", "version": __version__, "galleries": len(shelf)})


@router.get(
    "/metrics",
    summary="Counts for Prometheus.",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_problems()},
)
async def get_metrics(request: Request) -> Response:
    """Requests and their times, searches, generations of galleries, memory."""
    metrics = Service.of(request).metrics
    return Response(metrics.text(), media_type=metrics.media_type)


async def _worked(request: Request, work: Callable[[], Mapping[str, Any]]) -> Response:
    """The answer that a worker makes."""
    workers = Service.of(request).workers
    with workers.guest():
        return await workers.run(lambda: _answer(work()))


async def _picture(
    request: Request,
    id_: str,
    kind: str,
    gallery: str | None,
    picture_of: Callable[[Generation, int], items.Picture | None],
) -> Response:
    # An id may end in a slash and this word; encoded, it is told from an address that does.
    if not request.scope["raw_path"].endswith(f"/{kind}".encode()):
        return await get_item(request, f"{id_}/{kind}", gallery)
    service = Service.of(request)
    generation = service.shelf.get(gallery)

    def answer() -> Response:
        row = items.row_of(generation, id_)
        headers = {"etag": f'"{generation.stamp}-{row}"', "cache-control": "private, no-cache"}
        if has_it(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        picture = picture_of(generation, row)
        if picture is None:
            raise HTTPException(404, f"the item {id_!r} has no picture at hand")
        return Response(picture.content, media_type=picture.media_type, headers=headers)

    with service.workers.guest():
        return await service.workers.run(answer)


def _form(fields: Fields) -> schemas.SearchForm:
    """What a search is asked.

    Raises:
        HTTPException: 422, a field or a value that cannot be.
    """
    given = {
        name: values if name in {"label", "where"} else values[0] for name, values in fields.items()
    }
    twice = [name for name, values in fields.items() if len(values) > 1 and given[name] != values]
    if twice:
        raise HTTPException(422, f"{twice[0]} is given {len(fields[twice[0]])} times; give one")
    try:
        return schemas.SearchForm.model_validate(given)
    except ValidationError as error:
        raise HTTPException(422, _told(error)) from error


def _told(error: ValidationError) -> str:
    """The first thing that is wrong with a form, in one line."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = first["loc"][0]
    if first["type"] == "extra_forbidden":
        return f"no field {name!r}; there are {', '.join(schemas.SearchForm.model_fields)}"
    return f"{name}: {message}"


def _answer(document: Mapping[str, Any]) -> Response:
    return Response(_json(document), media_type="application/json")


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
