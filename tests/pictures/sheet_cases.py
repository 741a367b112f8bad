"""Galleries whose pictures are known, and what stands where on a sheet of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from hashsearch.gallery import Gallery
from hashsearch.images import thumbnail
from hashsearch.pictures import SheetRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
    Colour = tuple[int, int, int]

BLUE, VERMILION, GREY = (0, 114, 178), (213, 94, 0), (128, 128, 136)
WHITE = (255, 255, 255)
TILE = 120
QUERY = Image.new("RGB", (30, 60), (200, 30, 30))
GREEN = Image.new("RGB", (28, 28), (20, 160, 60))
THUMBNAIL = thumbnail(GREEN)


class Framed(NamedTuple):
    left: int
    top: int
    width: int


def gallery(
    n_items: int = 6,
    *,
    ids: list[str] | None = None,
    labels: Sequence[str | None] | None = None,
    thumbnails: list[bytes | None] | None = None,
) -> Gallery:
    """Item ``i`` lies at distance ``i`` (the last ones at 16) from a query of zeros."""
    codes = np.packbits(np.tril(np.ones((n_items, 16), bool), -1), axis=1, bitorder="little")
    return Gallery.from_codes(
        codes,
        n_bits=16,
        fine_bits=0,
        ids=ids,
        labels=labels,
        thumbnails=thumbnails or [THUMBNAIL] * n_items,
    )


def row(
    made: Gallery, k: int = 4, radius: int = 1, name: str = "query", label: str | None = None
) -> SheetRow:
    found = made.nearest(np.zeros((1, 2), np.uint8), k=k, radius=radius)
    return SheetRow(name, QUERY, found, label)


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def frames(image: Image.Image, colour: Colour) -> list[Framed]:
    """The frames of a colour around matches or queries, line by line."""
    mask: npt.NDArray[np.bool_] = np.logical_and.reduce(pixels(image) == colour, axis=2)
    spans = np.lib.stride_tricks.sliding_window_view(mask, TILE, axis=1)
    whole: npt.NDArray[np.bool_] = np.logical_and.reduce(spans, axis=2)
    found = []
    for top, left in np.argwhere(whole & ~np.pad(whole, ((1, 0), (0, 0)))[:-1]).tolist():
        if mask[top : top + TILE, left].all():  # the lower edge begins nothing
            width = next(n for n in range(TILE) if not whole[top + n, left])
            found.append(Framed(left, top, width))
    return found


def ink(image: Image.Image, box: tuple[int, int, int, int]) -> int:
    """How many pixels of a box are no paper."""
    return int((pixels(image.crop(box)) != WHITE).any(axis=2).sum())


def near(image: Image.Image, colour: Colour) -> npt.NDArray[np.bool_]:
    """``bool (height, width)``: where a colour is, as JPEG and scaling leave it."""
    apart = np.abs(pixels(image).astype(int) - colour)
    mask: npt.NDArray[np.bool_] = np.logical_and.reduce(apart < 12, axis=2)
    return mask
