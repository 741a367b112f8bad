"""The one order: nearest the ball first, then by the whole code, then by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hashsearch.gallery.content import Content
    from hashsearch.gallery.hamming_index import Ball

__all__ = ["Ranked", "Ranking", "fine_words"]


class Ranked(NamedTuple):
    """Items in order: rows, and distances in bits; all ``int64 (m,)``."""

    row: npt.NDArray[np.int64]
    distance: npt.NDArray[np.int64]
    full_distance: npt.NDArray[np.int64]


class Ranking:
    """Orders the items of a gallery around a query."""

    def __init__(self, content: Content) -> None:
        self._offsets = content.offsets
        self._items_per_code = content.items_per_code
        self._ids = content.datasets["items/id"]
        self._total_bits = content.n_bits + content.fine_bits
        self._fine = fine_words(content.datasets["items/fine"]) if content.fine_bits else None

    def best(
        self,
        ball: Ball,
        radius: int,
        fine_query: npt.NDArray[np.unsignedinteger] | None,
        limit: int | None,
    ) -> Ranked:
        """The items of these distinct codes in the one order, or the first ``limit`` of them.

        Args:
            ball: distinct codes and their distances; may reach past the radius.
            radius: in bits.
            fine_query: the query's row of :func:`fine_words`; None without a fine code.
            limit: how many at most, at least 1; None: all.
        """
        begin = self._offsets[ball.place]
        count = self._items_per_code[ball.place]
        end = np.cumsum(count)
        total = int(end[-1]) if len(end) else 0
        row = np.repeat(begin - (end - count), count) + np.arange(total)
        distance = np.repeat(ball.distance, count)
        full = distance
        if self._fine is not None and fine_query is not None:
            full = distance + _popcount(self._fine[row] ^ fine_query)
        outside = np.maximum(distance - radius, 0)
        key = outside * (self._total_bits + 1) + full

        chosen = np.arange(total)
        if limit is not None and limit < total:
            chosen = _shortlist(key, end, limit)
        order = np.lexsort((self._ids[row[chosen]], key[chosen]))[:limit]
        chosen = chosen[order]
        return Ranked(row[chosen], distance[chosen], full[chosen])


def fine_words(fine: npt.NDArray[np.uint8]) -> npt.NDArray[np.unsignedinteger]:
    """The same fine codes in the widest words that divide them.

    Args:
        fine: ``uint8 (n, width)``, C-contiguous.

    Returns:
        ``uint64 (n,)`` where the width is 8 bytes, ``uint64 (n, width // 8)`` where 8 divides
        it, else ``uint8 (n, width)``; a view.
    """
    if fine.shape[1] == 8:
        return fine.view(np.uint64)[:, 0]
    return fine.view(np.uint64) if fine.shape[1] % 8 == 0 else fine


def _popcount(words: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.uint8 | np.int64]:
    bits: npt.NDArray[np.uint8] = np.bitwise_count(words)
    return bits if bits.ndim == 1 else bits.sum(axis=1, dtype=np.int64)


def _shortlist(
    key: npt.NDArray[np.int64], end: npt.NDArray[np.int64], limit: int
) -> npt.NDArray[np.intp]:
    """Places that surely hold the best ``limit`` by key, then by id; few more than that.

    Within one distinct code the rows ascend by id, so of the items that tie at the cut no
    code can give more than its first ones. That spares comparing thousands of ids.

    Args:
        key: ``int64 (total,)``, the smaller the better.
        end: ``int64 (codes,)``: where the items of each distinct code end in ``key``.
        limit: less than ``total``.
    """
    cut = np.partition(key, limit - 1)[limit - 1]
    below = np.flatnonzero(key < cut)
    tied = np.flatnonzero(key == cut)
    wanted = limit - len(below)
    if len(tied) > wanted:
        code = np.searchsorted(end, tied, side="right")
        rank_in_code = np.arange(len(tied)) - np.searchsorted(code, code)
        tied = tied[rank_in_code < wanted]
    return np.concatenate([below, tied])
