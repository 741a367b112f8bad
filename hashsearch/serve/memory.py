"""Memory for images: how much they take at once, and what the process still holds after them."""

from __future__ import annotations

import ctypes
import io
from contextlib import contextmanager, suppress
from functools import cache
from threading import Condition, Lock
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from hashsearch.images import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Decoding", "give_back"]


class Decoding:
    """Room for the images that are decoded at once, by all threads together.

    A pixel takes up to 8 bytes while it is made grey or RGB. An image counts as large as its header
    says, though a JPEG may be decoded at a part of its size: a progressive one is held whole.

    Args:
        pixels: of all of them; a larger image is decoded alone.
    """

    def __init__(self, pixels: int) -> None:
        self._most = self._free = pixels
        self._turn = Lock()  # so that a large image is not passed by small ones for ever
        self._changed = Condition()

    @contextmanager
    def room(self, content: bytes | BinaryIO) -> Iterator[None]:
        """Wait until there is room for the image in this file, and hold it until the body is left.

        What is no image takes none; whoever decodes it says so.
        """
        size = min(_pixels(content), self._most)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify()


def _pixels(content: bytes | BinaryIO) -> int:
    """Of an image, as its header says; a stream is where it was afterwards."""
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    start = stream.tell()
    # Damaged headers make Pillow fail in many ways.
    with suppress(Exception):
        image = Image.open(stream, formats=FORMATS)
        stream.seek(start)
        return image.width * image.height
    stream.seek(start)
    return 0


def give_back() -> None:
    """Give the system what decoding large images took, if the C library (glibc's) can.

    It takes 10 us where there is nothing to give. Without it, after images of 49 million pixels and
    four channels were uploaded, the service went on with 1.2 GB instead of 0.13.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        function: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return function
