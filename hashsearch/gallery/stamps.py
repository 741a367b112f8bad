"""What an image was encoded of, in 16 bytes: whether it has changed since.

A stamp is two digests of 64 bits: of what a file's entry says (size and time of its last change),
which is cheap to look at, and of its content. Both cover the item's box and how images are read,
so a release that reads them otherwise encodes them anew. Where an image is no file, both are of
its content.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hashsearch.errors import ImageError
from hashsearch.images import describe

if TYPE_CHECKING:
    from hashsearch.datasets.item import Item

__all__ = ["READING", "content_stamp", "entry_stamp"]

READING = 1
"""To be raised whenever images come to be read, or thumbnails made, otherwise."""


def entry_stamp(item: Item) -> int:
    """Of what the file's entry says: 64 bits; 0 where there is no such file.

    Whoever reads the file afterwards has what this says, or something newer.
    """
    if not isinstance(item.image, str | os.PathLike):
        return content_stamp(item)
    try:
        entry = os.stat(item.image)  # noqa: PTH116 - a Path a file takes as long as the call
    except (OSError, ValueError):  # a name with a NUL character is no file's
        return 0
    return _digest(item, b"%d %d" % (entry.st_size, entry.st_mtime_ns))


def content_stamp(item: Item) -> int:
    """Of the image's bytes, or of its pixels where it has no others: 64 bits.

    Raises:
        ImageError: a file that cannot be read, or a stream, which can be read only once.
    """
    image = item.image
    if isinstance(image, str | os.PathLike):
        try:
            with open(image, "rb") as file:  # noqa: PTH123 - as above
                content = file.read()
        except OSError as error:
            raise ImageError(f"{image} cannot be read ({error.strerror}); look at it") from error
    elif isinstance(image, Image.Image | np.ndarray):
        content = np.ascontiguousarray(image).tobytes()
    elif isinstance(image, bytes):
        content = image
    else:
        raise ImageError(f"{describe(image)} is a stream; give its bytes")
    return _digest(item, content)


def _digest(item: Item, content: bytes) -> int:
    digest = hashlib.blake2b(b"%d %r " % (READING, item.box), digest_size=8)
    digest.update(content)
    return int.from_bytes(digest.digest(), "little")
