"""From items with images to a gallery."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.datasets.item import read_item
from hashsearch.errors import ArgumentError, DatasetError, GalleryMissing, ImageError
from hashsearch.gallery.arrange import arrange
from hashsearch.gallery.content import ATTRIBUTES, ITEM, RESERVED, SPLIT
from hashsearch.gallery.gallery import Gallery
from hashsearch.gallery.journal import Encoded, Found, Journal, resumable
from hashsearch.gallery.stamps import content_stamp, entry_stamp
from hashsearch.gallery.threads import usable_cores
from hashsearch.gallery.thumbnails import Thumbnails
from hashsearch.gallery.writer import writing
from hashsearch.images import Preprocessing, prepared, thumbnail

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from hashsearch.datasets.item import Item
    from hashsearch.encoder import Encoder

__all__ = ["BuildResult", "NothingRead", "Skipped", "build", "build_file", "unchanged"]

# While one batch is in the network, this many are being read.
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Skipped:
    """An item that is not in the gallery, and why."""

    id: str
    path: str | None
    reason: str


class NothingRead(DatasetError):
    """There would be no item in the gallery.

    Attributes:
        skipped: all of them.
    """

    def __init__(self, message: str, skipped: list[Skipped]) -> None:
        super().__init__(message)
        self.skipped = skipped


@dataclass(frozen=True)
class BuildResult:
    """A gallery, and what became of the items.

    Attributes:
        gallery: in memory; it needs the journal until it is written.
        skipped: the items that could not be read.
        encoded: how many went through the network in this call.
        added: how many are new since the gallery that was known.
        changed: how many were in it, but had to be encoded anew.
        removed: how many were in it, and are not any more.
    """

    gallery: Gallery
    skipped: list[Skipped]
    encoded: int
    added: int
    changed: int
    removed: int


def build(
    items: Sequence[Item],
    encoder: Encoder,
    *,
    journal: Journal | None = None,
    known: Gallery | None = None,
    checksum: bool = False,
    strict: bool = False,
    thumbnails: bool = True,
    source: str | None = None,
    indexes: Sequence[str] | None = None,
    batch_size: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> BuildResult:
    """Encode items into a gallery; images that cannot be read are listed, not fatal.

    Images are read in threads while the network runs; a few batches are in memory at a
    time, and thumbnails only in the journal. An item whose id, label or path is no UTF-8 text (a
    file may have any name) is listed, too.

    Args:
        items: with unique ids.
        encoder: makes the codes; its fingerprint is stored in the gallery.
        journal: keeps what is encoded, batch by batch; what it holds already of an unchanged
            image is not encoded again. None: one in memory.
        known: an earlier gallery of the same encoder, whose unchanged items are not encoded again.
        checksum: an image is unchanged where its content is the same, which means to read it;
            else where path, size and time of the last change of its file are the same, too.
        strict: the first image that cannot be read ends it.
        thumbnails: keep a small JPEG of each item in the gallery.
        source: path of what the items were read from, for the gallery to know.
        indexes: FAISS indexes to store; see :meth:`Gallery.from_codes`.
        batch_size: how many images the network sees at once; None: as the encoder would.
        on_progress: called with the number of items done since the last call.

    Returns:
        The gallery in memory, and what was skipped.

    Raises:
        NothingRead: not one image can be read.
        ImageError: ``strict``, and one cannot.
        ArgumentError: two items have one id, or a batch size below 1.
        EncoderMismatch: ``known`` was built with another encoder.
        GalleryWriteError: the disk refuses the journal.
    """
    batch_size = encoder.batch_size if batch_size is None else batch_size
    if batch_size < 1:
        raise ArgumentError(f"batch_size must be at least 1, not {batch_size}")
    if known is not None:
        known.check_encoder(encoder.fingerprint)
    _check_unique(items)
    if journal is None:
        journal = Journal(":memory:", encoder.fingerprint)
    before = _Before(journal, known)
    reader = _Reader(encoder.preprocessing, checksum=checksum, thumbnails=thumbnails)
    kept = _Kept(len(items), encoder.code_bytes)
    skipped: list[Skipped] = []
    encoded = 0
    # Closed, not only left: what stops the loop must stop the threads.
    with closing(_read_ahead(items, before, reader, batch_size)) as batches:
        for batch in batches:
            for read in batch:
                if read.reason:
                    if strict:
                        raise ImageError(f"{read.reason} (leave out --strict to go on without it)")
                    skipped.append(Skipped(read.item.id, read.item.path, read.reason))
            new = [read for read in batch if read.pixels is not None]
            noted: Iterator[Found] = iter(())
            if new:
                pixels = np.stack([read.pixels for read in new if read.pixels is not None])
                codes = encoder.encode_pixels(pixels, batch_size=batch_size)
                noted = iter(_keep(journal, new, codes))
                encoded += len(new)
            for read in batch:
                found = read.found if read.pixels is None else next(noted)
                if found is not None:
                    kept.add(read.item, found)
            if on_progress:
                on_progress(len(batch))
    if not kept.items:
        first = f" (first: {skipped[0].reason})" if skipped else ""
        raise NothingRead(f"none of the {len(items)} images can be read{first}", skipped)
    gallery = kept.gallery(encoder, before, thumbnails=thumbnails, source=source, indexes=indexes)
    old = 0 if known is None else int(known.content.find(gallery.ids())[1].sum())
    return BuildResult(
        gallery,
        skipped,
        encoded,
        added=len(gallery) - old,
        changed=old - kept.from_known,
        removed=0 if known is None else len(known) - old,
    )


def build_file(
    path: Path,
    items: Sequence[Item],
    choose_encoder: Callable[[Gallery | None], Encoder],
    *,
    update: bool = False,
    thumbnails: bool | None = None,
    source: str | None = None,
    checksum: bool = False,
    strict: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> BuildResult:
    """Build a gallery file; a build that was stopped goes on.

    Args:
        path: of the file.
        items: as for :func:`build`.
        choose_encoder: gives the encoder for the gallery that is there, if it is updated.
        update: bring the gallery that is there up to date; one that is not there is built.
        thumbnails: keep a small JPEG of each item; None: as the gallery that is updated does, else
            yes.
        source: as for :func:`build`.
        checksum: as for :func:`build`.
        strict: as for :func:`build`.
        on_progress: as for :func:`build`.

    Returns:
        As :func:`build` does; the gallery is that of the file.

    Raises:
        GalleryBusy, GalleryWriteError: see :func:`hashsearch.gallery.writing`.
        GalleryError: the gallery that is updated cannot be read.
        DatasetError, ImageError, ArgumentError, EncoderMismatch: see :func:`build`.
    """
    with writing(path) as writer:
        known = None
        if update:
            with suppress(GalleryMissing):
                known = Gallery.open(path)
        encoder = choose_encoder(known)
        if thumbnails is None:
            thumbnails = known is None or known.has_thumbnails
        with resumable(path, encoder) as journal:
            result = build(
                items,
                encoder,
                journal=journal,
                known=known,
                checksum=checksum,
                strict=strict,
                thumbnails=thumbnails,
                source=source,
                indexes=None if known is None else known.chosen_indexes,
                on_progress=on_progress,
            )
            writer.write(result.gallery)
    return replace(result, gallery=Gallery.open(path))


def unchanged(gallery: Gallery, items: Sequence[Item]) -> list[bool]:
    """Which items are in a gallery already, encoded of the very files that they have now.

    Args:
        gallery: that knows what its items were encoded of.
        items: to look for.
    """
    found = _found_in(gallery, items)
    return [
        place in found and 0 != found[place].entry == entry_stamp(item)
        for place, item in enumerate(items)
    ]


def _found_in(gallery: Gallery, items: Sequence[Item]) -> dict[int, Found]:
    """What a gallery knows of each item that it knows something of, by its place among them.

    The place that is found is ``-1 - row``: those of a journal are from 0 up.
    """
    content = gallery.content
    if "items/stamp" not in content.datasets:
        return {}
    rows, there = content.find([item.id for item in items])
    places = np.flatnonzero(there)
    rows = rows[places]
    pictures = content.thumbnails
    sizes = np.zeros(len(rows), np.int64) if pictures is None else pictures.sizes[rows]
    facts = zip(
        places.tolist(),
        rows.tolist(),
        content.datasets["items/stamp"][rows].tolist(),
        content.codes(rows),
        sizes.tolist(),
        strict=True,
    )
    return {
        place: Found(-1 - row, entry, stamp, code.tobytes(), size)
        for place, row, (entry, stamp), code, size in facts
        if stamp  # else nothing is known of it
    }


@dataclass(frozen=True)
class _Read:
    """What reading an item gave: its pixels, or why there are none, or that none are needed.

    Attributes:
        item: that was read.
        entry: its stamps, see :mod:`hashsearch.gallery.stamps`.
        content: likewise.
        pixels: for the network.
        thumbnail: JPEG bytes.
        found: of an unchanged image, what is known of it already.
        reason: why it is skipped; empty: it is not.
    """

    item: Item
    entry: int = 0
    content: int = 0
    pixels: npt.NDArray[np.uint8] | None = None
    thumbnail: bytes | None = None
    found: Found | None = None
    reason: str = ""


class _Before:
    """What was encoded before: in a build that was stopped, or in an earlier gallery."""

    def __init__(self, journal: Journal, known: Gallery | None) -> None:
        self._journal = journal
        self._known = known

    def find(self, items: Sequence[Item]) -> list[list[Found]]:
        """What is known of each item, the journal's first."""
        known = {} if self._known is None else _found_in(self._known, items)
        return [
            [each for each in (self._journal.find(item.id), known.get(place)) if each is not None]
            for place, item in enumerate(items)
        ]

    def picture(self, place: int) -> bytes:
        """The thumbnail at a place."""
        if place >= 0 or self._known is None:
            return self._journal.picture(place)
        return self._known.thumbnail(-1 - place) or b""


class _Kept:
    """The items that the gallery shall hold, in the order in which they came."""

    def __init__(self, n_items: int, code_bytes: int) -> None:
        self.items: list[Item] = []
        self.from_known = 0
        self._codes = np.empty((n_items, code_bytes), np.uint8)
        self._stamps = np.empty((n_items, 2), np.uint64)
        self._places = np.empty(n_items, np.int64)
        self._sizes = np.empty(n_items, np.int64)

    def add(self, item: Item, found: Found) -> None:
        row = len(self.items)
        self.items.append(item)
        self.from_known += found.place < 0
        self._codes[row] = np.frombuffer(found.code, np.uint8)
        self._stamps[row] = found.entry, found.content
        self._places[row] = found.place
        self._sizes[row] = found.picture_bytes

    def gallery(
        self,
        encoder: Encoder,
        before: _Before,
        *,
        thumbnails: bool,
        source: str | None,
        indexes: Sequence[str] | None,
    ) -> Gallery:
        items, n = self.items, len(self.items)
        pictures = Thumbnails(
            lambda: self._sizes[:n], lambda row: before.picture(int(self._places[row]))
        )
        names = dict.fromkeys(name for item in items for name in item.columns)
        columns = {_column_name(n): [item.columns.get(n) or None for item in items] for n in names}
        if any(item.key is not None for item in items):
            columns[ITEM] = [item.key for item in items]
        if any(item.attributes for item in items):
            columns[ATTRIBUTES] = ["|".join(item.attributes) or None for item in items]
        if any(item.split is not None for item in items):
            columns[SPLIT] = [item.split for item in items]
        return Gallery(
            arrange(
                self._codes[:n],
                n_bits=encoder.n_bits,
                fine_bits=encoder.fine_bits,
                ids=[item.id for item in items],
                labels=_if_any([item.label for item in items]),
                paths=_if_any([item.path for item in items]),
                thumbnails=pictures if thumbnails else None,
                columns=columns,
                stamps=self._stamps[:n],
                encoder_fingerprint=encoder.fingerprint,
                encoder_name=encoder.name,
                source=source,
                indexes=indexes,
            )
        )


def _column_name(name: str) -> str:
    """What a column of a catalogue is called in a gallery, where some names are taken."""
    taken = name in {*RESERVED, ITEM, ATTRIBUTES, SPLIT}
    return f"column {name}" if taken else name


def _keep(journal: Journal, new: Sequence[_Read], codes: npt.NDArray[np.uint8]) -> list[Found]:
    """Note a batch in the journal; what is known of each now."""
    encoded = [
        Encoded(read.item.id, read.entry, read.content, code.tobytes(), read.thumbnail)
        for read, code in zip(new, codes, strict=True)
    ]
    places = journal.add(encoded)
    return [
        Found(place, each.entry, each.content, each.code, len(each.picture or b""))
        for place, each in zip(places, encoded, strict=True)
    ]


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


@dataclass(frozen=True)
class _Reader:
    """How items are read; one thread or another does it."""

    preprocessing: Preprocessing
    checksum: bool
    thumbnails: bool

    def read(self, item: Item, found: Sequence[Found]) -> _Read:
        """The item's pixels, unless it is known already, by its entry or by its content."""
        fault = _text_fault(item)
        if fault:
            return _Read(item, reason=fault)
        usable = [each for each in found if each.picture_bytes or not self.thumbnails]
        try:
            # Looked at before the image is: what changes meanwhile is seen as changed next time.
            entry = entry_stamp(item)
            if entry and not self.checksum:
                for each in usable:
                    if each.entry == entry:
                        return _Read(item, found=each)
            content, source = content_stamp(item)
            for each in usable:
                if each.content == content:
                    return _Read(item, found=replace(each, entry=entry))
            image = read_item(replace(item, image=source), self.preprocessing)
            return _Read(
                item,
                entry,
                content,
                pixels=prepared(image, self.preprocessing),
                thumbnail=thumbnail(image) if self.thumbnails else None,
            )
        except ImageError as error:
            return _Read(item, reason=str(error))


def _read_ahead(
    items: Sequence[Item], before: _Before, reader: _Reader, batch_size: int
) -> Generator[list[_Read], None, None]:
    """Batches of read items, in order, with the next ones being read meanwhile."""
    workers = max(usable_cores(), 2)
    # A batch is read by several threads, a contiguous part each: a task an image costs more
    # than reading a small one.
    part = -(-batch_size // workers)
    waiting: deque[list[Future[list[_Read]]]] = deque()
    stopped = Event()

    def read_part(part: Iterator[tuple[Item, list[Found]]]) -> list[_Read]:
        return [reader.read(item, found) for item, found in part if not stopped.is_set()]

    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        try:
            for start in range(0, len(items), batch_size):
                batch = items[start : start + batch_size]
                found = before.find(batch)
                waiting.append(
                    [
                        pool.submit(
                            read_part,
                            zip(batch[at : at + part], found[at : at + part], strict=True),
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


def _joined(parts: list[Future[list[_Read]]]) -> list[_Read]:
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
