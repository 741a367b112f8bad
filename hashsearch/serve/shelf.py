"""The galleries that are served: of each file, its newest whole generation.

A writer puts the next generation of a gallery in its place in one step, so a look at the file's
entry tells that there is one. It is opened and checked beside the one that is served, and takes its
place when it is ready; requests that have the old one go on with it. What cannot be opened changes
nothing but the log and the metrics.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, OrderedDict
from functools import cached_property
from pathlib import PurePath
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
from starlette.exceptions import HTTPException

from hashsearch.errors import ArgumentError, GalleryError, HashsearchError
from hashsearch.gallery import Gallery
from hashsearch.gallery.content import LABEL
from hashsearch.gallery.manifest import MANIFEST
from hashsearch.places import built_galleries, encoder_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hashsearch.encoder import Encoder

__all__ = ["Encoders", "Generation", "Shelf"]

_log = logging.getLogger("hashsearch.serve")

_KEPT = 1 << 22  # items and codes of all filtered galleries that are kept, some 20 bytes each
_MOST_KEPT = 256  # of them, however small
_SAMPLES = 12


class Stamp(NamedTuple):
    """What a file's entry says that is another after the file was replaced."""

    mtime_ns: int
    inode: int
    size: int

    @classmethod
    def of(cls, entry: os.stat_result) -> Stamp:
        """That of an entry."""
        return cls(entry.st_mtime_ns, entry.st_ino, entry.st_size)

    def __str__(self) -> str:
        return hashlib.blake2b(repr(tuple(self)).encode(), digest_size=8).hexdigest()


class Encoders:
    """The encoders of the galleries, each loaded once.

    Args:
        chosen: searches every gallery that it built, or that does not say who did; None: each
            gallery says where its own is.
    """

    def __init__(self, chosen: Encoder | None = None) -> None:
        self._chosen = chosen
        self._loaded: WeakValueDictionary[str, Encoder] = WeakValueDictionary()

    def of(self, gallery: Gallery) -> Encoder:
        """The encoder of a gallery.

        Raises:
            HashsearchError: it is not at hand; see :func:`hashsearch.places.encoder_of`.
        """
        fingerprint = gallery.encoder_fingerprint
        if self._chosen is not None and fingerprint in {None, self._chosen.fingerprint}:
            return self._chosen
        known = None if fingerprint is None else self._loaded.get(fingerprint)
        if known is None:
            # Requests run beside each other; an image in several threads would only take turns.
            known = encoder_of(gallery, threads=1)
            self._loaded[known.fingerprint] = known
        return known


class Generation:
    """One generation of a gallery, ready to be searched; it never changes.

    Attributes:
        name: of the gallery.
        gallery: the whole of it.
        encoder: for images; None: it is not at hand.
        stamp: a text that is another for the next generation.
    """

    def __init__(self, name: str, gallery: Gallery, encoder: Encoder | None, stamp: str) -> None:
        self.name = name
        self.gallery = gallery
        self.encoder = encoder
        self.stamp = stamp
        self._filtered: OrderedDict[tuple[Any, ...], Gallery] = OrderedDict()
        self._weight = 0
        self._lock = Lock()

    @classmethod
    def of(cls, gallery: Gallery, path: Path, stamp: Stamp, encoders: Encoders) -> Generation:
        """That of a gallery, checked, so that no request finds it damaged or waits for it.

        Raises:
            HashsearchError: the gallery cannot be used. One without its encoder can.
        """
        gallery.prepare()
        encoder = None
        try:
            encoder = encoders.of(gallery)
            pre = encoder.preprocessing
            encoder.encode_pixels(np.zeros((1, pre.channels, pre.size, pre.size), np.uint8))
        except HashsearchError as error:
            _log.warning("%s cannot be searched by image: %s", path, error)
        return cls(path.stem, gallery, encoder, str(stamp))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What is told of it; ready for JSON."""
        gallery = self.gallery
        name = gallery.encoder_name
        return {
            "name": self.name,
            "items": len(gallery),
            "n_bits": gallery.n_bits,
            "fine_bits": gallery.fine_bits,
            "distinct_codes": gallery.n_distinct,
            "labels": [
                {"label": label, "items": items} for label, items in gallery.label_counts().items()
            ],
            "columns": [name for name in gallery.column_names if name != LABEL],
            "has_thumbnails": gallery.has_thumbnails,
            # It may be the path of a file, which is nobody's business.
            "encoder": name and PurePath(name).name,
            "takes_images": self.encoder is not None,
            "generation": self.stamp,
            "created": gallery.created,
        }

    def only(self, where: Mapping[str, Sequence[str]]) -> Gallery:
        """The items that have one of the values of each column; kept for the next who asks.

        Raises:
            ArgumentError: an unknown column or value, or no item is left.
        """
        if not where:
            return self.gallery
        key = tuple(sorted((name, tuple(sorted(set(some)))) for name, some in where.items()))
        with self._lock:
            if key in self._filtered:
                self._filtered.move_to_end(key)
                return self._filtered[key]
        found = self.gallery.only(where=where)
        with self._lock:
            if key not in self._filtered:  # another request may have been quicker
                self._filtered[key] = found
                self._weight += self._weight_of(found)
            while self._weight > _KEPT or len(self._filtered) > _MOST_KEPT:
                _, oldest = self._filtered.popitem(last=False)
                self._weight -= self._weight_of(oldest)
        return found

    def _weight_of(self, filtered: Gallery) -> int:
        return len(filtered) + self.gallery.n_distinct

    @cached_property
    def samples(self) -> npt.NDArray[np.int64]:
        """``int64 (m,)``: rows of some items to try, as different as labels and codes are."""
        gallery = self.gallery
        counts = gallery.label_counts()
        largest = sorted(counts, key=lambda label: -counts[label])[:_SAMPLES]
        if not largest:
            # Rows are sorted by code.
            return np.unique(np.linspace(0, len(gallery) - 1, _SAMPLES).astype(np.int64))
        places = {label: place for place, label in enumerate(counts)}
        numbers = gallery.content.numbers(LABEL)
        each = -(-_SAMPLES // len(largest))
        rows_of = [np.flatnonzero(numbers == places[label]) for label in largest]
        chosen = [
            int(rows[len(rows) * (2 * turn + 1) // (2 * each)])
            for turn in range(each)
            for rows in rows_of
        ]
        return np.array([*dict.fromkeys(chosen)][:_SAMPLES], np.int64)


class Shelf:
    """The newest generations of some galleries, by name.

    Args:
        paths: of their files, the default first; None: all that lie in the folder, now and later.
        indexes: folder of the galleries.
        encoders: that make codes of images.
        open_gallery: opens the gallery of a path.

    Raises:
        ArgumentError: two of the galleries have one name.
        HashsearchError: one of those that are named cannot be opened. Of those that lie in the
            folder, it is left out.
    """

    def __init__(
        self,
        paths: Sequence[Path] | None,
        indexes: Path,
        encoders: Encoders,
        *,
        open_gallery: Callable[[Path], Gallery] = Gallery.open,
    ) -> None:
        self._paths = paths
        self._open_gallery = open_gallery
        self._indexes = indexes
        self._encoders = encoders
        self._seen: dict[Path, Stamp] = {}
        self._generations: dict[str, Generation] = {}
        self.loads: Counter[tuple[str, str]] = Counter()
        """How often a generation of a gallery was ``opened`` or ``refused``, by both."""
        if paths is None:
            self.look()
            return
        names = Counter(path.stem for path in paths)
        twice = [name for name in names if names[name] > 1]
        if twice:
            raise ArgumentError(f"two galleries are called {twice[0]}; rename a file, or name one")
        for path in paths:
            self._open(path, _stamp(path) or Stamp(0, 0, 0))  # to open what is not there says so

    def __len__(self) -> int:
        return len(self._generations)

    def __iter__(self) -> Iterator[Generation]:
        """The default first."""
        return iter(self._generations.values())

    def get(self, name: str | None) -> Generation:
        """The newest generation of the gallery of this name; None: of the first.

        Raises:
            HTTPException: 404, there is none.
        """
        generations = self._generations
        if name is None:
            name = next(iter(generations), None)
            if name is None:
                raise HTTPException(
                    404, "there is no gallery yet; build one with `hashsearch build-index`"
                )
        if name not in generations:
            raise HTTPException(404, f"no gallery {name!r}; there are: {', '.join(generations)}")
        return generations[name]

    def look(self) -> None:
        """Open what has changed since the last look, or came."""
        paths = self._paths
        if paths is None:
            try:
                paths = built_galleries(self._indexes)[::-1]
            except GalleryError as error:
                _log.warning("%s", error)
                return
        for path in paths:
            stamp = _stamp(path)
            # Of a file that is gone the last generation stays.
            if stamp is None or stamp == self._seen.get(path):
                continue
            try:
                self._open(path, stamp)
            except HashsearchError as error:
                self._seen[path] = stamp
                self.loads[path.stem, "refused"] += 1
                kept = "; its last generation stays" if path.stem in self._generations else ""
                _log.warning("%s%s", error, kept)

    def _open(self, path: Path, stamp: Stamp) -> None:
        generation = Generation.of(self._open_gallery(path), path, stamp, self._encoders)
        # A new mapping, so that who goes through the old one is not disturbed.
        self._generations = {**self._generations, generation.name: generation}
        self._seen[path] = stamp
        self.loads[generation.name, "opened"] += 1
        _log.info("%s: %s items", path, f"{len(generation.gallery):,}")


def _stamp(path: Path) -> Stamp | None:
    """That of a file, or of the manifest of shards in a folder; None: it is not there."""
    try:
        return Stamp.of((path / MANIFEST if path.is_dir() else path).stat())
    except OSError:
        return None
