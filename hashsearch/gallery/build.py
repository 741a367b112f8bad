"""From items with images to a gallery."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hashsearch.errors import ArgumentError, DatasetError, GalleryMissing, ImageError
from hashsearch.gallery.arrange import arrange
from hashsearch.gallery.content import ATTRIBUTES, ITEM, RESERVED, SPLIT
from hashsearch.gallery.encoding import Read, Reader, encode_here
from hashsearch.gallery.gallery import Gallery
from hashsearch.gallery.journal import Encoded, Found, Journal, resumable
from hashsearch.gallery.stamps import entry_stamp
from hashsearch.gallery.thumbnails import Thumbnails
from hashsearch.gallery.writer import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hashsearch.datasets.item import Item
    from hashsearch.encoder import Encoder
    from hashsearch.gallery.encoding import Engine

__all__ = ["BuildResult", "NothingRead", "Skipped", "build", "build_file", "unchanged"]


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
    engine: Engine | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> BuildResult:
    """Encode items into a gallery; images that cannot be read are listed, not fatal.

    A few batches are in memory at a time, and thumbnails only in the journal. An item whose id,
    label or path is no UTF-8 text (a file may have any name) is listed, too.

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
        engine: reads and encodes them elsewhere; None: this process does, in threads while the
            network runs. The gallery is the same.
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
    if batch_size is not None and batch_size < 1:
        raise ArgumentError(f"batch_size must be at least 1, not {batch_size}")
    if known is not None:
        known.check_encoder(encoder.fingerprint)
    _check_unique(items)
    if journal is None:
        journal = Journal(":memory:", encoder.fingerprint)
    before = _Before(journal, known)
    reader = Reader(encoder.preprocessing, checksum=checksum, thumbnails=thumbnails)
    engine = engine or partial(encode_here, batch_size=batch_size)
    kept = _Kept(items, encoder.code_bytes)
    skipped: dict[int, Skipped] = {}
    encoded = 0
    # Closed, not only left: what stops the loop must stop the engine.
    with closing(engine(items, before.find, encoder, reader)) as batches:
        for batch in batches:
            for read in batch:
                if read.reason:
                    if strict:
                        raise ImageError(f"{read.reason} (leave out --strict to go on without it)")
                    item = items[read.number]
                    skipped[read.number] = Skipped(item.id, item.path, read.reason)
                elif read.found is not None:
                    kept.add(read.number, read.found)
            new = [read for read in batch if read.code]
            for read, found in zip(new, _keep(journal, items, new), strict=True):
                kept.add(read.number, found)
            encoded += len(new)
            if on_progress:
                on_progress(len(batch))
    # Whoever encoded what in which order, the list is that of the items.
    listed = [skipped[number] for number in sorted(skipped)]
    if not len(kept):
        first = f" (first: {listed[0].reason})" if listed else ""
        raise NothingRead(f"none of the {len(items)} images can be read{first}", listed)
    gallery = kept.gallery(encoder, before, thumbnails=thumbnails, source=source, indexes=indexes)
    old = 0 if known is None else int(known.content.find(gallery.ids())[1].sum())
    return BuildResult(
        gallery,
        listed,
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
    engine: Engine | None = None,
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
        engine: as for :func:`build`.
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
                engine=engine,
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
    """What the gallery shall hold of the items, in their order, in whichever it comes."""

    def __init__(self, items: Sequence[Item], code_bytes: int) -> None:
        n_items = len(items)
        self.from_known = 0
        self._items = items
        self._is_kept = np.zeros(n_items, np.bool_)
        self._codes = np.empty((n_items, code_bytes), np.uint8)
        self._stamps = np.empty((n_items, 2), np.uint64)
        self._places = np.empty(n_items, np.int64)
        self._sizes = np.empty(n_items, np.int64)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._is_kept))

    def add(self, number: int, found: Found) -> None:
        self._is_kept[number] = True
        self.from_known += found.place < 0
        self._codes[number] = np.frombuffer(found.code, np.uint8)
        self._stamps[number] = found.entry, found.content
        self._places[number] = found.place
        self._sizes[number] = found.picture_bytes

    def gallery(
        self,
        encoder: Encoder,
        before: _Before,
        *,
        thumbnails: bool,
        source: str | None,
        indexes: Sequence[str] | None,
    ) -> Gallery:
        numbers = np.flatnonzero(self._is_kept)
        items = [self._items[number] for number in numbers.tolist()]
        places, sizes = self._places[numbers], self._sizes[numbers]
        pictures = Thumbnails(lambda: sizes, lambda row: before.picture(int(places[row])))
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
                self._codes[numbers],
                n_bits=encoder.n_bits,
                fine_bits=encoder.fine_bits,
                ids=[item.id for item in items],
                labels=_if_any([item.label for item in items]),
                paths=_if_any([item.path for item in items]),
                thumbnails=pictures if thumbnails else None,
                columns=columns,
                stamps=self._stamps[numbers],
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


def _keep(journal: Journal, items: Sequence[Item], new: Sequence[Read]) -> list[Found]:
    """Note in the journal what was encoded; what is known of each now."""
    encoded = [
        Encoded(items[read.number].id, read.entry, read.content, read.code, read.thumbnail)
        for read in new
    ]
    if not encoded:
        return []
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
