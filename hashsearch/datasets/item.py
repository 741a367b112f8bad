"""One item of a catalogue, before it is encoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashsearch.errors import ImageError
from hashsearch.images import describe, read_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

    from hashsearch.images import ImageSource, Preprocessing

__all__ = ["Item", "read_item"]


@dataclass(frozen=True)
class Item:
    """What a source says about one image.

    Attributes:
        id: unique within its source.
        image: anything that :func:`hashsearch.images.read_image` reads.
        label: its type, or None.
        path: where its file lies, or None.
        key: of the article that it shows, or None; several images may show one.
        split: the part of an official split that it belongs to, or None: ``train``,
            ``validation``, ``query`` or ``gallery``.
        attributes: names of what it has, such as ``cotton``; each once.
        columns: further facts by name, to be shown and to filter by.
        box: what of the image shows it, in pixels: left, top, right, bottom, the last two
            exclusive; None: all of it.
    """

    id: str
    image: ImageSource
    label: str | None = None
    path: str | None = None
    key: str | None = None
    split: str | None = None
    attributes: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    box: tuple[int, int, int, int] | None = None


def read_item(item: Item, preprocessing: Preprocessing | None = None) -> Image.Image:
    """The picture of an item: its image, upright, cut to its box.

    Args:
        item: the item.
        preprocessing: what the picture is for, so that a large JPEG without a box is decoded no
            larger than that needs, as :func:`hashsearch.images.to_pixels` does it. With a box, or
            None: at its own size, which the box counts in.

    Returns:
        A Pillow image of mode ``L`` or ``RGB``.

    Raises:
        ImageError: see :func:`hashsearch.images.read_image`; or the box lies outside the image.
    """
    if item.box is None:
        return read_image(
            item.image, least_side=preprocessing.least_side if preprocessing else None
        )
    image = read_image(item.image)
    left, top, right, bottom = item.box
    box = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ImageError(
            f"{describe(item.image)} ({image.width} x {image.height}) has nothing in its box "
            f"{item.box}; mend the box"
        )
    return image.crop(box)
