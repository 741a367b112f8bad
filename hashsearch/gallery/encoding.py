"""Items read and encoded on this machine: what a build does before it has a gallery to make."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from hashsearch.datasets.item import Item, read_item
from hashsearch.encoder import Encoder
from hashsearch.errors import ImageError
from hashsearch.gallery.journal import Found
from hashsearch.gallery.stamps import content_stamp, entry_stamp
from hashsearch.gallery.threads import usable_cores
from hashsearch.images import Preprocessing, prepared, thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Engine", "FindKnown", "Read", "Reader", "encode_here"]

# While one batch is in the network, this many are being read.
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Read:
    """What reading an item gave: its pixels, or why there are none, or that none are needed.

    Attributes:
        number: of the item, from 0, among those that are encoded together.
        entry: its stamps, see :mod:`hashsearch.gallery.stamps`.
        content: likewise.
        pixels: for the network, ``uint8 (channels, size, size)``; None once it is encoded.
        code: packed, ``code_bytes`` long; empty until it is encoded.
        thumbnail: JPEG bytes.
        found: of an unchanged image, what is known of it already.
        reason: why it is skipped; empty: it is not.
    """

    number: int
    entry: int = 0
    content: int = 0
    pixels: npt.NDArray[np.uint8] | None = None
    code: bytes = b""
    thumbnail: bytes | None = None
    found: Found | None = None
    reason: str = ""


@dataclass(frozen=True)
class Reader:
    """How items are read, in whatever thread, process or machine.

    Attributes:
        preprocessing: of the encoder.
        checksum: look at the content of each image, not at what its file's entry says.
        thumbnails: make one of each.
    """

    preprocessing: Preprocessing
    checksum: bool
    thumbnails: bool

    def read(self, number: int, item: Item, found: Sequence[Found]) -> Read:
        """The item's pixels, unless it is known already, by its entry or by its content."""
        fault = _text_fault(item)
        if fault:
            return Read(number, reason=fault)
        usable = [each for each in found if each.picture_bytes or not self.thumbnails]
        try:
            # Looked at before the image is: what changes meanwhile is seen as changed next time.
            entry = entry_stamp(item)
            if entry and not self.checksum:
                for each in usable:
                    if each.entry == entry:
                        return Read(number, found=each)
            content, source = content_stamp(item)
            for each in usable:
                if each.content == content:
                    return Read(number, found=replace(each, entry=entry))
            image = read_item(replace(item, image=source), self.preprocessing)
            return Read(
                number,
                entry,
                content,
                pixels=prepared(image, self.preprocessing),
                thumbnail=thumbnail(image) if self.thumbnails else None,
            )
        except ImageError as error:
            return Read(number, reason=str(error))


FindKnown: TypeAlias = Callable[[Sequence[Item]], list[list[Found]]]
"""What is known of each item from an earlier build: where one of it is still true, it stands."""

Engine: TypeAlias = Callable[
    [Sequence[Item], FindKnown, Encoder, Reader], Generator[list[Read], None, None]
]
"""Reads and encodes all items, a batch after another, in any order; closed, it stops."""


def encode_here(
    items: Sequence[Item],
    find_known: FindKnown,
    encoder: Encoder,
    reader: Reader,
    *,
    batch_size: int | None = None,
    threads: int | None = None,
) -> Generator[list[Read], None, None]:
    """The engine of one process: threads read the next images while the network runs.

    Args:
        items: to be encoded.
        find_known: what is known of them.
        encoder: makes the codes.
        reader: reads the images.
        batch_size: how many images the network sees at once; None: as the encoder would.
        threads: that read; None: as many as there are cores.

    Yields:
        Batches, in the order of the items.
    """
    batch_size = batch_size or encoder.batch_size
    threads = threads or max(usable_cores(), 2)
    for batch in _read_ahead(items, find_known, reader, batch_size, threads):
        new = [read.pixels for read in batch if read.pixels is not None]
        codes = iter(encoder.encode_pixels(np.stack(new), batch_size=batch_size) if new else ())
        yield [
            read if read.pixels is None else replace(read, pixels=None, code=next(codes).tobytes())
            for read in batch
        ]


def _read_ahead(
    items: Sequence[Item],
    find_known: FindKnown,
    reader: Reader,
    batch_size: int,
    threads: int,
) -> Generator[list[Read], None, None]:
    """Batches of read items, in order, with the next ones being read meanwhile."""
    # A batch is read by several threads, a contiguous part each: a task an image costs more
    # than reading a small one.
    part = -(-batch_size // threads)
    waiting: deque[list[Future[list[Read]]]] = deque()
    stopped = Event()

    def read_part(part: Iterator[tuple[int, Item, list[Found]]]) -> list[Read]:
        return [reader.read(*each) for each in part if not stopped.is_set()]

    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
        try:
            for start in range(0, len(items), batch_size):
                batch = items[start : start + batch_size]
                found = find_known(batch)
                waiting.append(
                    [
                        pool.submit(
                            read_part,
                            zip(
                                range(start + at, start + len(batch)),
                                batch[at : at + part],
                                found[at : at + part],
                                strict=False,  # the numbers go on
                            ),
                        )
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


def _joined(parts: list[Future[list[Read]]]) -> list[Read]:
    return [read for part in parts for read in part.result()]


def _text_fault(item: Item) -> str:
    """Why the item's texts cannot stand in a gallery file; empty: they can."""
    texts = [("path", item.path), ("id", item.id), ("label", item.label), ("item", item.key)]
    texts += [("attribute", name) for name in item.attributes]
    texts += [(f"column {name!r}", name + value) for name, value in item.columns.items()]
    for what, text in texts:
        try:
            encoded = (text or "").encode()
        except UnicodeEncodeError:
            return f"{item.id}: its {what} is not UTF-8; rename it"
        if b"\0" in encoded:
            return f"{item.id}: its {what} holds a NUL character; rename it"
    return "" if item.id else "an item without an id; give it one"
