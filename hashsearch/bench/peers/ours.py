"""The gallery as a contender: as it chooses to search, and by each way that has a name."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hashsearch.bench.peers.system import Contender, Rows, System
from hashsearch.gallery import INDEX_KINDS, Gallery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashsearch.gallery import Matches

__all__ = ["ball_contenders", "nearest_contenders"]

_NAME = "hashsearch"


@dataclass(frozen=True)
class _Way:
    """A way to search a gallery, and what it costs to have it."""

    index: str | None
    """None: the gallery chooses."""
    gallery: Gallery
    build_s: float
    bytes_per_item: float


def ball_contenders(gallery: Gallery, radius: int) -> Iterator[Contender]:
    """The whole ball, ranked, in each way; unranked, as peers give it; and its size and place.

    Args:
        gallery: is searched.
        radius: in bits.
    """
    for way in _ways(gallery, _build_again(gallery, gallery.n_bits)[1]):
        search = partial(way.gallery.within, radius=radius, index=way.index or "auto")
        setting = "ranked" if way.index is None else f"ranked, by {way.index}"
        yield _contender(way, System(setting, True, search, _rows))
        if way.index is None:
            unranked = partial(search, ranked=False)
            yield _contender(way, System("unranked", True, unranked, _rows))
            size = System("size and place", True, partial(search, limit=0), None)
            yield _contender(way, size)


def nearest_contenders(gallery: Gallery, radius: int, k: int) -> Iterator[Contender]:
    """The nearest by the whole code, in each way; and by the gallery's own order.

    Args:
        gallery: is searched; for the peers' answer, another with all bits in the semantic code.
        radius: of the ball that the gallery's own order goes by, in bits.
        k: how many.
    """
    one_level, build_s = _build_again(gallery, gallery.n_bits + gallery.fine_bits)
    # Its ids are the rows of the other.
    row_of = np.array(one_level.ids(), np.int64)

    def rows(matches: Matches) -> list[Rows]:
        return [row_of[found] for found in _rows(matches)]

    for way in _ways(one_level, build_s):
        search = partial(way.gallery.nearest, k=k, radius=0, index=way.index or "auto")
        setting = "one level" if way.index is None else f"one level, by {way.index}"
        yield _contender(way, System(setting, True, search, rows))
    own = next(_ways(gallery, _build_again(gallery, gallery.n_bits)[1]))
    search = partial(gallery.nearest, k=k, radius=radius)
    yield _contender(own, System("two levels, its own order", False, search, _rows))


def _contender(way: _Way, system: System) -> Contender:
    return Contender(_NAME, way.index, system, way.build_s, way.bytes_per_item)


def _build_again(gallery: Gallery, n_bits: int) -> tuple[Gallery, float]:
    """The same codes in a gallery without FAISS's indexes, and how many seconds it took."""
    codes = gallery.codes()
    start = time.perf_counter()
    built = Gallery.from_codes(
        codes, n_bits=n_bits, fine_bits=8 * codes.shape[1] - n_bits, indexes=()
    )
    return built, time.perf_counter() - start


def _ways(gallery: Gallery, build_s: float) -> Iterator[_Way]:
    """Its own choice first; then each by name."""
    datasets = gallery.content.datasets
    has_tables = "mih/places" in datasets
    tables = sum(datasets[name].nbytes for name in datasets if name.startswith("mih/"))
    searched = gallery.content.searched_bytes
    yield _Way(None, gallery, build_s, searched / len(gallery))
    yield _Way("scan", gallery, build_s, (searched - tables) / len(gallery))
    if has_tables:
        yield _Way("mih", gallery, build_s, searched / len(gallery))
    for kind in INDEX_KINDS:
        start = time.perf_counter()
        indexed = gallery.indexed([kind])
        index_s = time.perf_counter() - start
        stored = indexed.content.datasets.get(f"faiss/{kind}", np.zeros(0))
        yield _Way(kind, indexed, build_s + index_s, (searched + stored.nbytes) / len(gallery))


def _rows(matches: Matches) -> list[Rows]:
    return [one.rows for one in matches]
