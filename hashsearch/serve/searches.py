"""One search: from what was asked to the answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from starlette.exceptions import HTTPException

from hashsearch.errors import ArgumentError
from hashsearch.gallery.distinct import nearest_others
from hashsearch.images import prepared, read_image
from hashsearch.serve.items import item_records, row_of

if TYPE_CHECKING:
    from hashsearch.gallery import Gallery, Matches
    from hashsearch.serve.memory import Decoding
    from hashsearch.serve.schemas import SearchForm
    from hashsearch.serve.shelf import Generation

__all__ = ["is_quick", "search"]

# A search among no more than these takes less than a millisecond.
_QUICK_ITEMS, _QUICK_CODES, _QUICK_MATCHES = 1 << 20, 1 << 15, 100


class _Query(NamedTuple):
    """What is searched with."""

    code: npt.NDArray[np.uint8]
    """``uint8 (1, code_bytes)``."""
    row: int = -1
    id: str | None = None
    label: str | None = None
    decode_s: float = 0.0
    encode_s: float = 0.0


def is_quick(generation: Generation, form: SearchForm) -> bool:
    """Whether this search takes no longer than what a request takes anyway."""
    return (
        form.image is None
        and form.k <= _QUICK_MATCHES
        and not (form.distinct or form.label or form.where)
        and len(generation.gallery) <= _QUICK_ITEMS
        and generation.gallery.n_distinct <= _QUICK_CODES
        and not generation.gallery.waits
    )


def search(
    generation: Generation, form: SearchForm, *, most_pixels: int, decoding: Decoding
) -> dict[str, Any]:
    """The answer, ready for JSON; see :class:`hashsearch.serve.schemas.SearchAnswer`.

    Args:
        generation: of the gallery that is searched.
        form: what was asked.
        most_pixels: of an image.
        decoding: where an image waits for room.

    Raises:
        ImageError: an image that cannot be read.
        ArgumentError: a radius, code, column or value that the gallery cannot have.
        HTTPException: 404, an id that it does not have; 422, an image where no encoder is at hand.
    """
    began = time.perf_counter()
    whole = generation.gallery
    if form.radius > whole.n_bits:
        raise ArgumentError(f"radius must be 0 .. {whole.n_bits}, not {form.radius}")
    query = _query(generation, form, most_pixels, decoding)
    started = time.perf_counter()
    searched = generation.only(form.conditions())
    own = _own(whole, searched, query)
    found = _found(searched, query, own, form)
    histogram = searched.histogram(query.code)[0].tolist()
    others = len(searched)
    if own >= 0:  # it is none of what it finds, and at no distance from itself
        histogram[0] -= 1
        others -= 1
    rows = found.rows
    if searched is not whole:
        rows, _ = whole.content.find(found.ids)
    records = item_records(generation, rows)
    ended = time.perf_counter()
    matches = zip(
        records,
        found.distance.tolist(),
        found.full_distance.tolist(),
        found.in_ball.tolist(),
        strict=True,
    )
    return {
        "gallery": generation.name,
        "generation": generation.stamp,
        "query": {"id": query.id, "label": query.label, "code": query.code.tobytes().hex()},
        "radius": form.radius,
        "k": form.k,
        "ball_size": sum(histogram[: form.radius + 1]),
        "searched": others,
        "matches": [
            {**record, "distance": distance, "full_distance": full, "in_ball": inside}
            for record, distance, full, inside in matches
        ],
        "histogram": histogram,
        "missing_shards": [*found.missing],
        "timing_ms": {
            "decode": _ms(query.decode_s),
            "encode": _ms(query.encode_s),
            "search": _ms(ended - started),
            "total": _ms(time.perf_counter() - began),
        },
    }


def _query(
    generation: Generation, form: SearchForm, most_pixels: int, decoding: Decoding
) -> _Query:
    gallery = generation.gallery
    if form.id is not None:
        row = row_of(generation, form.id)
        return _Query(gallery.codes([row]), row, form.id, gallery.labels([row])[0])
    if form.code is not None:
        return _Query(np.frombuffer(_bytes(form.code, gallery), np.uint8)[None])
    encoder = generation.encoder
    if encoder is None:
        raise HTTPException(
            422,
            f"the encoder of the gallery {generation.name} is not at hand; search by id or code",
        )
    content = form.image or b""
    pre = encoder.preprocessing
    with decoding.room(content):
        began = time.perf_counter()
        pixels = prepared(
            read_image(content, least_side=pre.least_side, max_pixels=most_pixels), pre
        )
        decoded = time.perf_counter()
    code = encoder.encode_pixels(pixels[None])
    return _Query(code, decode_s=decoded - began, encode_s=time.perf_counter() - decoded)


def _bytes(code: str, gallery: Gallery) -> bytes:
    width = (gallery.n_bits + gallery.fine_bits) // 8
    try:
        content = bytes.fromhex(code)
    except ValueError:
        content = b""
    if len(content) != width:
        raise ArgumentError(f"code must be {2 * width} hexadecimal digits, not {code[:100]!r}")
    return content


def _own(whole: Gallery, searched: Gallery, query: _Query) -> int:
    """The row, of what is searched, of the item that the query is; -1: it is none of them."""
    if query.id is None or searched is whole:
        return query.row
    rows, there = searched.content.find([query.id])
    return int(rows[0]) if there[0] else -1


def _found(searched: Gallery, query: _Query, own: int, form: SearchForm) -> Matches:
    if query.id is None and not form.distinct:
        return searched.nearest(query.code, form.k, form.radius)[0]
    (found,) = nearest_others(
        searched, query.code, form.k, form.radius, own=np.array([own]), distinct=form.distinct
    )
    return found


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
