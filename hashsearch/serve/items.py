"""What is told and shown of the items of a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from PIL import Image
from starlette.exceptions import HTTPException

from hashsearch.errors import ImageError
from hashsearch.gallery.content import LABEL
from hashsearch.images import FORMATS, read_content, read_image, thumbnail

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hashsearch.gallery import Gallery
    from hashsearch.serve.memory import Decoding
    from hashsearch.serve.shelf import Generation

__all__ = ["Picture", "item_records", "original", "row_of", "sample_records", "small_picture"]

_JPEG = "image/jpeg"
# As browsers show them; Pillow's names.
_MEDIA_TYPES = {
    "JPEG": _JPEG,
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
}
_LARGEST_FILE = 32 << 20  # bytes
_MOST_PIXELS = 50_000_000  # of a file
_LARGEST_SIDE = 2048  # pixels, of what is encoded anew


class Picture(NamedTuple):
    """An image as it is sent."""

    content: bytes
    media_type: str


def row_of(generation: Generation, id_: str) -> int:
    """The row of an item.

    Raises:
        HTTPException: 404, there is none of this id.
    """
    (row,), (found,) = generation.gallery.content.find([id_])
    if not found:
        raise HTTPException(404, f"no item {id_!r} in the gallery {generation.name}")
    return int(row)


def item_records(generation: Generation, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """What is known of the items of some rows (``int64 (m,)``), ready for JSON."""
    gallery = generation.gallery
    names = [name for name in gallery.column_names if name != LABEL]
    columns = [gallery.column(name, rows) for name in names]
    facts = zip(
        gallery.ids(rows),
        gallery.labels(rows),
        gallery.codes(rows),
        gallery.paths(rows),
        _have_thumbnails(gallery, rows),
        strict=True,
    )
    suffix = f"?gallery={quote(generation.name, safe='')}"
    records = []
    for place, (id_, label, code, path, small) in enumerate(facts):
        address = f"/api/items/{quote(id_, safe='')}"
        records.append(
            {
                "id": id_,
                "label": label,
                "code": code.tobytes().hex(),
                "columns": {
                    name: column[place] for name, column in zip(names, columns, strict=True)
                },
                "image": f"{address}/image{suffix}" if path or small else None,
                "thumbnail": f"{address}/thumbnail{suffix}" if small else None,
            }
        )
    return records


def sample_records(generation: Generation) -> list[dict[str, Any]]:
    """Some items to try a search with, ready for JSON."""
    return [
        {name: record[name] for name in ("id", "label", "thumbnail")}
        for record in item_records(generation, generation.samples)
    ]


def small_picture(generation: Generation, row: int) -> Picture | None:
    """The thumbnail of an item, if it has one.

    It is as whoever made the gallery gave it, and sent as a JPEG whatever it is.
    """
    content = generation.gallery.thumbnail(row)
    return None if content is None else Picture(content, _JPEG)


def original(generation: Generation, row: int, *, decoding: Decoding) -> Picture | None:
    """The file of an item, if it is at hand and an image; else its thumbnail, if it has one.

    The path is that of the gallery. A file that browsers do not show is encoded anew; of a very
    large one the thumbnail has to do.
    """
    (path,) = generation.gallery.paths([row])
    if path is not None:
        try:
            return _file(path, decoding)
        except (ImageError, OSError):
            pass  # moved, or no image any more
    return small_picture(generation, row)


def _file(path: str, decoding: Decoding) -> Picture:
    if Path(path).stat().st_size > _LARGEST_FILE:
        raise ImageError(f"{path} is too large to be sent")
    stream = read_content(path)
    with decoding.room(stream):
        # Decoded, as a header alone makes no image; small, as nobody looks at it.
        image = read_image(stream, least_side=_LARGEST_SIDE, max_pixels=_MOST_PIXELS)
        stream.seek(0)
        content = stream.read()
        with Image.open(stream, formats=FORMATS) as opened:
            media_type = _MEDIA_TYPES.get(opened.format or "")
        if media_type is None:
            return Picture(thumbnail(image, _LARGEST_SIDE), _JPEG)
    return Picture(content, media_type)


def _have_thumbnails(gallery: Gallery, rows: npt.NDArray[np.int64]) -> list[bool]:
    thumbnails = gallery.content.thumbnails
    if thumbnails is None:
        return [False] * len(rows)
    return [size > 0 for size in thumbnails.sizes[rows].tolist()]
