"""From items with images to a gallery."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hashsearch.datasets.item import Item
from hashsearch.encoder import Encoder
from hashsearch.errors import DatasetError, ImageError
from hashsearch.gallery.gallery import Gallery
from hashsearch.images import Preprocessing, read_image, thumbnail, to_pixels

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
    batch_size: int = 256,
    on_progress: Callable[[int], None] | None = None,
) -> BuildResult:
    """Encode items into a gallery; images that cannot be read are listed, not fatal.

    Images are read in threads while the network runs; a few batches are in memory at a
    time.

    Args:
        items: with unique ids.
        encoder: makes the codes; its fingerprint is stored in the gallery.
        thumbnails: keep a small JPEG of each item in the gallery.
        batch_size: how many images the network sees at once.
        on_progress: called with the number of items done since the last call.

    Returns:
        The gallery in memory, and what was skipped.

    Raises:
        DatasetError: not one image can be read.
        ArgumentError: two items have one id.
    """
    kept: list[_Read] = []
    codes: list[npt.NDArray[np.uint8]] = []
    skipped: list[Skipped] = []
    for batch in _read_ahead(items, encoder.preprocessing, thumbnails, batch_size):
        good = [read for read in batch if read.pixels is not None]
        skipped += [Skipped(read.item.id, read.reason) for read in batch if read.pixels is None]
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
    )
    return BuildResult(gallery, skipped)


def _if_any(values: list[str | None]) -> list[str | None] | None:
    """The values, or None where all are None: then the gallery does without them."""
    return values if any(value is not None for value in values) else None


def _read_ahead(
    items: Sequence[Item], preprocessing: Preprocessing, thumbnails: bool, batch_size: int
) -> Iterator[list[_Read]]:
    """Batches of read items, in order, with the next ones being read meanwhile."""
    starts = iter(range(0, len(items), batch_size))
    workers = max(os.cpu_count() or 1, 2)
    # A batch is read by several threads, a contiguous part each: a task an image costs more
    # than reading a small one.
    part = -(-batch_size // workers)

    def submit(pool: ThreadPoolExecutor, start: int) -> list[Future[list[_Read]]]:
        batch = items[start : start + batch_size]
        return [
            pool.submit(_read_all, batch[at : at + part], preprocessing, thumbnails)
            for at in range(0, len(batch), part)
        ]

    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        waiting = [submit(pool, start) for start, _ in zip(starts, range(_BATCHES_AHEAD))]  # noqa: B905 - the shorter one ends it
        try:
            while waiting:
                batch = [read for future in waiting.pop(0) for read in future.result()]
                for start in starts:
                    waiting.append(submit(pool, start))
                    break
                yield batch
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _read_all(
    items: Sequence[Item], preprocessing: Preprocessing, thumbnails: bool
) -> list[_Read]:
    return [_read(item, preprocessing, thumbnails) for item in items]


def _read(item: Item, preprocessing: Preprocessing, thumbnails: bool) -> _Read:
    try:
        image = read_image(item.image)
        small = thumbnail(image) if thumbnails else None
        return _Read(item, to_pixels(image, preprocessing), small)
    except ImageError as error:
        return _Read(item, None, None, str(error))
