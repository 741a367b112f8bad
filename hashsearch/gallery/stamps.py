"""What an image was encoded of, in 16 bytes: whether it has changed since.

A stamp is two digests of 64 bits: of what a file's entry says (its path, size and time of the last
change), which is cheap to look at, and of its content. Both cover the item's box and how images
are read, so a release that reads them otherwise encodes them anew. An image that is no file has
only the second.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hashsearch.errors import ImageError
from hashsearch.images import describe, read_content

if TYPE_CHECKING:
    from hashsearch.datasets.item import Item
    from hashsearch.images import ImageSource

__all__ = ["READING", "content_stamp", "entry_stamp"]

READING = 1
"""To be raised whenever images come to be read, or thumbnails made, otherwise."""


def entry_stamp(item: Item) -> int:
    """Of what the file's entry says: 64 bits; 0 where there is none, or the image is no file.

    Whoever reads the file afterwards has what this says, or something newer.
    """
    if not isinstance(item.image, str | os.PathLike):
        return 0
    try:
        entry = os.stat(item.image)  # noqa: PTH116 - a Path a file takes as long as the call
    except (OSError, ValueError):  # a name with a NUL character is no file's
        return 0
    facts = b"%d %d " % (entry.st_size, entry.st_mtime_ns)
    return _digest(item, facts + os.fsencode(item.image))


def content_stamp(item: Item) -> tuple[int, ImageSource]:
    """Of the image's bytes, or of its pixels where it has no others: 64 bits.

    Returns:
        The stamp, and the image that it is of, whatever becomes of the file meanwhile.

    Raises:
        ImageError: a file that cannot be read, or a stream, which can be read only once.
    """
    image = item.image
    if isinstance(image, str | os.PathLike):
        stream = read_content(image)
        content = stream.read()
        stream.seek(0)
        return _digest(item, content), stream
    if isinstance(image, Image.Image | np.ndarray):
        content = np.ascontiguousarray(image).tobytes()
    elif isinstance(image, bytes):
        content = image
    else:
        raise ImageError(f"{describe(image)} is a stream; give its bytes")
    return _digest(item, content), image


def _digest(item: Item, content: bytes) -> int:
    # Processors have instructions for SHA-256: of a photo it takes a third of BLAKE2b's time.
    digest = hashlib.sha256(b"%d %r " % (READING, item.box))
    digest.update(content)
    return int.from_bytes(digest.digest()[:8], "little")
