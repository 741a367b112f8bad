"""From items with images to a gallery."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError, DatasetError, ImageError
from hashsearch.gallery.gallery import Gallery
from hashsearch.gallery.threads import usable_cores
from hashsearch.images import Preprocessing, read_image, thumbnail, to_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from hashsearch.datasets.item import Item
    from hashsearch.encoder import Encoder

__all__ = ["BuildResult", "Skipped", "build"]

# While one batch is in the network, this many are being read.
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Skipped:
    """An item that is not in the gallery, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class BuildResult:
    """A gallery, and the items that could not be read."""

    gallery: Gallery
    skipped: list[Skipped]


@dataclass(frozen=True)
class _Read:
    """An item's pixels and thumbnail, or the reason why there are none."""

    item: Item
    pixels: npt.NDArray[np.uint8] | None
    thumbnail: bytes | None
    reason: str = ""


def build(
    items: Sequence[Item],
    encoder: Encoder,
    *,
    thumbnails: bool = True,
    indexes: Sequence[str] | None = None,
    batch_size: int = 256,
    on_progress: Callable[[int], None] | None = None,
) -> BuildResult:
    """Encode items into a gallery; images that cannot be read are listed, not fatal.

    Images are read in threads while the network runs; a few batches are in memory at a
    time. An item whose id, label or path is no UTF-8 text (a file may have any name) is
    listed, too.

    Args:
        items: with unique ids.
        encoder: makes the codes; its fingerprint is stored in the gallery.
        thumbnails: keep a small JPEG of each item in the gallery.
        indexes: FAISS indexes to store; see :meth:`Gallery.from_codes`.
        batch_size: how many images the network sees at once.
        on_progress: called with the number of items done since the last call.

    Returns:
        The gallery in memory, and what was skipped.

    Raises:
        DatasetError: not one image can be read.
        ArgumentError: two items have one id, or a batch size below 1.
    """
    if batch_size < 1:
        raise ArgumentError(f"batch_size must be at least 1, not {batch_size}")
    _check_unique(items)
    kept: list[_Read] = []
    codes: list[npt.NDArray[np.uint8]] = []
    skipped: list[Skipped] = []
    # Closed, not only left: what stops the loop must stop the threads.
    with closing(_read_ahead(items, encoder.preprocessing, thumbnails, batch_size)) as batches:
        for batch in batches:
            good = [read for read in batch if read.pixels is not None]
            skipped += [Skipped(read.item.id, read.reason) for read in batch if read.reason]
            if good:
                pixels = np.stack([read.pixels for read in good if read.pixels is not None])
                codes.append(encoder.encode_pixels(pixels, batch_size=batch_size))
                kept += [_Read(read.item, None, read.thumbnail) for read in good]
            if on_progress:
                on_progress(len(batch))
    if not kept:
        first = f" (first: {skipped[0].reason})" if skipped else ""
        raise DatasetError(f"none of the {len(items)} images can be read{first}")
    gallery = Gallery.from_codes(
        np.concatenate(codes),
        n_bits=encoder.n_bits,
        fine_bits=encoder.fine_bits,
        ids=[read.item.id for read in kept],
        labels=_if_any([read.item.label for read in kept]),
        paths=_if_any([read.item.path for read in kept]),
        thumbnails=[read.thumbnail for read in kept] if thumbnails else None,
        encoder_fingerprint=encoder.fingerprint,
        encoder_name=encoder.name,
        indexes=indexes,
    )
    return BuildResult(gallery, skipped)


def _check_unique(items: Sequence[Item]) -> None:
    """Before hours of encoding, not after."""
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise ArgumentError(f"two items have the id {item.id!r}; rename or drop one")
        seen.add(item.id)


def _if_any(values: list[str | None]) -> list[str | None] | None:
    """The values, or None where all are None: then the gallery does without them."""
    return values if any(value is not None for value in values) else None


def _read_ahead(
    items: Sequence[Item], preprocessing: Preprocessing, thumbnails: bool, batch_size: int
) -> Generator[list[_Read], None, None]:
    """Batches of read items, in order, with the next ones being read meanwhile."""
    workers = max(usable_cores(), 2)
    # A batch is read by several threads, a contiguous part each: a task an image costs more
    # than reading a small one.
    part = -(-batch_size // workers)
    waiting: deque[list[Future[list[_Read]]]] = deque()
    stopped = Event()

    def read_part(items: Sequence[Item]) -> list[_Read]:
        return [_read(item, preprocessing, thumbnails) for item in items if not stopped.is_set()]

    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        try:
            for start in range(0, len(items), batch_size):
                batch = items[start : start + batch_size]
                waiting.append(
                    [
                        pool.submit(read_part, batch[at : at + part])
                        for at in range(0, len(batch), part)
                    ]
                )
                if len(waiting) > _BATCHES_AHEAD:
                    yield _joined(waiting.popleft())
            while waiting:
                yield _joined(waiting.popleft())
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _joined(parts: list[Future[list[_Read]]]) -> list[_Read]:
    return [read for part in parts for read in part.result()]


def _read(item: Item, preprocessing: Preprocessing, thumbnails: bool) -> _Read:
    fault = _text_fault(item)
    if fault:
        return _Read(item, None, None, fault)
    try:
        image = read_image(item.image)
        small = thumbnail(image) if thumbnails else None
        return _Read(item, to_pixels(image, preprocessing), small)
    except ImageError as error:
        return _Read(item, None, None, str(error))


def _text_fault(item: Item) -> str:
    """Why the item's texts cannot stand in a gallery file; empty: they can."""
    for what, text in (("path", item.path), ("id", item.id), ("label", item.label)):
        try:
            encoded = (text or "").encode()
        except UnicodeEncodeError:
            return f"{item.id}: its {what} is not UTF-8; rename it"
        if b"\0" in encoded:
            return f"{item.id}: its {what} holds a NUL character; rename it"
    return "" if item.id else "an item without an id; give it one"
